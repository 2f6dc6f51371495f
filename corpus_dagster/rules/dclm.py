"""The rules of DCLM-Baseline on text, in the `dclm` dialect: Gopher quality, Gopher repetition, RefinedWeb lines.

Kernels count (`dclm_quality`, `dclm_repetition`, `dclm_lines`); the comparisons here keep the original's form, with its
operators and its products, so that values exactly on a limit fall on the same side.
Source: mlfoundations/dclm, `baselines/mappers`; limits from Rae et al. 2021 (Gopher), table A1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from corpus_dagster.errors import nearest
from corpus_dagster.rules import dclm_lines, dclm_quality, dclm_repetition, newlines, url_removal
from corpus_dagster.rules.base import (
    Batch,
    Before,
    Check,
    ColumnName,
    Edit,
    Rule,
    Signals,
    Taken,
    Texts,
    ratio,
    register,
)
from corpus_dagster.schemas import Column
from corpus_dagster.text.spans import Spans

Dialect = Literal["dclm"]
Judgement = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DclmQuality:
    """Integer counts behind the Gopher quality rules."""

    @property
    def name(self) -> str:
        """Prefix of the columns."""
        return "dclm_quality"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The counts."""
        return dclm_quality.COLUMNS

    def measure(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """All counts in one pass."""
        return dclm_quality.measure(batch.texts.offsets, batch.texts.data)


@dataclass(frozen=True)
class DclmRepetition:
    """Fractions behind the Gopher repetition rules."""

    @property
    def name(self) -> str:
        """Prefix of the columns."""
        return "dclm_repetition"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fractions."""
        return dclm_repetition.COLUMNS

    def measure(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """All fractions in one call."""
        return dclm_repetition.measure(batch.texts.offsets, batch.texts.data)


@dataclass(frozen=True)
class FasttextWords:
    """Words as DCLM counts them: fastText tokens that start with a letter or digit."""

    @property
    def name(self) -> str:
        """Prefix of the column."""
        return "fasttext_words"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The count."""
        return (Column("count", pa.int32(), "fastText tokens that start with a letter or digit"),)

    def measure(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """The count per document, int32."""
        return {"count": dclm_quality.count_fasttext_words(batch.texts.offsets, batch.texts.data)}


class _QualityRule(Rule):
    dialect: Dialect = "dclm"

    def measures(self) -> tuple[Taken, ...]:
        return (DclmQuality(),)

    def _check(
        self,
        column: ColumnName,
        counts: tuple[str, ...],
        limit: str,
        judge: Callable[..., Judgement],
    ) -> tuple[Check, ...]:
        needs = tuple(column(DclmQuality(), count) for count in counts)
        return (Check(self.name, needs, limit, lambda signals: judge(*(signals[n] for n in needs))),)


@register("word_count")
class WordCount(_QualityRule):
    """Removes documents with too few or too many words."""

    min: int = Field(ge=0, description="fewest words")
    max: int = Field(ge=0, description="most words")

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        def judge(words: np.ndarray) -> Judgement:
            return (words < self.min) | (words > self.max), words.astype(np.float64)

        return self._check(column, ("fasttext_words",), f"{self.min} <= words <= {self.max}", judge)


@register("mean_word_length")
class MeanWordLength(_QualityRule):
    """Removes documents whose words, cut at white space, are too short or too long on average."""

    min: float = Field(ge=0, description="lowest mean, in characters")
    max: float = Field(ge=0, description="highest mean, in characters")

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        def judge(chars: np.ndarray, words: np.ndarray) -> Judgement:
            mean = ratio(chars, words, empty=0.0)
            return (words == 0) | (mean < self.min) | (mean > self.max), mean

        return self._check(column, ("word_chars", "words"), f"{self.min:g} <= mean <= {self.max:g}", judge)


@register("symbol_ratio")
class SymbolRatio(_QualityRule):
    """Removes documents with too many `#`, `...`, `. . .` and `…` per word."""

    max: float = Field(ge=0, description="most symbols per word")

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        def judge(symbols: np.ndarray, words: np.ndarray) -> Judgement:
            share = ratio(symbols, words, empty=np.inf)
            return share > self.max, share

        return self._check(column, ("symbols", "words"), f"symbols / words <= {self.max:g}", judge)


class _LineRule(_QualityRule):
    max: float = Field(ge=0, le=1, description="largest share of the non-blank lines")

    def _line_check(self, column: ColumnName, count: str) -> tuple[Check, ...]:
        def judge(found: np.ndarray, lines: np.ndarray) -> Judgement:
            # The original compares with a product, which rounds otherwise than the quotient.
            return found > self.max * lines, ratio(found, lines, empty=0.0)

        return self._check(column, (count, "lines"), f"share of lines <= {self.max:g}", judge)


@register("bullet_lines")
class BulletLines(_LineRule):
    """Removes documents whose lines start with a bullet (● • * -) too often."""

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        return self._line_check(column, "bullet_lines")


@register("ellipsis_lines")
class EllipsisLines(_LineRule):
    """Removes documents whose lines end in an ellipsis (`...`, `. . .`, `…`) too often."""

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        return self._line_check(column, "ellipsis_lines")


@register("non_alpha_words")
class NonAlphaWords(_QualityRule):
    """Removes documents with too many words that hold no letter."""

    max: float = Field(ge=0, le=1, description="largest share of the words")

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        def judge(found: np.ndarray, words: np.ndarray) -> Judgement:
            share = ratio(found, words, empty=np.inf)
            return share > self.max, share

        return self._check(column, ("non_alpha_words", "words"), f"share of words <= {self.max:g}", judge)


@register("stop_words")
class StopWords(_QualityRule):
    """Removes documents with too few occurrences of the, be, to, of, and, that, have, with."""

    min: int = Field(ge=0, description="fewest occurrences")

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        def judge(found: np.ndarray) -> Judgement:
            return found < self.min, found.astype(np.float64)

        return self._check(column, ("stop_words",), f"stop words >= {self.min}", judge)


REPETITION_SIGNALS = tuple(column.name for column in dclm_repetition.COLUMNS)


@register("repetition")
class Repetition(Rule):
    """Removes repetitive documents: each limit is a check of its own, in the order written, and its own reason."""

    dialect: Dialect = "dclm"
    limits: dict[str, float] = Field(min_length=1, description="signal: largest fraction allowed")

    @field_validator("limits", mode="before")
    @classmethod
    def _from_pairs(cls, limits: object) -> object:
        return dict(limits) if isinstance(limits, list) else limits

    @field_validator("limits")
    @classmethod
    def _known_signals(cls, limits: dict[str, float]) -> dict[str, float]:
        for name, limit in limits.items():
            if name not in REPETITION_SIGNALS:
                raise ValueError(f"unknown repetition signal {name!r}{nearest(name, REPETITION_SIGNALS)}")
            if not 0 <= limit <= 1:
                raise ValueError(f"the limit of {name} is a fraction between 0 and 1, not {limit}")
        return limits

    def measures(self) -> tuple[Taken, ...]:
        return (DclmRepetition(),)

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        return tuple(self._limit(column, signal, limit) for signal, limit in self.limits.items())

    def _limit(self, column: ColumnName, signal: str, limit: float) -> Check:
        needed = column(DclmRepetition(), signal)

        def judge(signals: Signals) -> Judgement:
            return signals[needed] > limit, signals[needed]

        return Check(signal, (needed,), f"fraction <= {limit:g}", judge)


@register("remove_urls")
class RemoveUrls(Edit):
    """Deletes URLs and IPv4 addresses from the text, with the white space before them."""

    dialect: Dialect = "dclm"
    published_guard: bool = Field(
        default=False,
        description="as the published code ran: only texts that begin with a top-level domain lose their URLs",
    )

    def find(self, texts: Texts) -> Spans:
        return url_removal.find(texts.offsets, texts.data, published_guard=self.published_guard)


@register("cap_newlines")
class CapNewlines(Edit):
    """Shortens runs of newlines."""

    max: int = Field(ge=1, description="most newlines in a row")

    def find(self, texts: Texts) -> Spans:
        return newlines.find(texts.offsets, texts.data, max_consecutive=self.max)


@register("refinedweb_lines")
class RefinedWebLines(Edit):
    """Deletes boilerplate: upper-case, numeric, counter and one-word lines, and shop phrases in short lines."""

    dialect: Dialect = "dclm"
    max_uppercase: float = Field(default=0.5, ge=0, le=1, description="share of the characters of a line")
    max_numeric: float = Field(default=0.999999, ge=0, le=1, description="share of the characters of a line")
    min_words: int = Field(default=2, ge=0, description="words of a line")
    short_line_words: int = Field(default=10, ge=0, description="phrases are deleted in lines up to this length")

    @property
    def labels(self) -> tuple[str, ...]:
        """One label per sub-rule."""
        return tuple(f"{self.name}:{label}" for label in dclm_lines.LABELS)

    def find(self, texts: Texts) -> Spans:
        settings = dclm_lines.LineSettings(
            max_uppercase=self.max_uppercase,
            max_numeric=self.max_numeric,
            min_words=self.min_words,
            short_line_words=self.short_line_words,
        )
        spans, _ = dclm_lines.find(texts.offsets, texts.data, settings)
        return spans


@register("removed_words")
class RemovedWords(Rule):
    """Removes documents that lost too large a share of their words to an edit named in `since`."""

    dialect: Dialect = "dclm"
    max: float = Field(ge=0, le=1, description="largest share of the words lost")
    since: str = Field(description="name of the edit before which words are first counted")

    def measures(self) -> tuple[Taken, ...]:
        return (Before(FasttextWords(), self.since), FasttextWords())

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        before, after = (column(taken, "count") for taken in self.measures())

        def judge(signals: Signals) -> Judgement:
            lost = ratio(signals[before].astype(np.int64) - signals[after], signals[before], empty=np.inf)
            return lost > self.max, lost

        return (Check(self.name, (before, after), f"share of words lost <= {self.max:g}", judge),)
