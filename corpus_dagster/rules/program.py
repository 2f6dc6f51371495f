"""A recipe's steps as a program over batches of documents: measure, edit, decide.

Each measure is taken once per version of the text. Documents that fail a gate (URL, language) are dropped at once;
all others are measured to the end, so that thresholds can be decided again from the stored columns alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from corpus_dagster.errors import nearest
from corpus_dagster.rules.base import (
    Batch,
    Before,
    Check,
    Decision,
    Edit,
    Measure,
    Rule,
    Signals,
    Step,
    Taken,
    Texts,
    decide,
)
from corpus_dagster.schemas import Column
from corpus_dagster.text.spans import Spans, compose

EMPTIED = Column("emptied", pa.bool_(), "the edit left no text")


class ProgramError(ValueError):
    """The steps of a recipe do not fit together."""


@dataclass(frozen=True)
class TakeMeasure:
    """Fill the columns of a measure, on the text as it stands."""

    measure: Measure
    prefix: str


@dataclass(frozen=True)
class ApplyEdit:
    """Delete what the edit finds; `first_label` numbers its kinds of span within the program."""

    edit: Edit
    first_label: int
    emptied: str


@dataclass(frozen=True)
class PassGate:
    """Drop the documents that fail these checks."""

    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Origin:
    """Where a signal column comes from: its measure (None for an edit's own flag) and the edits made before.

    Columns of two programs hold the same values when their origins are equal.
    """

    measure: Measure | None
    edits: tuple[Edit, ...]


Action = TakeMeasure | ApplyEdit | PassGate


@dataclass(frozen=True)
class Outcome:
    """What a program made of n documents.

    `rows` (int64[m]) are the documents still measured at the end, in order; `texts` and `spans` are theirs, spans in
    coordinates of the original text. `decision` and `signals` have one entry for each of the n documents.
    """

    decision: Decision
    signals: Signals
    rows: np.ndarray
    texts: Texts
    spans: Spans


class Program:
    """The compiled steps of one recipe."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """Compile steps.

        Raises:
            ProgramError: names repeat, or a rule refers to a step that is not there.
        """
        names = [step.name for step in steps]
        for name in names:
            if names.count(name) > 1:
                raise ProgramError(f"two steps are named {name!r}; give one of them a `name` of its own")
        self._versions = _versions(steps)
        self._prefixes: dict[tuple[Measure, int], str] = {}
        self.labels: list[str] = []
        actions: list[Action] = []
        checks: list[Check] = []
        columns: list[Column] = []
        self.origins: dict[str, Origin] = {}
        edits: tuple[Edit, ...] = ()
        schedule = self._schedule(steps)
        for step in steps:
            for measure in schedule.get(step.name, ()):
                prefix = self._prefix(measure, self._versions[step.name])
                actions.append(TakeMeasure(measure, prefix))
                columns += [replace(c, name=f"{prefix}__{c.name}", nullable=True) for c in measure.columns]
                self.origins |= {f"{prefix}__{c.name}": Origin(measure, edits) for c in measure.columns}
            if isinstance(step, Edit):
                emptied = f"{step.name}__{EMPTIED.name}"
                actions.append(ApplyEdit(step, len(self.labels), emptied))
                columns.append(replace(EMPTIED, name=emptied, nullable=True))
                checks.append(_emptied_check(step, emptied))
                self.labels += step.labels
                edits = (*edits, step)
                self.origins[emptied] = Origin(None, edits)
            elif isinstance(step, Rule):
                new = step.checks(partial(self._column, step))
                checks += new
                if step.gate:
                    actions.append(PassGate(new))
        self.actions: tuple[Action, ...] = tuple(actions)
        self.checks: tuple[Check, ...] = tuple(checks)
        self.columns: tuple[Column, ...] = tuple(columns)

    def _schedule(self, steps: Sequence[Step]) -> dict[str, list[Measure]]:
        """Measures to take right before each step.

        One measure of one text version is taken once, at the first step that asks for it: gates before it save work.
        """
        schedule: dict[str, list[Measure]] = {}
        wanted = [
            (taken.edit if isinstance(taken, Before) else step.name, taken)
            for step in steps
            if isinstance(step, Rule)
            for taken in step.measures()
        ]
        order = {step.name: position for position, step in enumerate(steps)}
        for name, _ in wanted:
            if name not in order:
                raise ProgramError(f"a rule refers to step {name!r}, which does not exist{nearest(name, order)}")
        seen: set[tuple[Measure, int]] = set()
        for name, taken in sorted(wanted, key=lambda pair: order[pair[0]]):
            measure = taken.measure if isinstance(taken, Before) else taken
            if (measure, self._versions[name]) not in seen:
                seen.add((measure, self._versions[name]))
                schedule.setdefault(name, []).append(measure)
        return schedule

    def _prefix(self, measure: Measure, version: int) -> str:
        """Prefix of a measure's columns: its name, numbered where the program takes it again on edited text."""
        if (measure, version) not in self._prefixes:
            taken = set(self._prefixes.values())
            prefix, number = measure.name, 2
            while prefix in taken:
                prefix, number = f"{measure.name}_{number}", number + 1
            self._prefixes[measure, version] = prefix
        return self._prefixes[measure, version]

    def _column(self, step: Step, taken: Taken, name: str) -> str:
        if isinstance(taken, Before):
            return f"{self._prefix(taken.measure, self._versions[taken.edit])}__{name}"
        return f"{self._prefix(taken, self._versions[step.name])}__{name}"

    def run(self, batch: Batch) -> Outcome:
        """Measure, edit and decide a batch. The result for a document does not depend on the others."""
        n = len(batch.texts)
        values = {c.name: _empty_column(c, n) for c in self.columns}
        known = {c.name: np.zeros(n, dtype=bool) for c in self.columns}
        signals = Signals(n, values, known)
        rows = np.arange(n)
        spans = Spans.none(n, labelled=True)
        for action in self.actions:
            match action:
                case TakeMeasure(measure, prefix):
                    for name, found in measure.measure(batch).items():
                        values[f"{prefix}__{name}"][rows] = found
                        known[f"{prefix}__{name}"][rows] = True
                case ApplyEdit(edit, first_label, emptied):
                    found = edit.find(batch.texts)
                    spans = compose(spans, found.shifted(first_label))
                    batch = replace(batch, texts=batch.texts.without(found))
                    values[emptied][rows] = batch.texts.lengths == 0
                    known[emptied][rows] = True
                case PassGate(checks):
                    passed = decide(checks, signals).kept[rows]
                    if not passed.all():
                        remaining = np.flatnonzero(passed)
                        rows, spans, batch = rows[passed], spans.take(remaining), batch.take(remaining)
        return Outcome(decide(self.checks, signals), signals, rows, batch.texts, spans)


def _versions(steps: Sequence[Step]) -> dict[str, int]:
    """Version of the text that each step sees: how many edits come before it."""
    versions: dict[str, int] = {}
    edits = 0
    for step in steps:
        versions[step.name] = edits
        edits += isinstance(step, Edit)
    return versions


def _emptied_check(edit: Edit, column: str) -> Check:
    def judge(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
        return signals[column].astype(bool), np.zeros(signals.rows)

    return Check(edit.name, (column,), "some text is left", judge)


def _empty_column(column: Column, rows: int) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.full(rows, "", dtype=object)
    return np.zeros(rows, dtype=column.type.to_pandas_dtype())
