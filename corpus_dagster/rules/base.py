"""What a rule is: measures that fill signal columns, checks that compare them, edits that delete spans.

Measuring and deciding are apart. A measure looks at text or URLs and writes typed columns; a check looks at
columns only, so it can be decided again later from a stored table. Concrete rules live in their own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, model_validator

from corpus_dagster.schemas import Column
from corpus_dagster.text.arrow import string_array, string_buffers
from corpus_dagster.text.spans import Spans, delete

KEPT = -1
"""Reason index of a document that no check removed."""

UNKNOWN = -2
"""Reason index of a document that reached a check whose signals were never measured."""


@dataclass(frozen=True)
class Texts:
    """A column of texts as Arrow buffers: `offsets` int64[n+1] into `data` uint8 (UTF-8)."""

    offsets: np.ndarray
    data: np.ndarray

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Texts:
        """The buffers of an Arrow string column."""
        return cls(*string_buffers(column))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each text, int64[n]."""
        return np.diff(self.offsets)

    def array(self) -> pa.Array:
        """The texts as an Arrow string array."""
        return string_array(self.offsets, self.data)

    def strings(self) -> list[str]:
        """The texts as Python strings."""
        return self.array().to_pylist()

    def take(self, rows: np.ndarray) -> Texts:
        """The texts at these rows (int64 indices), in that order."""
        return Texts.of(self.array().take(pa.array(rows)))

    def without(self, spans: Spans) -> Texts:
        """The texts with these spans deleted."""
        return Texts(*delete(self.offsets, self.data, spans))


@dataclass(frozen=True)
class Batch:
    """What measures see: documents of one shard, row by row."""

    texts: Texts
    urls: pl.Series
    hosts: pl.Series

    def take(self, rows: np.ndarray) -> Batch:
        """The documents at these rows."""
        return Batch(self.texts.take(rows), self.urls.gather(rows), self.hosts.gather(rows))


class Measure(Protocol):
    """Fills signal columns. Hashable by value: equal measures of one text are taken once."""

    @property
    def name(self) -> str:
        """Prefix of its columns."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns it fills, without the prefix."""
        ...

    def measure(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """One array per column, one value per document."""
        ...


@dataclass(frozen=True)
class Before:
    """A measure of the text as it stood before an earlier edit, named by that edit's step."""

    measure: Measure
    edit: str


Taken = Measure | Before
"""What a rule asks for: a measure of the text as it stands, or as it stood before an edit."""

ColumnName = Callable[[Taken, str], str]
"""Full name of a signal column, from a measure and the column's own name."""


@dataclass(frozen=True)
class Signals:
    """Signal columns of n documents; `known` says where each was measured."""

    rows: int
    values: Mapping[str, np.ndarray]
    known: Mapping[str, np.ndarray]

    def __getitem__(self, column: str) -> np.ndarray:
        return self.values[column]

    def measured(self, columns: tuple[str, ...]) -> np.ndarray:
        """Where all of these columns are known, bool[rows]."""
        known = np.ones(self.rows, dtype=bool)
        for column in columns:
            known &= self.known.get(column, np.zeros(self.rows, dtype=bool))
        return known


StepType = TypeVar("StepType", bound="Step")

Judge = Callable[[Signals], tuple[np.ndarray, np.ndarray]]
"""From signals to (removed: bool[n], value: float64[n]), the value being what was compared."""


@dataclass(frozen=True)
class Check:
    """One comparison: its reason of removal, the columns it reads, the limit in words, the comparison itself."""

    reason: str
    needs: tuple[str, ...]
    limit: str
    judge: Judge


@dataclass(frozen=True)
class Decision:
    """Verdicts on n documents: `reason` int16 index into the checks, or KEPT or UNKNOWN; `value` as compared;
    `stopped_at` int16 check at which the verdict fell (the last one for survivors)."""

    reason: np.ndarray
    value: np.ndarray
    stopped_at: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Where no check removed the document, bool[n]."""
        return self.reason == KEPT


def decide(checks: tuple[Check, ...], signals: Signals) -> Decision:
    """Apply the checks in order; the first that fails gives the reason. Reads columns only."""
    reason = np.full(signals.rows, KEPT, dtype=np.int16)
    value = np.full(signals.rows, np.nan)
    stopped_at = np.full(signals.rows, len(checks), dtype=np.int16)
    undecided = np.ones(signals.rows, dtype=bool)
    for index, check in enumerate(checks):
        unknown = undecided & ~signals.measured(check.needs)
        reason[unknown] = UNKNOWN
        stopped_at[unknown] = index
        undecided &= ~unknown
        if not undecided.any():
            continue
        removed, compared = check.judge(signals)
        removed = removed & undecided
        reason[removed] = index
        value[removed] = compared[removed]
        stopped_at[removed] = index
        undecided &= ~removed
    return Decision(reason, value, stopped_at)


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float) -> np.ndarray:
    """Element-wise quotient in float64; `empty` where the denominator is 0."""
    out = np.full(len(numerator), empty, dtype=np.float64)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


class Step(BaseModel):
    """A line of a recipe's program. Its `name` is the reason of removal and must be unique in the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: ClassVar[bool] = False
    """A document removed here is measured no further; elsewhere it is measured to the end, to be decided again."""

    rule: str
    name: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named_after_rule(cls, values: object) -> object:
        if isinstance(values, dict) and not values.get("name"):
            return {**values, "name": values.get("rule", "")}
        return values


class Rule(Step):
    """Removes documents."""

    def measures(self) -> tuple[Taken, ...]:
        """What must be measured for it."""
        raise NotImplementedError

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        """The comparisons, in order; `column` names the signals they read."""
        raise NotImplementedError


class Edit(Step):
    """Deletes spans of text. A document left empty is removed under the edit's name."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the kinds of span it deletes; a span's label is an index into them."""
        return (self.name,)

    def find(self, texts: Texts) -> Spans:
        """The spans to delete, per document, with labels where there is more than one kind."""
        raise NotImplementedError


RULES: dict[str, type[Step]] = {}
"""Every rule and edit a recipe can name."""


def register(rule: str) -> Callable[[type[StepType]], type[StepType]]:
    """Class decorator: make a step available to recipes under this name."""

    def add(step: type[StepType]) -> type[StepType]:
        RULES[rule] = step
        return step

    return add
