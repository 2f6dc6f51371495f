"""One stage over the shards of one crawl: no-op, resume, pool, commit. What a shard does is the stage's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from corpus_dagster import pool
from corpus_dagster.lake import Build, Dataset, LakeError, ShardWriter
from corpus_dagster.pool import PoolSettings, TaskOutcome

T = TypeVar("T")


@dataclass(frozen=True)
class StageOutcome:
    """What a run of a stage came to.

    reused: the dataset was committed before, nothing was done.
    resumed_shards: shards that an earlier run had finished. done_shards: those this run did.
    seconds: wall-clock time of this run. peak_rss: the largest worker, in bytes; 0 when nothing was done.
    """

    dataset: Dataset
    reused: bool
    resumed_shards: int
    done_shards: int
    seconds: float
    peak_rss: int


def run_stage(
    build: Build,
    tasks: Sequence[T],
    function: Callable[[T], Any],
    *,
    settings: PoolSettings,
    shards_of: Callable[[T], tuple[int, ...]],
    report: Callable[[str], None],
) -> StageOutcome:
    """Make `build` committed: run `function` on each task that has an unfinished shard, then commit.

    `function` writes every shard that `shards_of` names for its task. A task with several shards is done
    whole or not at all.

    Raises:
        ValueError: a task names no shard, or two tasks name the same one.
        corpus_dagster.pool.ShardsFailed: tasks failed; what is finished is kept for the next run.
        corpus_dagster.lake.LakeError: a task did not write its shards, or the commit contradicts an
            earlier one.
    """
    started = time.monotonic()
    shards = _all_shards(tasks, shards_of)
    dataset = build.committed()
    if dataset is not None:
        if dataset.shards != shards:
            raise LakeError(
                f"{build.uri} is committed over {len(dataset.shards):,} shards, this run has {len(shards):,} "
                "under the same fingerprint; the choice of shards belongs in the configuration or the inputs "
                "of the identity"
            )
        report(f"{_title(build)}: {build.fingerprint} is committed already, nothing to do")
        return StageOutcome(dataset, True, len(shards), 0, time.monotonic() - started, 0)
    finished = build.finished()
    left = [task for task in tasks if not finished.issuperset(shards_of(task))]
    resumed = len(shards) - sum(len(shards_of(task)) for task in left)
    if resumed:
        report(f"{_title(build)}: {resumed:,} of {len(shards):,} shards were finished by an earlier run")
    peak = 0

    def note(outcome: TaskOutcome[T, Any]) -> None:
        nonlocal peak
        peak = max(peak, outcome.peak_rss)

    def name(task: T) -> str:
        return f"{_title(build)}, shard {', '.join(map(str, shards_of(task)))}"

    pool.run(function, left, settings=settings, name=name, on_result=note, report=report)
    dataset = build.commit(shards)
    return StageOutcome(dataset, False, resumed, len(shards) - resumed, time.monotonic() - started, peak)


def run_alone(build: Build, write: Callable[[ShardWriter], None], *, report: Callable[[str], None]) -> StageOutcome:
    """Make `build` committed where it is one shard and no work for a pool: `write` writes shard 0."""
    started = time.monotonic()
    dataset = build.committed()
    if dataset is not None:
        report(f"{_title(build)}: {build.fingerprint} is committed already, nothing to do")
        return StageOutcome(dataset, True, 1, 0, time.monotonic() - started, 0)
    with build.shard(0) as writer:
        write(writer)
    return StageOutcome(build.commit([0]), False, 0, 1, time.monotonic() - started, 0)


def _all_shards(tasks: Sequence[T], shards_of: Callable[[T], tuple[int, ...]]) -> list[int]:
    owners: dict[int, T] = {}
    for task in tasks:
        if not shards_of(task):
            raise ValueError(f"task {task!r} names no shard, so it could never be finished")
        for shard in shards_of(task):
            if shard in owners:
                raise ValueError(f"shard {shard} is named by two tasks: {owners[shard]!r} and {task!r}")
            owners[shard] = task
    return sorted(owners)


def _title(build: Build) -> str:
    return f"{build.name} {build.crawl}" if build.crawl else build.name
