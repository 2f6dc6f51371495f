"""The language rule: keep documents of the wanted languages, by fastText lid.176.

The documents asset scores every document once, with newlines as spaces. A recipe scores its own text again, since
its edits and its newline policy are part of its meaning: DCLM and cc_net delete newlines, so that words fuse.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from corpus_dagster.language import LanguageIdentifier, NewlinePolicy
from corpus_dagster.rules.base import Batch, Check, ColumnName, Rule, Signals, Taken, register
from corpus_dagster.schemas import Column
from corpus_dagster.text.blank import consist_of

LABEL = Column("label", pa.string(), "most probable language; empty where the text has none")
SCORE = Column("score", pa.float32(), "its probability, 0 to 1")

WORDLESS = string.punctuation + " "
"""DCLM asks the model nothing about a text of only these characters."""


@dataclass(frozen=True)
class LanguageScores:
    """Most probable language of the text as it stands."""

    newlines: NewlinePolicy

    @property
    def name(self) -> str:
        """Prefix of the columns."""
        return "language"

    @property
    def columns(self) -> tuple[Column, ...]:
        """Label and probability."""
        return (LABEL, SCORE)

    def measure(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """Labels (str objects) and probabilities (float32)."""
        offsets, data = batch.texts.offsets, batch.texts.data
        labels, scores, *_ = LanguageIdentifier().identify_buffers(offsets, data, self.newlines)
        wordless = consist_of(offsets, data, WORDLESS)
        labels[wordless] = ""
        scores[wordless] = 0
        return {LABEL.name: labels, SCORE.name: scores}


@register("language")
class Language(Rule):
    """Removes documents whose language is not wanted, or not certain: keeps score > min_score."""

    gate: ClassVar[bool] = True
    keep: tuple[str, ...] = Field(min_length=1, description="fastText labels, such as en")
    min_score: float = Field(ge=0, le=1, description="the probability must exceed this")
    newlines: NewlinePolicy = Field(description="what becomes of newlines before the model reads the text")

    def measures(self) -> tuple[Taken, ...]:
        return (LanguageScores(self.newlines),)

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        label, score = (column(LanguageScores(self.newlines), c.name) for c in (LABEL, SCORE))

        def judge(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
            wanted = np.isin(signals[label].astype(str), self.keep)
            # The probability of a wanted language: nothing is known of it when another one is more probable.
            value = np.where(wanted, signals[score].astype(np.float64), 0.0)
            return value <= self.min_score, value

        wanted = " or ".join(self.keep)
        return (Check(self.name, (label, score), f"P({wanted}) > {self.min_score}", judge),)
