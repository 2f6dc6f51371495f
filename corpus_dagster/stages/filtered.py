"""`<recipe>/filtered`: run a recipe's program over the documents of a crawl.

Writes survivors with their edited text, the signals and verdict of every document, and the byte spans of the edits.
What the rules mean is in `corpus_dagster.rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from corpus_dagster.lake import Build, Dataset, Identity, ShardWriter
from corpus_dagster.language import MODEL_DIGEST
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.rules import url_removal
from corpus_dagster.rules.base import Batch, Texts
from corpus_dagster.rules.program import Outcome, Program
from corpus_dagster.schemas import EDITS, FILTERED, SIGNALS, TableSchema
from corpus_dagster.stages.context import NO_DOCUMENTS, Done, StageContext, count_documents, digests, largest_first
from corpus_dagster.stages.run import StageOutcome, run_stage
from corpus_dagster.text.unicode import UNICODE_VERSION
from corpus_dagster.text.words import count_tokens, count_words

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

BATCH_ROWS = 4096
"""Documents measured at a time: large enough to spread the cost of a call, small enough for a few MB of text."""

BATCH_BYTES = 16 << 20
"""Text measured at a time: the columns of a measure take several times its size, and pages of 10 MB exist."""


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/filtered"


def tables(recipe: Recipe) -> dict[str, TableSchema]:
    """Schemas of its tables; the signal columns follow from the recipe's program."""
    return {"data": FILTERED, "signals": SIGNALS.extended(recipe.program.columns), "edits": EDITS}


@dataclass(frozen=True)
class FilteredTask:
    """One shard to filter."""

    shard: int
    documents: Dataset
    build: Build
    recipe: Recipe


def run(context: StageContext, recipe: Recipe, crawl: str) -> StageOutcome:
    """Filter a crawl.

    Raises:
        LakeError: the crawl's documents are not there.
        ShardsFailed: shards failed for good, named in the error.
    """
    documents = context.lake.require("documents", crawl)
    build = context.lake.begin(
        dataset_name(recipe),
        crawl,
        identity=Identity(
            code_version=CODE_VERSION,
            config=recipe.filter_config(),
            inputs=digests(documents),
            models={"lid.176": MODEL_DIGEST, "unicode": UNICODE_VERSION, "tlds": url_removal.names_digest()},
        ),
        tables=tables(recipe),
    )
    tasks = [FilteredTask(shard, documents, build, recipe) for shard in largest_first(documents)]
    return run_stage(
        build,
        tasks,
        write_filtered,
        settings=context.pool,
        shards_of=lambda task: (task.shard,),
        report=context.report,
    )


def write_filtered(task: FilteredTask) -> Done:
    """Filter one shard and write its receipt."""
    program = task.recipe.program
    reasons = tuple(check.reason for check in program.checks)
    rows = size = 0
    with task.build.shard(task.shard) as writer:
        for counter in ("in", "kept"):
            count_documents(writer, (counter,), NO_DOCUMENTS, NO_DOCUMENTS)
        for reason in reasons:
            count_documents(writer, ("removed", reason), NO_DOCUMENTS, NO_DOCUMENTS)
        for batch in pieces(task.documents.batches(task.shard, batch_rows=BATCH_ROWS)):
            outcome = program.run(as_batch(batch))
            writer.write(_signals(batch, outcome, program, reasons), table="signals")
            survivors = np.flatnonzero(outcome.decision.kept[outcome.rows])
            writer.write(_survivors(batch, outcome, survivors))
            writer.write(_edits(batch, outcome, survivors, program.labels), table="edits")
            _count(writer, batch, outcome, survivors, reasons)
            rows += batch.num_rows
            size += batch.get_total_buffer_size()
    return Done((task.shard,), rows, size)


def pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, cut where they hold more than BATCH_BYTES of text; a larger document stands alone."""
    for batch in batches:
        ends = np.cumsum(batch.column("text_bytes").to_numpy(), dtype=np.int64)
        first = 0
        while first < batch.num_rows:
            before = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
            yield batch.slice(first, last - first)
            first = last


def as_batch(batch: pa.RecordBatch) -> Batch:
    """Rows of `documents` as measures see them."""
    return Batch(
        texts=Texts.of(batch.column("text")),
        urls=pl.Series(batch.column("url")),
        hosts=pl.Series(batch.column("host")),
    )


def _signals(batch: pa.RecordBatch, outcome: Outcome, program: Program, reasons: tuple[str, ...]) -> pa.Table:
    decision, signals = outcome.decision, outcome.signals
    removed = ~decision.kept
    columns: dict[str, Any] = {
        "doc_id": batch.column("doc_id"),
        "reason": pa.array(np.array([*reasons, ""], dtype=object)[decision.reason], pa.string(), mask=~removed),
        "value": pa.array(decision.value, pa.float64(), mask=~removed),
    }
    for column in program.columns:
        columns[column.name] = pa.array(signals.values[column.name], column.type, mask=~signals.known[column.name])
    return pa.table(columns)


def _survivors(batch: pa.RecordBatch, outcome: Outcome, survivors: np.ndarray) -> pa.Table:
    kept = batch.take(pa.array(outcome.rows[survivors]))
    texts = outcome.texts.take(survivors)
    columns = {name: kept.column(name) for name in FILTERED.names if name in kept.schema.names}
    label, score = (outcome.signals.values.get(f"language__{name}") for name in ("label", "score"))
    if label is not None and score is not None:
        rows = outcome.rows[survivors]
        columns["language"] = pa.array(label[rows], pa.string())
        columns["language_score"] = pa.array(score[rows], pa.float32())
    columns["words"] = pa.array(count_words(texts.offsets, texts.data))
    columns["tokens"] = pa.array(count_tokens(texts.offsets, texts.data))
    columns["text_bytes"] = pa.array(texts.lengths.astype(np.int32))
    columns["text"] = texts.array()
    return pa.table({name: columns[name] for name in FILTERED.names})


def _edits(batch: pa.RecordBatch, outcome: Outcome, survivors: np.ndarray, labels: list[str]) -> pa.Table:
    spans = outcome.spans.take(survivors)
    ids = batch.column("doc_id").to_numpy()[outcome.rows[survivors]]
    found = spans.labels if spans.labels is not None else np.zeros(len(spans.starts), np.int8)
    return pa.table(
        {
            "doc_id": pa.array(np.repeat(ids, np.diff(spans.offsets))),
            "rule": pa.array(np.array([*labels, ""], dtype=object)[found], pa.string()),
            "start": pa.array(spans.starts.astype(np.int32)),
            "end": pa.array(spans.ends.astype(np.int32)),
        }
    )


def _count(
    writer: ShardWriter,
    batch: pa.RecordBatch,
    outcome: Outcome,
    survivors: np.ndarray,
    reasons: tuple[str, ...],
) -> None:
    """Add the batch to the shard's counters: documents, words and bytes in, removed by reason, and out."""
    words = batch.column("words").to_numpy()
    size = batch.column("text_bytes").to_numpy()
    count_documents(writer, ("in",), words, size)
    for index in np.unique(outcome.decision.reason[~outcome.decision.kept]):
        gone = outcome.decision.reason == index
        count_documents(writer, ("removed", reasons[index]), words[gone], size[gone])
    rows = outcome.rows[survivors]
    count_documents(writer, ("kept",), words[rows], size[rows])
    writer.count("edited_bytes", int(size[rows].sum() - outcome.texts.lengths[survivors].sum()))
