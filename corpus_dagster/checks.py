"""Checks of a dataset against its inputs and its schema: what the assets report as asset checks.

Pure functions from committed datasets to verdicts; severity and presentation are the assets' business.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from corpus_dagster.lake import Dataset
from corpus_dagster.schemas import TableSchema

DRIFT_FACTOR = 1.5
"""A keep rate this many times above or below the median of other crawls deserves a look: crawls differ by percents."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check, with the numbers behind it."""

    name: str
    passed: bool
    facts: Mapping[str, str | int | float]


def conservation(terms: Mapping[str, int], total: str) -> Verdict:
    """Whether the terms other than `total` add up to it."""
    others = sum(count for name, count in terms.items() if name != total)
    return Verdict("conservation", others == terms[total], {**terms, "difference": terms[total] - others})


def schema(dataset: Dataset, tables: Mapping[str, TableSchema]) -> Verdict:
    """Whether every table has exactly the columns it promises."""
    broken = [name for name, table in tables.items() if not dataset.conforms(table, name)]
    return Verdict("schema", not broken, {"tables": len(tables), "broken": ", ".join(broken) or "none"})


def unique_ids(dataset: Dataset) -> Verdict:
    """Whether document ids are unique: sorted strictly over all parts in the order of shards."""
    rows, disordered = (
        dataset.scan()
        .select(pl.len(), (pl.col("doc_id").diff() <= 0).sum().alias("disordered"))
        .collect(engine="streaming")
        .row(0)
    )
    return Verdict("unique_ids", disordered == 0, {"rows": rows, "disordered": int(disordered or 0)})


def keep_rate_drift(rate: float, others: Sequence[float]) -> Verdict:
    """Whether a keep rate lies within a factor of the median of other crawls; true when there is nothing to compare."""
    if not others:
        return Verdict("keep_rate", True, {"keep_rate": rate, "compared_crawls": 0})
    median = statistics.median(others)
    within = median == rate or (0 < median <= rate * DRIFT_FACTOR and rate <= median * DRIFT_FACTOR)
    return Verdict("keep_rate", within, {"keep_rate": rate, "median": median, "compared_crawls": len(others)})
