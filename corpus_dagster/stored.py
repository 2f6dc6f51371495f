"""What the lake remembers of a recipe's run: the program as it ran, and its signals, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from corpus_dagster.lake import Dataset, LakeError
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.rules.base import Signals
from corpus_dagster.stages.context import digests


def recipe_as_run(recipe: Recipe, filtered: Dataset) -> Recipe:
    """The recipe with the filter steps that made a dataset, which run config or an older file may have set.

    Raises:
        RecipeError: the steps of the dataset are not known to this version.
    """
    steps = filtered.manifest["identity"]["config"]["steps"]
    raw = model.as_file(recipe) | {"filter": model.steps_as_file(steps)}
    return model.parse(raw, folder=recipe.folder, where=f"{filtered.uri} (steps of its manifest)")


def made_from(dataset: Dataset | None, *sources: Dataset | None) -> Dataset | None:
    """The dataset, if it was made from these inputs as they are now; None for one that is missing, that lacks an input
    or that waits to be made again."""
    present = [source for source in sources if source is not None]
    if dataset is None or len(present) < len(sources):
        return None
    inputs = dataset.manifest["identity"]["inputs"]
    return dataset if digests(*present).items() <= inputs.items() else None


def require_made_from(dataset: Dataset, *sources: Dataset) -> Dataset:
    """The dataset.

    Raises:
        LakeError: it was made from other inputs than these.
    """
    if made_from(dataset, *sources) is None:
        names = ", ".join(source.name for source in sources)
        raise LakeError(
            f"{dataset.uri} was made from an earlier {names}; materialise {dataset.name!r} of {dataset.crawl} again"
        )
    return dataset


def signals_of(table: pa.Table) -> Signals:
    """Signals from rows of a `signals` table; a null is a signal that was never measured."""
    values: dict[str, np.ndarray] = {}
    known: dict[str, np.ndarray] = {}
    for name in table.column_names:
        if "__" not in name:
            continue
        column = table.column(name)
        blank = "" if pa.types.is_string(column.type) else pa.scalar(0).cast(column.type)
        known[name] = column.is_valid().to_numpy()
        values[name] = column.fill_null(blank).to_numpy()
    return Signals(table.num_rows, values, known)


def signal_tables(filtered: Dataset, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
    """Shard number and `signals` rows of each shard, one in memory at a time."""
    for shard in filtered.shards:
        yield shard, filtered.read(shard, table="signals", columns=columns)
