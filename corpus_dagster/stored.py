"""What the lake remembers of a recipe's run: the program as it ran, and its signals, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus_dagster.lake import Dataset
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.rules.base import Signals


def recipe_as_run(recipe: Recipe, filtered: Dataset) -> Recipe:
    """The recipe with the filter steps that made a dataset, which run config or an older file may have set.

    Raises:
        RecipeError: the steps of the dataset are not known to this version.
    """
    steps = filtered.manifest["identity"]["config"]["steps"]
    raw = model.as_file(recipe) | {"filter": model.steps_as_file(steps)}
    return model.parse(raw, folder=recipe.folder, where=f"{filtered.uri} (steps of its manifest)")


def signals_of(table: pa.Table) -> Signals:
    """Signals from rows of a `signals` table; a null is a signal that was never measured."""
    values: dict[str, np.ndarray] = {}
    known: dict[str, np.ndarray] = {}
    for name in table.column_names:
        if "__" not in name:
            continue
        column = table.column(name)
        blank = "" if pa.types.is_string(column.type) else pa.scalar(0).cast(column.type)
        known[name] = pc.is_valid(column).to_numpy()
        values[name] = pc.fill_null(column, blank).to_numpy()
    return Signals(table.num_rows, values, known)


def signal_tables(filtered: Dataset, columns: list[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
    """Shard number and `signals` rows of each shard, one in memory at a time."""
    for shard in filtered.shards:
        yield shard, filtered.read(shard, table="signals", columns=columns)
