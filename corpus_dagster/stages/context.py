"""What every stage needs to run: where data lie, who does the work, how progress is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from corpus_dagster.lake import Dataset, Lake, ShardWriter
from corpus_dagster.pool import PoolSettings

Report = Callable[[str], None]


@dataclass(frozen=True)
class StageContext:
    """A stage's surroundings.

    Attributes:
        lake: datasets are read from and written to it.
        pool: how shards are spread over processes.
        report: receives a line of progress every few seconds.
    """

    lake: Lake
    pool: PoolSettings
    report: Report


@dataclass(frozen=True)
class Done:
    """What a worker tells of a finished task; the numbers are for progress lines only, never for results."""

    shards: tuple[int, ...]
    documents: int
    bytes: int


def largest_first(dataset: Dataset) -> list[int]:
    """Shards of an input, the largest part first: workers then end at about the same time. No result depends on it."""
    return sorted(dataset.shards, key=lambda shard: (-dataset.part(shard).bytes, shard))


def digests(*datasets: Dataset) -> dict[str, str]:
    """Names and manifest digests of a stage's inputs, as its fingerprint wants them."""
    return {f"{d.name}/{d.crawl}" if d.crawl else d.name: d.digest for d in datasets}


def count_documents(writer: ShardWriter, path: tuple[str, ...], words: np.ndarray, size: np.ndarray) -> None:
    """Count some documents in the shard's receipt: their number, their words and their bytes of text."""
    writer.count((*path, "documents"), len(words))
    writer.count((*path, "words"), int(words.sum()))
    writer.count((*path, "bytes"), int(size.sum()))


def count_decision(writer: ShardWriter, words: np.ndarray, size: np.ndarray, removed: np.ndarray, reason: str) -> None:
    """Count a decision on a batch: all documents under `in`, the removed ones under their reason, the others `kept`."""
    count_documents(writer, ("in",), words, size)
    count_documents(writer, ("removed", reason), words[removed], size[removed])
    count_documents(writer, ("kept",), words[~removed], size[~removed])


NO_DOCUMENTS = np.zeros(0, dtype=np.int64)
"""Counted once per shard, so that the counters of a shard without documents exist and are zero."""
