"""Texts of high quality in another register than the pages: positives for training a quality classifier.

Questions with explanations, instructions with worked answers. No page of the sample crawls is among them.
"""

from __future__ import annotations

from corpus_dagster.sample.dice import Dice
from corpus_dagster.sample.grammar import TOPICS, Prose, bank

COUNT = 400

_REQUESTS = (
    "Explain the following to a curious twelve-year-old: {question}",
    "I would like to understand this properly. {question}",
    "{question} Please give the reasons as well as the result.",
    "Answer in a few paragraphs, step by step. {question}",
    "{question} Assume that I know nothing about {subject}.",
)
_OPENINGS = (
    "The short answer has two parts, and the reasons behind them are worth knowing.",
    "It is easiest to see with an example, so let us take one and follow it through.",
    "Let us start with what happens and then ask why it happens.",
    "There are several causes, and they work together; I will take them one at a time.",
)
_BRIDGES = (
    "To try it yourself, go about it like this.",
    "In practice that means the following.",
    "Here is how one would do it from the beginning.",
)
_ENDINGS = (
    "To sum up, the cause comes first and the remedy follows from it.",
    "In other words, understanding the reason saves you from learning the rule by heart.",
    "If one step fails, go back to the one before, because each rests on the last.",
)


def text(n: int) -> str:
    """The `n`-th reference text: a request and its answer, paragraphs separated by blank lines."""
    dice = Dice("reference", n)
    topic = f"en/{dice.pick(TOPICS)}"
    prose = Prose(dice, topic, "en/common")
    request = dice.pick(_REQUESTS).format(question=prose.line("questions"), subject=bank(topic).subject)
    parts = [request, dice.pick(_OPENINGS) + " " + prose.paragraph(dice.between(2, 4))]
    if dice.one_in(2):
        parts.append(prose.paragraph(dice.between(3, 5)))
    parts.append(dice.pick(_BRIDGES))
    parts += [f"{i}. {prose.line('steps')}" for i in range(1, dice.between(4, 7))]
    parts.append(prose.paragraph(dice.between(2, 3)) + " " + dice.pick(_ENDINGS))
    return "\n\n".join(parts)


def texts() -> list[str]:
    """All reference texts, in order."""
    return [text(n) for n in range(COUNT)]
