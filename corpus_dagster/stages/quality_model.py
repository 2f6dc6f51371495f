"""`<recipe>/quality_model`: the quality classifier, trained here or taken from a file, with its digest.

A fitted state of no partition: it is fitted on the crawls its recipe names and on no other, whatever is backfilled.
How the classifier works is in `corpus_dagster.classifier`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from corpus_dagster import classifier
from corpus_dagster.classifier import QualityClassifier, TrainSettings
from corpus_dagster.lake import Dataset, Identity, Lake, ShardWriter
from corpus_dagster.recipes.model import Fit, Recipe, RecipeError
from corpus_dagster.sample import CRAWL_PREFIX, high_quality_texts
from corpus_dagster.schemas import QUALITY_MODEL
from corpus_dagster.stages import deduplicated, duplicates, filtered
from corpus_dagster.stages.context import StageContext, digests
from corpus_dagster.stages.run import StageOutcome, run_alone

CODE_VERSION = "1"
"""Raise it when the same inputs give another model."""

MODEL_FILE = "model.bin"
TABLES = {"data": QUALITY_MODEL}
SAMPLE_POSITIVES = "sample:high_quality"


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/quality_model"


def run(context: StageContext, recipe: Recipe) -> StageOutcome:
    """Train the recipe's classifier, or take over the file it names.

    Raises:
        LakeError: a crawl that the classifier is fitted on has not been deduplicated yet.
        RecipeError: model file or positives cannot be read, or do not fit the crawls.
        classifier.ClassifierError: the file is no fastText classifier with the recipe's label.
    """
    model = recipe.quality.model
    if model.fit is None:
        return _take_over(context, recipe, _resolve(recipe, str(model.path)))
    return _train(context, recipe, model.fit)


def _take_over(context: StageContext, recipe: Recipe, path: Path) -> StageOutcome:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    build = context.lake.begin(
        dataset_name(recipe),
        None,
        identity=Identity(CODE_VERSION, {"positive_label": recipe.quality.model.positive_label}, {}, {"file": digest}),
        tables=TABLES,
    )

    def write(writer: ShardWriter) -> None:
        QualityClassifier(path, positive_label=recipe.quality.model.positive_label)
        writer.put_file(MODEL_FILE, path)
        writer.write(_facts({"bytes": path.stat().st_size}))

    return run_alone(build, write, report=context.report)


def _train(context: StageContext, recipe: Recipe, fit: Fit) -> StageOutcome:
    sources = [
        (
            context.lake.require(filtered.dataset_name(recipe), crawl),
            context.lake.require(duplicates.dataset_name(recipe), crawl),
        )
        for crawl in fit.crawls
    ]
    positives = [text for source in fit.positives for text in _positives(recipe, fit, source)]
    settings = TrainSettings()
    build = context.lake.begin(
        dataset_name(recipe),
        None,
        identity=Identity(
            CODE_VERSION,
            {"fit": fit.model_dump(mode="json"), "settings": asdict(settings)},
            digests(*(dataset for pair in sources for dataset in pair)),
            {"positives": _texts_digest(positives)},
        ),
        tables=TABLES,
    )

    def write(writer: ShardWriter) -> None:
        chosen = [positives[i] for i in sorted(classifier.choose_by_hash(positives, fit.documents))]
        negatives = _negatives(sources, fit.documents)
        context.report(f"training on {len(chosen)} positives and {len(negatives)} negatives")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MODEL_FILE
            report = classifier.train(chosen, negatives, settings, path)
            writer.put_file(MODEL_FILE, path)
        writer.write(_facts(asdict(report)))

    return run_alone(build, write, report=context.report)


def _facts(values: dict[str, Any]) -> pa.Table:
    numbers = {name: float(value) for name, value in sorted(values.items()) if isinstance(value, int | float)}
    return pa.table({"name": list(numbers), "value": list(numbers.values())}, schema=QUALITY_MODEL.arrow)


def _resolve(recipe: Recipe, name: str) -> Path:
    path = recipe.folder / name
    if not path.is_file():
        raise RecipeError(f"recipe {recipe.name!r}: no file at {path}; paths are relative to the recipe's file")
    return path


def _positives(recipe: Recipe, fit: Fit, source: str) -> Sequence[str]:
    """Texts of one configured source, in its order."""
    if source == SAMPLE_POSITIVES:
        real = [crawl for crawl in fit.crawls if not crawl.startswith(CRAWL_PREFIX)]
        if real:
            raise RecipeError(
                f"recipe {recipe.name!r}: {SAMPLE_POSITIVES} holds the sample's own reference texts and cannot teach what is "
                f"good in {', '.join(real)}; name your own files under quality.model.fit.positives"
            )
        return high_quality_texts()
    path = _resolve(recipe, source)
    try:
        if path.suffix == ".parquet":
            return _from_parquet(path)
        with pa.input_stream(path, compression="detect") as stream:
            lines = stream.read().split(b"\n")
    except (OSError, pa.ArrowInvalid) as error:
        raise RecipeError(f"{path}: cannot be read as positives: {error}") from error
    return [_from_json(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _from_parquet(path: Path) -> list[str]:
    with pq.ParquetFile(path) as file:
        kind = file.schema_arrow.field("text").type if "text" in file.schema_arrow.names else None
        if kind not in (pa.string(), pa.large_string()):
            raise RecipeError(f"{path}: expected a column `text` of strings, found {file.schema_arrow.names}")
        return file.read(columns=["text"]).column("text").drop_null().to_pylist()


def _from_json(path: Path, number: int, line: bytes) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RecipeError(f"{path}, line {number}: expected a JSON object with a `text`: {error}") from error
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise RecipeError(f"{path}, line {number}: expected a JSON object with a `text`, found {line[:80]!r}")
    return text


def _texts_digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    return digest.hexdigest()


def _negatives(sources: Sequence[tuple[Dataset, Dataset]], documents: int) -> list[str]:
    """Texts of deduplicated documents chosen by hash, in the order of crawls and documents."""
    keys: list[tuple[int, int]] = []
    for index, (_, marks) in enumerate(sources):
        kept = marks.scan().filter(~pl.col("duplicate")).select("doc_id").collect()["doc_id"]
        keys += [(index, doc_id) for doc_id in sorted(kept.to_list())]
    names = [f"{sources[index][0].crawl}/{doc_id}" for index, doc_id in keys]
    chosen = {keys[i] for i in classifier.choose_by_hash(names, documents)}
    texts: list[str] = []
    for index, (rows, marks) in enumerate(sources):
        wanted = np.array(sorted(doc_id for at, doc_id in chosen if at == index), dtype=np.int64)
        for shard in sorted({int(doc_id) >> 32 for doc_id in wanted}):
            for batch in deduplicated.batches(rows, marks, shard):
                here = np.flatnonzero(np.isin(batch.rows.column("doc_id").to_numpy(), wanted))
                texts += batch.texts.take(here).strings()
    return texts


def model_of(lake: Lake, recipe: Recipe) -> Dataset:
    """The fitted classifier that a crawl is scored with.

    Raises:
        LakeError: it has not been materialised.
    """
    return lake.require(dataset_name(recipe), None)


