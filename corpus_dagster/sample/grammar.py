"""Sentence banks and the grammar that turns them into texts.

A bank is a text file: `subject:` on top, then sections. `[slots]` defines `name: option | option`, every other section
holds one template per line. In a template `<name>` takes an option of the slot and `{a|b}` takes one alternative.
Banks know nothing of pages, crawls or rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from corpus_dagster.sample.dice import Dice

TOPICS = ("bread", "garden", "bicycle", "sky", "database", "river", "music", "print", "photo", "house")
"""English banks about one subject each."""

LANGUAGES = ("de", "fr", "es", "pt", "it", "ru", "ja", "zh", "ko", "ar", "hi")
"""Languages other than English, by the label that lid.176 gives them."""

UNSPACED = frozenset({"ja", "zh"})
"""Languages that put no space between sentences."""

RUN = 5
"""Shortest run of words that a text may not repeat: the shortest n-gram whose repetition the Gopher rules count."""

_INSERTED = frozenset({"sentences", "asides", "steps"})
"""Sections of the subjects whose sentences carry an insertion: without one, a text of long sentences would share most
of its 13-grams with the many others from the same bank, and deduplication would take it for a copy."""

_JOINT = re.compile(r" (?=(?:and|but|than|until|where|because|without|if|when|as|from|with) )")
_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"<([a-z_]+)>")
_ARTICLE = re.compile(r"\b([Aa])n? (?=(\w+))")
# Spelt with a vowel but spoken with a consonant, and the reverse.
_CONSONANT_SOUND = re.compile(r"(?:uni|use|usu|one|eu)")
_VOWEL_SOUND = re.compile(r"(?:hour|honest|heir)")
_WORD = re.compile(r"\w+(?:['’]\w+)*")


@dataclass(frozen=True)
class Bank:
    """Templates of one subject, by section."""

    name: str
    subject: str
    slots: dict[str, tuple[str, ...]]
    sections: dict[str, tuple[str, ...]]


def _parse(name: str, text: str) -> Bank:
    subject, section = "", ""
    slots: dict[str, tuple[str, ...]] = {}
    sections: dict[str, list[str]] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif not section:
            subject = line.removeprefix("subject:").strip()
        elif section == "slots":
            slot, _, options = line.partition(":")
            slots[slot.strip()] = tuple(option.strip() for option in options.split("|"))
        else:
            sections.setdefault(section, []).append(line)
    return Bank(name, subject, slots, {key: tuple(lines) for key, lines in sections.items()})


@cache
def bank(name: str) -> Bank:
    """Load a bank of this package, for example `en/bread` or `other/de`."""
    path = files("corpus_dagster.sample").joinpath("banks", *f"{name}.txt".split("/"))
    return _parse(name, path.read_text(encoding="utf-8"))


def words(text: str) -> list[str]:
    """Runs of letters and digits, apostrophes included: close to UAX-29 on the plain sentences of the banks."""
    return _WORD.findall(text)


def letters(text: str) -> int:
    """Characters inside words, the denominator of the n-gram rules."""
    return sum(map(len, words(text)))


def runs(text: str) -> set[tuple[str, ...]]:
    """Every run of `RUN` words of a text."""
    spelt = words(text)
    return {tuple(spelt[i : i + RUN]) for i in range(len(spelt) - RUN + 1)}


def _article(match: re.Match[str]) -> str:
    letter, following = match.group(1), match.group(2).lower()
    vowel = following[0] in "aeiou" and not _CONSONANT_SOUND.match(following)
    return f"{letter}n " if vowel or _VOWEL_SOUND.match(following) else f"{letter} "


def expand(template: str, source: Bank, dice: Dice) -> str:
    """Fill the slots and choices of a template; English gets its articles and a capital."""
    text = _CHOICE.sub(lambda match: dice.pick(match.group(1).split("|")), template)
    text = _SLOT.sub(lambda match: dice.pick(source.slots[match.group(1)]), text)
    if source.name.startswith("en/"):
        text = _ARTICLE.sub(_article, text)
    return text[0].upper() + text[1:]


class Prose:
    """Writes one text: no template twice until all were used, and no run of five words twice."""

    def __init__(self, dice: Dice, *banks: str) -> None:
        self.dice = dice
        self.banks = [bank(name) for name in banks]
        self._unused: dict[str, list[tuple[Bank, str]]] = {}
        self._insertions: list[str] = []
        self._runs: set[tuple[str, ...]] = set()

    def _draw(self, section: str) -> tuple[Bank, str]:
        unused = self._unused.get(section)
        if not unused:
            # The first bank is the subject of the text; the next ones follow when it is used up.
            unused = []
            for source in reversed(self.banks):
                unused += [(source, line) for line in self.dice.shuffled(source.sections.get(section, ()))]
            if not unused:
                raise KeyError(f"no section [{section}] in banks {[b.name for b in self.banks]}")
            self._unused[section] = unused
        return unused.pop()

    def line(self, section: str) -> str:
        """A sentence from a section, new to this text."""
        sentence = ""
        for _ in range(8):
            source, template = self._draw(section)
            sentence = expand(template, source, self.dice)
            if section in _INSERTED and source.name.removeprefix("en/") in (*TOPICS, "common"):
                sentence = self._inserted(sentence)
            if self.is_new(sentence):
                break
        self._runs |= runs(sentence)
        return sentence

    def _inserted(self, sentence: str) -> str:
        """The sentence with a passing remark behind its last comma, or before a conjunction near its middle."""
        if not self._insertions:
            self._insertions = self.dice.shuffled(bank("en/common").sections["insertions"])
        remark = self._insertions.pop()
        head, comma, tail = sentence.rpartition(", ")
        if comma:
            return f"{head}, {remark}, {tail}"
        joints = [match.start() for match in _JOINT.finditer(sentence)]
        if joints:
            at = min(joints, key=lambda joint: abs(joint - len(sentence) // 2))
            return f"{sentence[:at]}, {remark}, {sentence[at + 1 :]}"
        return f"{sentence[:-1]}, {remark}{sentence[-1]}"

    def is_new(self, sentence: str) -> bool:
        """Whether the text so far shares no run of words with the sentence."""
        return self._runs.isdisjoint(runs(sentence))

    def paragraph(self, sentences: int, section: str = "sentences") -> str:
        """Sentences in one line."""
        separator = "" if self.banks[0].name.removeprefix("other/") in UNSPACED else " "
        return separator.join(self.line(section) for _ in range(sentences))

    def paragraphs(self, target_words: int) -> list[str]:
        """Paragraphs of four or five sentences until the target is reached."""
        result: list[str] = []
        written = 0
        while written < target_words:
            text = self.paragraph(self.dice.between(4, 5))
            written += len(words(text))
            result.append(text)
        return result
