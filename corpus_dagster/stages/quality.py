"""`<recipe>/quality`: score every document that deduplication leaves. Nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpus_dagster.classifier import QualityClassifier
from corpus_dagster.lake import Build, Dataset, Identity
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.schemas import QUALITY
from corpus_dagster.stages import deduplicated, duplicates, filtered, quality_model
from corpus_dagster.stages.context import Done, StageContext, digests, largest_first
from corpus_dagster.stages.run import StageOutcome, run_stage
from corpus_dagster.stored import require_made_from

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

TABLES = {"data": QUALITY}


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/quality"


@dataclass(frozen=True)
class QualityTask:
    """One shard to score."""

    shard: int
    filtered: Dataset
    duplicates: Dataset
    model: Dataset
    positive_label: str
    build: Build


def run(context: StageContext, recipe: Recipe, crawl: str) -> StageOutcome:
    """Score a crawl.

    Raises:
        LakeError: the deduplicated documents or the classifier are not there.
        ShardsFailed: shards failed for good, named in the error.
    """
    rows = context.lake.require(filtered.dataset_name(recipe), crawl)
    marks = require_made_from(context.lake.require(duplicates.dataset_name(recipe), crawl), rows)
    model = quality_model.model_of(context.lake, recipe)
    label = recipe.quality.model.positive_label
    build = context.lake.begin(
        dataset_name(recipe),
        crawl,
        identity=Identity(
            code_version=CODE_VERSION,
            config={"positive_label": label},
            inputs=digests(rows, marks),
            models=digests(model),
        ),
        tables=TABLES,
    )
    tasks = [QualityTask(shard, rows, marks, model, label, build) for shard in largest_first(rows)]
    return run_stage(
        build,
        tasks,
        write_quality,
        settings=context.pool,
        shards_of=lambda task: (task.shard,),
        report=context.report,
    )


def write_quality(task: QualityTask) -> Done:
    """Score one shard and write its receipt."""
    classifier = QualityClassifier.cached(task.model.file(quality_model.MODEL_FILE), task.positive_label)
    documents = size = 0
    with task.build.shard(task.shard) as writer:
        for batch in deduplicated.batches(task.filtered, task.duplicates, task.shard):
            scores = np.full(len(batch.texts), np.nan, dtype=np.float32)
            wanted = np.flatnonzero(~batch.duplicate)
            scores[wanted] = classifier.score(batch.texts.take(wanted).strings())
            unscored = np.isnan(scores)
            writer.write(
                pa.table(
                    {
                        "doc_id": batch.rows.column("doc_id"),
                        "score": pa.array(scores, pa.float32(), mask=unscored),
                    }
                )
            )
            writer.count("rows", len(scores))
            writer.count("scored", int((~unscored).sum()))
            documents += len(scores)
            size += batch.rows.get_total_buffer_size()
    return Done((task.shard,), documents, size)
