"""`<recipe>/removed`: every document and span that was taken out, with stage, reason and value; and, per host and
language, what went in and what stayed. Reads the verdicts of the other stages and decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from corpus_dagster.lake import Build, Dataset, Identity
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.schemas import CELLS, REMOVED
from corpus_dagster.stages import curated, duplicates, filtered, quality
from corpus_dagster.stages.context import Done, StageContext, digests, largest_first
from corpus_dagster.stages.deduplicated import spans_of
from corpus_dagster.stages.run import StageOutcome, run_stage
from corpus_dagster.stored import require_made_from
from corpus_dagster.text.spans import compose

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

TABLES = {"data": REMOVED, "cells": CELLS}
UNDETERMINED = "und"
"""ISO 639 code for a text whose language could not be told."""

DUPLICATE_PARAGRAPH = "duplicate_paragraph"
"""Reason of a span that deduplication took out."""

DOCUMENT_COLUMNS = ["doc_id", "url", "host", "language", "words", "text_bytes"]


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/removed"


@dataclass(frozen=True)
class RemovedTask:
    """One shard to account for."""

    shard: int
    documents: Dataset
    filtered: Dataset
    duplicates: Dataset
    quality: Dataset
    curated: Dataset
    build: Build


def run(context: StageContext, recipe: Recipe, crawl: str) -> StageOutcome:
    """Account for everything a recipe took out of a crawl.

    Raises:
        LakeError: a stage of the recipe is not there.
        ShardsFailed: shards failed for good, named in the error.
    """
    documents = context.lake.require("documents", crawl)
    rules, copies, scores, corpus = (
        context.lake.require(stage.dataset_name(recipe), crawl) for stage in (filtered, duplicates, quality, curated)
    )
    require_made_from(rules, documents)
    require_made_from(copies, rules)
    require_made_from(scores, rules, copies)
    require_made_from(corpus, rules, copies, scores)
    build = context.lake.begin(
        dataset_name(recipe),
        crawl,
        identity=Identity(
            code_version=CODE_VERSION, config={}, inputs=digests(documents, rules, copies, scores, corpus), models={}
        ),
        tables=TABLES,
    )
    tasks = [RemovedTask(shard, documents, rules, copies, scores, corpus, build) for shard in largest_first(documents)]
    return run_stage(
        build,
        tasks,
        write_removed,
        settings=context.pool,
        shards_of=lambda task: (task.shard,),
        report=context.report,
    )


def write_removed(task: RemovedTask) -> Done:
    """Account for one shard."""
    documents = _frame(task.documents, task.shard, DOCUMENT_COLUMNS)
    survivors = _frame(task.curated, task.shard, ["doc_id", "words", "tokens", "text_bytes"])
    with task.build.shard(task.shard) as writer:
        verdicts = _verdicts(task, survivors["doc_id"])
        gone = documents.join(verdicts, on="doc_id", how="inner", maintain_order="left")
        for stage, reason, group in _groups(gone, ["stage", "reason"]):
            writer.count(("documents", stage, reason, "items"), group.height)
            writer.count(("documents", stage, reason, "words"), int(group["words"].sum()))
            writer.count(("documents", stage, reason, "bytes"), int(group["text_bytes"].sum()))
        writer.count("in", documents.height)
        writer.count("kept", survivors.height)
        spans = _spans(task, documents, survivors)
        for stage, reason, group in _groups(spans, ["stage", "reason"]):
            writer.count(("spans", stage, reason, "items"), group.height)
            writer.count(("spans", stage, reason, "bytes"), int((group["end"] - group["start"]).sum()))
        writer.write(_rows(gone, spans))
        writer.write(_cells(documents, survivors), table="cells")
    return Done((task.shard,), documents.height, int(documents["text_bytes"].sum()))


def document_reasons(totals: Mapping[str, Any]) -> dict[str, int]:
    """Removed documents by `stage: reason`, from the dataset's totals."""
    return {
        f"{stage}: {reason}": counts["items"]
        for stage, reasons in totals.get("documents", {}).items()
        for reason, counts in reasons.items()
    }


def _frame(dataset: Dataset, shard: int, columns: list[str], table: str = "data") -> pl.DataFrame:
    frame = pl.from_arrow(dataset.read(shard, table=table, columns=columns))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _groups(frame: pl.DataFrame, keys: list[str]) -> Iterator[tuple[str, str, pl.DataFrame]]:
    for (stage, reason), group in sorted(frame.group_by(keys), key=lambda pair: tuple(map(str, pair[0]))):
        yield str(stage), str(reason), group


def _verdicts(task: RemovedTask, survivors: pl.Series) -> pl.DataFrame:
    """doc_id, stage, reason and value of every removed document."""
    by_rules = _frame(task.filtered, task.shard, ["doc_id", "reason", "value"], "signals").filter(
        pl.col("reason").is_not_null()
    )
    marks = _frame(task.duplicates, task.shard, ["doc_id", "duplicate", "reason", "ngrams", "seen_ngrams"])
    copies = marks.filter(pl.col("duplicate")).select(
        "doc_id", "reason", value=pl.col("seen_ngrams").cast(pl.Float64) / pl.col("ngrams")
    )
    scores = _frame(task.quality, task.shard, ["doc_id", "score"])
    poor = (
        scores.join(marks.filter(~pl.col("duplicate")).select("doc_id"), on="doc_id", how="semi")
        .filter(~pl.col("doc_id").is_in(survivors.implode()))
        .select("doc_id", reason=pl.lit(curated.LOW_QUALITY), value=pl.col("score").cast(pl.Float64))
    )
    return pl.concat(
        [
            by_rules.select("doc_id", "reason", "value", stage=pl.lit("filtered")),
            copies.select("doc_id", "reason", "value", stage=pl.lit("duplicates")),
            poor.select("doc_id", "reason", "value", stage=pl.lit("curated")),
        ]
    )


def _spans(task: RemovedTask, documents: pl.DataFrame, survivors: pl.DataFrame) -> pl.DataFrame:
    """The spans taken out of documents that stay, in the text of `documents`."""
    ids = survivors["doc_id"].to_numpy()
    edits = task.filtered.read(task.shard, table="edits")
    names = sorted(set(edits.column("rule").to_pylist()))
    position = {name: index for index, name in enumerate(names)}
    labels = np.array([position[name] for name in edits.column("rule").to_pylist()], dtype=np.int8)
    first = spans_of(edits, ids, labels)
    paragraphs = spans_of(task.duplicates.read(task.shard, table="spans"), ids)
    spans = compose(first, paragraphs.shifted(len(names)))
    found = spans.labels if spans.labels is not None else np.zeros(0, np.int8)
    return pl.DataFrame(
        {
            "doc_id": np.repeat(ids, np.diff(spans.offsets)),
            "reason": pl.Series(np.array([*names, DUPLICATE_PARAGRAPH], dtype=object)[found], dtype=pl.String),
            "stage": pl.Series(np.where(found == len(names), "duplicates", "filtered"), dtype=pl.String),
            "start": spans.starts.astype(np.int32),
            "end": spans.ends.astype(np.int32),
        }
    ).join(documents.select("doc_id", "url", "host"), on="doc_id", how="left", maintain_order="left")


def _rows(gone: pl.DataFrame, spans: pl.DataFrame) -> pa.Table:
    documents = gone.select(
        "doc_id",
        "url",
        "host",
        "stage",
        "reason",
        "value",
        scope=pl.lit("document"),
        start=pl.lit(None, pl.Int32),
        end=pl.lit(None, pl.Int32),
        words=pl.col("words").cast(pl.Int32),
        bytes=pl.col("text_bytes").cast(pl.Int32),
    )
    pieces = spans.select(
        "doc_id",
        "url",
        "host",
        "stage",
        "reason",
        "start",
        "end",
        scope=pl.lit("span"),
        value=pl.lit(None, pl.Float64),
        words=pl.lit(None, pl.Int32),
        bytes=(pl.col("end") - pl.col("start")).cast(pl.Int32),
    )
    columns = REMOVED.names
    return (
        pl.concat([documents.select(columns), pieces.select(columns)])
        .sort("doc_id", "scope", "start", maintain_order=True)
        .to_arrow()
    )


def _cells(documents: pl.DataFrame, survivors: pl.DataFrame) -> pa.Table:
    """What went in and what stayed, by host and language of the document as it came in."""
    kept = survivors.select(
        "doc_id",
        "tokens",
        kept=pl.lit(1, pl.Int64),
        kept_words=pl.col("words"),
        kept_bytes=pl.col("text_bytes"),
    )

    def total(column: str) -> pl.Expr:
        return pl.col(column).cast(pl.Int64).sum()

    return (
        documents.join(kept, on="doc_id", how="left")
        .with_columns(language=pl.when(pl.col("language") == "").then(pl.lit(UNDETERMINED)).otherwise("language"))
        .group_by("host", "language")
        .agg(
            documents_in=pl.len().cast(pl.Int64),
            words_in=total("words"),
            bytes_in=total("text_bytes"),
            documents_kept=total("kept"),
            words_kept=total("kept_words"),
            tokens_kept=total("tokens"),
            bytes_kept=total("kept_bytes"),
        )
        .sort("host", "language")
        .to_arrow()
    )
