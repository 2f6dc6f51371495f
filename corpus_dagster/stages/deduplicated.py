"""Rows of `<recipe>/filtered` with the deletions of `<recipe>/duplicates` applied, batch by batch.

Both later readers of the two datasets, scoring and the corpus itself, go through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus_dagster.lake import Dataset, LakeError
from corpus_dagster.rules.base import Texts
from corpus_dagster.text.spans import Spans


@dataclass(frozen=True)
class Deduplicated:
    """A batch of n rows of `filtered`: the rows, where the whole document is a duplicate (bool[n]), and the texts
    without their duplicated paragraphs."""

    rows: pa.RecordBatch
    duplicate: np.ndarray
    texts: Texts


def batches(filtered: Dataset, duplicates: Dataset, shard: int) -> Iterator[Deduplicated]:
    """The rows of a shard.

    Raises:
        LakeError: the two datasets do not describe the same rows.
    """
    verdicts = duplicates.read(shard, columns=["doc_id", "duplicate"])
    ids = verdicts.column("doc_id").to_numpy()
    duplicate = verdicts.column("duplicate").to_numpy()
    spans = duplicates.read(shard, table="spans")
    position = 0
    for rows in filtered.batches(shard):
        here = slice(position, position + rows.num_rows)
        position += rows.num_rows
        expected = rows.column("doc_id").to_numpy()
        if not np.array_equal(ids[here], expected):
            raise LakeError(
                f"{duplicates.name} of {duplicates.crawl}, shard {shard}: rows {here.start} to {here.stop} are not "
                f"those of {filtered.name}; materialise {duplicates.name} again"
            )
        texts = Texts.of(rows.column("text")).without(spans_of(spans, expected))
        yield Deduplicated(rows, duplicate[here], texts)


def spans_of(table: pa.Table, ids: np.ndarray, labels: np.ndarray | None = None) -> Spans:
    """The rows of a span table that belong to these documents, as spans.

    Args:
        table: columns doc_id (sorted), start and end.
        ids: int64[n], sorted document ids.
        labels: int8, one per row of the table.
    """
    owners = table.column("doc_id").to_numpy()
    first = np.searchsorted(owners, ids, side="left")
    counts = np.searchsorted(owners, ids, side="right") - first
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], counts)
    return Spans(
        offsets,
        table.column("start").to_numpy()[rows].astype(np.int64),
        table.column("end").to_numpy()[rows].astype(np.int64),
        None if labels is None else labels[rows],
    )
