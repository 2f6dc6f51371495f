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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus_dagster import classifier
from corpus_dagster.classifier import QualityClassifier, TrainSettings
from corpus_dagster.lake import Dataset, Identity, Lake, LakeError, ShardWriter
from corpus_dagster.recipes.model import Fit, Recipe, RecipeError
from corpus_dagster.sample import CRAWL_PREFIX, high_quality_texts
from corpus_dagster.schemas import QUALITY_MODEL
from corpus_dagster.stages import deduplicated, duplicates, filtered
from corpus_dagster.stages.context import StageContext, digests
from corpus_dagster.stages.run import StageOutcome, run_alone
from corpus_dagster.stored import require_made_from

CODE_VERSION = "1"
"""Raise it when the same inputs give another model."""

MODEL_FILE = "model.bin"
TABLES = {"data": QUALITY_MODEL}
OVERSAMPLING = 4
"""Candidates read per text chosen: enough shards for a mixed sample, at most a few GB of text in memory."""

SAMPLE_POSITIVES = "sample:high_quality"


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/quality_model"


def run(context: StageContext, recipe: Recipe, *, refit: bool = False) -> StageOutcome:
    """Train the recipe's classifier, or take over the file it names.

    A classifier that was fitted as the recipe says stays as it is, even when the crawls it was fitted on have been
    curated anew since: scores of different crawls stay comparable, whatever the order of a backfill.

    Args:
        context: lake and pool.
        recipe: names the model file, or how to fit.
        refit: train again on the crawls as they are now.

    Raises:
        LakeError: a crawl that the classifier is fitted on has not been deduplicated yet.
        RecipeError: model file or positives cannot be read, or do not fit the crawls.
        classifier.ClassifierError: the file is no fastText classifier with the recipe's label.
    """
    if recipe.quality.model.fit is None:
        return _take_over(context, recipe)
    current = context.lake.current(dataset_name(recipe), None)
    if current is not None and not refit and _fits(current, recipe):
        context.report(f"{current.name}: {current.fingerprint} was fitted as the recipe says and is kept")
        return StageOutcome(current, True, 1, 0, 0.0, 0)
    return _train(context, recipe, recipe.quality.model.fit)


def _config(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says of its classifier, and how this version trains one."""
    model = recipe.quality.model.model_dump(mode="json")
    return {"model": model, "training": asdict(TrainSettings()) if recipe.quality.model.fit else None}


def _fits(model: Dataset, recipe: Recipe) -> bool:
    return model.manifest["identity"]["config"] == _config(recipe)


def _take_over(context: StageContext, recipe: Recipe) -> StageOutcome:
    path = _resolve(recipe, str(recipe.quality.model.path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    build = context.lake.begin(
        dataset_name(recipe),
        None,
        identity=Identity(CODE_VERSION, _config(recipe), {}, {"file": digest}),
        tables=TABLES,
    )

    def write(writer: ShardWriter) -> None:
        QualityClassifier(path, positive_label=recipe.quality.model.positive_label)
        writer.put_file(MODEL_FILE, path)
        writer.write(_facts({"bytes": path.stat().st_size}))

    return run_alone(build, write, report=context.report)


def _train(context: StageContext, recipe: Recipe, fit: Fit) -> StageOutcome:
    sources = [_source(context.lake, recipe, crawl) for crawl in fit.crawls]
    positives = [text for source in fit.positives for text in _positives(recipe, fit, source)]
    build = context.lake.begin(
        dataset_name(recipe),
        None,
        identity=Identity(
            CODE_VERSION,
            _config(recipe),
            digests(*(dataset for pair in sources for dataset in pair)),
            {"positives": _texts_digest(positives), "fasttext": version("fasttext-community")},
        ),
        tables=TABLES,
    )

    def write(writer: ShardWriter) -> None:
        chosen = [positives[i] for i in sorted(classifier.choose_by_hash(positives, fit.documents))]
        negatives = _negatives(sources, fit.documents)
        context.report(f"training on {len(chosen)} positives and {len(negatives)} negatives")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MODEL_FILE
            report = classifier.train(chosen, negatives, TrainSettings(), path)
            writer.put_file(MODEL_FILE, path)
        writer.write(_facts(asdict(report)))

    return run_alone(build, write, report=context.report)


def _source(lake: Lake, recipe: Recipe, crawl: str) -> tuple[Dataset, Dataset]:
    """Filtered documents of a crawl to fit on, and their duplicates."""
    if crawl.startswith(CRAWL_PREFIX) and lake.current(filtered.dataset_name(recipe), crawl) is None:
        raise RecipeError(
            f"recipe {recipe.name!r} fits its classifier on {crawl}, which is not in the lake {lake.uri}. For the "
            "sample, materialise that crawl first. Real crawls need a recipe with a model file, or positives and "
            "crawls, of its own: see docs/operations.md"
        )
    rows = lake.require(filtered.dataset_name(recipe), crawl)
    return rows, require_made_from(lake.require(duplicates.dataset_name(recipe), crawl), rows)


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
                f"recipe {recipe.name!r}: {SAMPLE_POSITIVES} holds the sample's own reference texts and cannot teach "
                f"what is good in {', '.join(real)}; name your own files under quality.model.fit.positives"
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
    """Texts of deduplicated documents chosen by hash, in the order of crawls and documents.

    Of a large crawl only some shards are drawn from, chosen by hash themselves: reading 90,000 shards for 100,000 texts
    would take longer than filtering them did.
    """
    shards = [(index, shard) for index, (rows, _) in enumerate(sources) for shard in rows.shards]
    names = [f"{sources[index][0].crawl}/{shard}" for index, shard in shards]
    drawn: list[tuple[int, int]] = []
    candidates = 0
    for position in classifier.choose_by_hash(names, len(names)):
        if candidates >= OVERSAMPLING * documents:
            break
        index, shard = shards[position]
        candidates += sources[index][0].part(shard).rows
        drawn.append((index, shard))
    texts: list[tuple[str, str]] = []
    for index, shard in sorted(drawn):
        rows, marks = sources[index]
        for batch in deduplicated.batches(rows, marks, shard):
            kept = np.flatnonzero(~batch.duplicate)
            ids = batch.rows.column("doc_id").to_numpy()[kept]
            texts += zip((f"{rows.crawl}/{i}" for i in ids), batch.texts.take(kept).strings(), strict=True)
    chosen = classifier.choose_by_hash([name for name, _ in texts], documents)
    return [texts[i][1] for i in sorted(chosen)]


def model_of(lake: Lake, recipe: Recipe) -> Dataset:
    """The fitted classifier that a crawl is scored with.

    Raises:
        LakeError: it has not been materialised, or was fitted otherwise than the recipe now says.
    """
    model = lake.require(dataset_name(recipe), None)
    if not _fits(model, recipe):
        raise LakeError(
            f"{model.uri} is not the classifier that recipe {recipe.name!r} now describes; materialise "
            f"`{dataset_name(recipe)}` first"
        )
    return model
