"""`<recipe>/statistics`: the small tables of a crawl that analytics reads: funnel, reasons, hosts, yields.

Everything is computed from receipts and from the additive cells of `removed`; no corpus text is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from corpus_dagster.hosts import host_group
from corpus_dagster.lake import Dataset, Identity, ShardWriter
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.schemas import FUNNEL, HOSTS, REMOVAL_REASONS, SKIPPED_RECORDS, STATISTICS, YIELDS, TableSchema
from corpus_dagster.stages import curated, duplicates, filtered, removed
from corpus_dagster.stages.context import StageContext, digests
from corpus_dagster.stages.run import StageOutcome, run_alone
from corpus_dagster.stored import require_made_from

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

NAMED_HOSTS = 10_000
"""Hosts of a crawl that keep a row of their own: enough for reports, small enough for every crawl to fit in DuckDB."""

REST = "*"


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/statistics"


def run(context: StageContext, recipe: Recipe, crawl: str) -> StageOutcome:
    """Summarise a crawl.

    Raises:
        LakeError: a stage of the recipe is not there.
    """
    documents = context.lake.require("documents", crawl)
    inputs = {
        stage: context.lake.require(stage.dataset_name(recipe), crawl)
        for stage in (filtered, duplicates, curated, removed)
    }
    # `removed` was made from all the others, and would not have been made from some that do not belong together.
    require_made_from(inputs[removed], documents, *(inputs[stage] for stage in (filtered, duplicates, curated)))
    build = context.lake.begin(
        dataset_name(recipe),
        crawl,
        identity=Identity(
            code_version=CODE_VERSION,
            config={"recipe": recipe.name, "checks": [check.reason for check in recipe.program.checks]},
            inputs=digests(documents, *inputs.values()),
            models={},
        ),
        tables=STATISTICS,
    )
    key = {"recipe": recipe.name, "crawl": crawl}

    def write(writer: ShardWriter) -> None:
        cells = _cells(inputs[removed])
        steps = funnel(recipe, documents, inputs[filtered], inputs[duplicates], inputs[curated])
        writer.write(_table(FUNNEL, key, steps))
        writer.write(_table(REMOVAL_REASONS, key, _reasons(inputs[removed].totals)), table="removal_reasons")
        writer.write(_frame(HOSTS, key, _hosts(cells)), table="hosts")
        writer.write(_frame(YIELDS, key, _yields(cells)), table="yields")
        writer.write(_table(SKIPPED_RECORDS, key, _skipped(documents.totals)), table="skipped_records")

    return run_alone(build, write, report=context.report)


def funnel(
    recipe: Recipe, documents: Dataset, rules: Dataset, copies: Dataset, corpus: Dataset
) -> Iterator[dict[str, Any]]:
    """Survival step by step, from the totals of the receipts.

    Up to `text_edits` words and bytes are those of the surviving documents as they came in, so that each step shows
    what its rule costs; from there on they are those of the edited text.
    """
    total = rules.totals["in"]
    left = {name: total[name] for name in ("documents", "words", "bytes")}
    steps: list[tuple[str, str, dict[str, int]]] = [("documents", "documents", {})]
    steps += [
        ("filtered", check.reason, rules.totals.get("removed", {}).get(check.reason, {}))
        for check in recipe.program.checks
    ]
    position = 0
    for stage, rule, gone in steps:
        yield _step(position, stage, rule, left, gone)
        position += 1
    for stage, rule, dataset in (("filtered", "text_edits", copies), ("duplicates", "duplicate_spans", corpus)):
        now = dataset.totals["in"]
        yield _step(position, stage, rule, left, {name: left[name] - now[name] for name in left})
        (final,) = dataset.totals["removed"].items()
        yield _step(position + 1, "duplicates" if dataset is copies else "curated", final[0], left, final[1])
        position += 2


def _step(position: int, stage: str, rule: str, left: dict[str, int], gone: Mapping[str, int]) -> dict[str, Any]:
    """One row; `left` is brought down by what is gone."""
    before = left["documents"]
    for name in left:
        left[name] -= gone.get(name, 0)
    return {
        "step": position,
        "stage": stage,
        "rule": rule,
        "documents_in": before,
        "documents_removed": gone.get("documents", 0),
        "documents_out": left["documents"],
        "words_out": left["words"],
        "bytes_out": left["bytes"],
    }


def _reasons(totals: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for scope, key in (("document", "documents"), ("span", "spans")):
        for stage, reasons in sorted(totals.get(key, {}).items()):
            for reason, counts in sorted(reasons.items()):
                yield {"stage": stage, "reason": reason, "scope": scope, "words": 0, **counts}


def _skipped(totals: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for reason, records in sorted(totals.get("skipped", {}).items()):
        yield {"reason": reason, "records": records}


MEASURES = (
    "documents_in",
    "words_in",
    "bytes_in",
    "documents_kept",
    "words_kept",
    "tokens_kept",
    "bytes_kept",
)


def _cells(dataset: Dataset) -> pl.DataFrame:
    """Sums by host and language over all shards."""
    return (
        dataset.scan("cells")
        .group_by("host", "language")
        .agg(pl.col(MEASURES).sum())
        .with_columns(host_group=host_group(pl.col("host")))
        .collect(engine="streaming")
    )


def _hosts(cells: pl.DataFrame) -> pl.DataFrame:
    hosts = (
        cells.group_by("host", "host_group")
        .agg(pl.col(MEASURES).sum())
        .sort(["documents_in", "host"], descending=[True, False])
    )
    rest = hosts.slice(NAMED_HOSTS).group_by("host_group").agg(pl.col(MEASURES).sum()).with_columns(host=pl.lit(REST))
    return pl.concat([hosts.head(NAMED_HOSTS), rest.sort("host_group").select(hosts.columns)])


def _yields(cells: pl.DataFrame) -> pl.DataFrame:
    return cells.group_by("language", "host_group").agg(pl.col(MEASURES).sum()).sort("language", "host_group")


def _table(schema: TableSchema, key: dict[str, str], rows: Iterator[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{**key, **row} for row in rows], schema=schema.arrow)


def _frame(schema: TableSchema, key: dict[str, str], frame: pl.DataFrame) -> pa.Table:
    return frame.with_columns(**{name: pl.lit(value) for name, value in key.items()}).select(schema.names).to_arrow()
