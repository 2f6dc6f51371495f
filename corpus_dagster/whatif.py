"""What a changed recipe would keep, decided again from stored signals. No WARC file and no text is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from corpus_dagster.lake import Dataset, Lake
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.rules.base import KEPT, UNKNOWN, Check, Signals, decide
from corpus_dagster.rules.program import Program
from corpus_dagster.stages import curated, duplicates, filtered, quality
from corpus_dagster.stored import made_from, recipe_as_run, require_made_from, signal_tables, signals_of


@dataclass(frozen=True)
class WhatIfStep:
    """A step of both funnels: documents left after it now (None where the current recipe lacks the step), documents
    left under the new recipe, and documents that are not among these because nobody can tell: a signal that decides
    them, here or at an earlier step, was never measured."""

    stage: str
    rule: str
    now: int | None
    then: int
    undecided: int


@dataclass(frozen=True)
class WhatIf:
    """Both funnels, and what could not be decided again, with the reason."""

    steps: tuple[WhatIfStep, ...]
    notes: tuple[str, ...]


def what_if(lake: Lake, current: Recipe, changed: Recipe, crawl: str) -> WhatIf:
    """Decide a crawl again.

    Args:
        lake: holds the datasets of `current`.
        current: the recipe whose stored signals are used.
        changed: the recipe to try.
        crawl: the crawl.

    Raises:
        LakeError: the current recipe has not been materialised for the crawl, or its stages do not belong together.
    """
    stored = lake.require(filtered.dataset_name(current), crawl)
    marks = require_made_from(lake.require(duplicates.dataset_name(current), crawl), stored)
    scores = require_made_from(lake.require(quality.dataset_name(current), crawl), stored, marks)
    old = recipe_as_run(current, stored).program
    notes, missing = _undecidable(old, changed.program, _changed_lists(stored, changed))
    checks = changed.program.checks
    stopped: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    let_through = 0
    survivors: list[np.ndarray] = []
    total = 0
    needed = sorted({column for check in checks for column in check.needs if column not in missing})
    for _, table in signal_tables(stored, ["doc_id", *needed]):
        signals = signals_of(table)
        decision = decide(checks, _without(signals, missing))
        total += signals.rows
        stopped.update(decision.reason[decision.reason >= 0].tolist())
        undecided = decision.reason == UNKNOWN
        unknown.update(decision.stopped_at[undecided].tolist())
        let_through += int(undecided.sum()) - _undecided_for_lack_of(missing, checks, decision.stopped_at[undecided])
        survivors.append(table.column("doc_id").to_numpy()[decision.reason == KEPT])
    if let_through:
        notes.append(
            f"{let_through:,} documents would pass a gate that stops them now; nothing behind it was measured for "
            "them, so they stay undecided"
        )
    steps = _filter_steps([check.reason for check in checks], total, _left_now(old, stored), stopped, unknown)
    kept = np.concatenate(survivors) if survivors else np.zeros(0, np.int64)
    corpus = made_from(lake.current(curated.dataset_name(current), crawl), stored, marks, scores)
    steps += _later_steps(kept, changed, marks, scores, corpus, unknown.total())
    new = len(kept) - _measured(kept, marks)
    if new:
        notes.append(
            f"{new:,} documents would newly pass the rules; their duplicates and quality have not been measured"
        )
    if changed.duplicates.model_dump(mode="json") != marks.manifest["identity"]["config"]:
        notes.append(
            "deduplication is not decided again: a Bloom filter depends on every document before; run `duplicates`"
        )
    else:
        notes.append("duplicates are taken as they were found among the documents that pass now")
    if changed.quality.model != current.quality.model:
        notes.append(
            "quality scores are those of the current classifier; run `quality_model` and `quality` for the other"
        )
    return WhatIf(tuple(steps), tuple(notes))


def _changed_lists(stored: Dataset, changed: Recipe) -> set[str]:
    """Names of URL lists whose content is not what the stored signals were measured with."""
    then = stored.manifest["identity"]["config"]["lists"]
    return {name for name, digest in changed.filter_config()["lists"].items() if then.get(name, digest) != digest}


def _undecidable(old: Program, new: Program, changed_lists: set[str]) -> tuple[list[str], set[str]]:
    """Sentences on rules that cannot be decided again, and the signal columns they lack."""
    notes: list[str] = []
    missing: set[str] = set()
    for check in new.checks:
        for column in check.needs:
            stored, wanted = old.origins.get(column), new.origins[column]
            lists = {words.name for words in getattr(wanted.measure, "lists", ())}
            if stored == wanted and not lists & changed_lists:
                continue
            missing.add(column)
            if stored is None:
                why = "nothing like it was measured"
            elif stored.edits != wanted.edits:
                names = ", ".join(edit.name for edit in wanted.edits) or "none"
                why = f"its text would be edited otherwise (edits before it: {names})"
            else:
                why = "it was measured with other settings or lists"
            notes.append(f"{check.reason} cannot be decided again: {column} is not stored, since {why}")
    return list(dict.fromkeys(notes)), missing


def _without(signals: Signals, missing: set[str]) -> Signals:
    known = {name: column for name, column in signals.known.items() if name not in missing}
    return Signals(signals.rows, signals.values, known)


def _undecided_for_lack_of(missing: set[str], checks: Sequence[Check], stopped_at: np.ndarray) -> int:
    """How many of the documents stopped at a check that reads a missing column."""
    blind = [index for index, check in enumerate(checks) if not missing.isdisjoint(check.needs)]
    return int(np.isin(stopped_at, blind).sum())


def _left_now(program: Program, stored: Dataset) -> dict[str, int]:
    """Documents left after each check, in the order of the recipe as it ran."""
    left = stored.totals["in"]["documents"]
    after: dict[str, int] = {}
    for check in program.checks:
        left -= stored.totals["removed"].get(check.reason, {}).get("documents", 0)
        after[check.reason] = left
    return after


def _filter_steps(
    reasons: Sequence[str], total: int, now: Mapping[str, int], stopped: Counter[int], unknown: Counter[int]
) -> list[WhatIfStep]:
    steps: list[WhatIfStep] = []
    then = total
    undecided = 0
    for index, reason in enumerate(reasons):
        then -= stopped[index] + unknown[index]
        undecided += unknown[index]
        steps.append(WhatIfStep("filtered", reason, now.get(reason), then, undecided))
    return steps


def _measured(kept: np.ndarray, marks: Dataset) -> int:
    return int(np.isin(kept, _column(marks, "doc_id"), assume_unique=True).sum())


def _column(dataset: Dataset, name: str) -> np.ndarray:
    return dataset.scan().select(name).collect(engine="streaming")[name].to_numpy()


def _later_steps(
    kept: np.ndarray, changed: Recipe, marks: Dataset, scores: Dataset, corpus: Dataset | None, undecided: int
) -> list[WhatIfStep]:
    """Deduplication as it was found, and the quality decision on the scores there are."""
    verdicts = (
        marks.scan()
        .select("doc_id", "duplicate")
        .join(scores.scan().select("doc_id", "score"), on="doc_id", how="left")
        .filter(pl.col("doc_id").is_in(pl.Series(kept).implode()))
        .collect(engine="streaming")
    )
    undecided += len(kept) - verdicts.height
    unique = verdicts.filter(~pl.col("duplicate"))
    lowest = curated.threshold(changed.quality.keep, unique.lazy())
    best = unique.filter(pl.col("score").cast(pl.Float64) >= lowest).height
    now = marks.totals["kept"]["documents"]
    final = corpus.rows() if corpus else None
    return [
        WhatIfStep("duplicates", duplicates.DUPLICATE_DOCUMENT, now, unique.height, undecided),
        WhatIfStep("curated", curated.LOW_QUALITY, final, best, undecided),
    ]
