"""`<recipe>/curated`: the corpus. Duplicates are applied, quality is decided, weights are set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from corpus_dagster.lake import Build, Dataset, Identity, LakeError
from corpus_dagster.recipes.model import Keep, Recipe
from corpus_dagster.schemas import CURATED
from corpus_dagster.stages import deduplicated, duplicates, filtered, quality
from corpus_dagster.stages.context import NO_DOCUMENTS, Done, StageContext, count_decision, digests, largest_first
from corpus_dagster.stages.run import StageOutcome, run_stage
from corpus_dagster.stored import require_made_from
from corpus_dagster.text.words import count_tokens, count_words

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

TABLES = {"data": CURATED}

LOW_QUALITY = "quality"
"""Reason: the score lies below the threshold, or no text was left to score."""


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/curated"


def threshold(keep: Keep, scores: pl.LazyFrame) -> float:
    """Lowest score kept. A share keeps the best ⌈share · n⌉ of the n scored documents, and those equal to the last.

    Args:
        keep: a score, or a share.
        scores: column `score`, null where there is none.
    """
    if keep.score is not None:
        return keep.score
    scored = scores.select(pl.col("score").drop_nulls())
    count = scored.select(pl.len()).collect(engine="streaming").item()
    if not count:
        return math.inf
    best = math.ceil(round(float(keep.share or 0) * count, 9))
    return scored.select(pl.col("score").top_k(best).min()).collect(engine="streaming").item()


@dataclass(frozen=True)
class CuratedTask:
    """One shard to decide."""

    shard: int
    filtered: Dataset
    duplicates: Dataset
    quality: Dataset
    threshold: float
    build: Build


def run(context: StageContext, recipe: Recipe, crawl: str) -> StageOutcome:
    """Decide a crawl.

    Raises:
        LakeError: scores or deduplicated documents are not there.
        ShardsFailed: shards failed for good, named in the error.
    """
    rows = context.lake.require(filtered.dataset_name(recipe), crawl)
    marks = require_made_from(context.lake.require(duplicates.dataset_name(recipe), crawl), rows)
    scores = require_made_from(context.lake.require(quality.dataset_name(recipe), crawl), rows, marks)
    lowest = threshold(recipe.quality.keep, scores.scan())
    build = context.lake.begin(
        dataset_name(recipe),
        crawl,
        identity=Identity(
            code_version=CODE_VERSION,
            config={"keep": recipe.quality.keep.model_dump(mode="json"), "threshold": str(lowest)},
            inputs=digests(rows, marks, scores),
            models={},
        ),
        tables=TABLES,
    )
    tasks = [CuratedTask(shard, rows, marks, scores, lowest, build) for shard in largest_first(rows)]
    return run_stage(
        build,
        tasks,
        write_curated,
        settings=context.pool,
        shards_of=lambda task: (task.shard,),
        report=context.report,
    )


def write_curated(task: CuratedTask) -> Done:
    """Write the corpus of one shard and its receipt."""
    verdicts = task.quality.read(task.shard)
    scores = verdicts.column("score").to_numpy().astype(np.float64)
    ids = verdicts.column("doc_id").to_numpy()
    position = documents = size = 0
    with task.build.shard(task.shard) as writer:
        count_decision(writer, NO_DOCUMENTS, NO_DOCUMENTS, NO_DOCUMENTS.astype(bool), LOW_QUALITY)
        for batch in deduplicated.batches(task.filtered, task.duplicates, task.shard):
            here = slice(position, position + len(batch.texts))
            position = here.stop
            if not np.array_equal(ids[here], batch.rows.column("doc_id").to_numpy()):
                raise LakeError(
                    f"{task.quality.name} of {task.quality.crawl}, shard {task.shard}: its rows are not those of "
                    f"{task.filtered.name}; materialise {task.quality.name} again"
                )
            candidates = np.flatnonzero(~batch.duplicate)
            texts = batch.texts.take(candidates)
            score = scores[here][candidates]
            words = count_words(texts.offsets, texts.data)
            # A missing score compares as false: a document without text is not kept.
            kept = np.flatnonzero(score >= task.threshold)
            count_decision(writer, words, texts.lengths, ~(score >= task.threshold), LOW_QUALITY)
            rows = batch.rows.take(pa.array(candidates[kept]))
            final = texts.take(kept)
            columns = {name: rows.column(name) for name in CURATED.names if name in rows.schema.names}
            columns |= {
                "words": pa.array(words[kept]),
                "tokens": pa.array(count_tokens(final.offsets, final.data)),
                "text_bytes": pa.array(final.lengths, pa.int32()),
                "quality_score": pa.array(score[kept], pa.float32()),
                "weight": pa.array(np.ones(len(kept), dtype=np.float32)),
                "text": final.array(),
            }
            writer.write(pa.table({name: columns[name] for name in CURATED.names}))
            writer.count("tokens", int(columns["tokens"].to_numpy().sum()))
            documents += batch.rows.num_rows
            size += batch.rows.get_total_buffer_size()
    return Done((task.shard,), documents, size)
