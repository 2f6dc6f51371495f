"""What all assets share: partitions, policies, and how the outcome of a stage becomes metadata and checks."""

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from corpus_dagster import checks, plots
from corpus_dagster.checks import Verdict
from corpus_dagster.lake import Dataset, Lake, LakeError
from corpus_dagster.recipes.model import Recipe, RecipeError
from corpus_dagster.schemas import TableSchema
from corpus_dagster.stages.context import StageContext
from corpus_dagster.stages.run import StageOutcome
from corpus_dagster.stored import require_made_from
from resources import LakeResource, PoolResource

BACKFILL = dg.BackfillPolicy.multi_run(max_partitions_per_run=1)
"""One crawl per run. All assets of a job have the same policy, or Dagster splits each crawl into several runs."""

OWNERS = ["team:data"]
POOL = "cpu"
"""Concurrency pool of all shard-parallel assets; limit it in dagster.yaml to the runs a machine can hold."""

SHARED_GROUP = "common_crawl"

DIGEST_DIGITS = 16
"""Digits of an input's digest on its page: enough to compare by eye; manifests hold them whole."""


def stage_context(context: dg.AssetExecutionContext, lake: LakeResource, pool: PoolResource) -> StageContext:
    """A stage's surroundings within a Dagster run."""
    return StageContext(lake.open(), pool.settings(), context.log.info)


def check_specs(asset: dg.AssetKey, names: Sequence[str]) -> list[dg.AssetCheckSpec]:
    """Specs of the checks an asset reports itself. All block what is downstream, but for the drift warning."""
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=name != "keep_rate", description=DESCRIPTIONS[name])
        for name in names
    ]


DESCRIPTIONS = {
    "conservation": "Every document that came in is kept or removed with a reason.",
    "schema": "Each table has exactly the columns it promises.",
    "unique_ids": "Document ids are unique and sorted.",
    "keep_rate": f"The share kept is within a factor of {checks.DRIFT_FACTOR:g} of the median of other crawls.",
}


def materialized(
    outcome: StageOutcome,
    tables: Mapping[str, TableSchema],
    *,
    verdicts: Sequence[Verdict],
    kept: int | None = None,
    removed: Mapping[str, int] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult:
    """The result of an asset: row count, schema, numbers to plot, reasons of removal, a plot, checks.

    Args:
        outcome: what the stage did.
        tables: schemas of the dataset, the main one under `data`.
        verdicts: outcomes of its checks.
        kept: documents that stayed, where the stage decides on documents.
        removed: documents removed, by reason.
        extra: further metadata.
    """
    dataset = outcome.dataset
    worked = not outcome.reused and outcome.seconds > 0
    # In the order in which a person reads them: how much, what became of it, why, and last how it was made.
    metadata: dict[str, Any] = {
        "dagster/partition_row_count" if dataset.crawl else "dagster/row_count": dataset.rows(),
        "dagster/column_schema": column_schema(tables["data"]),
        "dagster/uri": dataset.uri,
    }
    gone = sum((removed or {}).values())
    if kept is not None:
        metadata |= {"kept": kept, "removed": gone, "keep_rate": round(kept / max(kept + gone, 1), 6)}
    if removed:
        rows = sorted(removed.items(), key=lambda item: (-item[1], item[0]))
        metadata["removal_plot"] = dg.MetadataValue.md(
            plots.bars("removed documents by reason", plots.largest(rows, "other reasons"))
        )
        metadata["removal_reasons"] = dg.MetadataValue.md(_reason_table(rows))
    metadata |= extra or {}
    if worked:
        metadata["seconds"] = round(outcome.seconds, 3)
        if outcome.peak_rss:
            metadata["peak_memory_bytes"] = outcome.peak_rss
        if kept is not None:
            metadata["documents_per_second"] = round((kept + gone) / outcome.seconds, 1)
    metadata |= {
        "bytes": dataset.bytes,
        "shards": len(dataset.shards),
        "shards_done": outcome.done_shards,
        "shards_resumed": outcome.resumed_shards,
        "unchanged": outcome.reused,
        "fingerprint": dataset.fingerprint,
        "inputs": dg.MetadataValue.json(
            {name: digest[:DIGEST_DIGITS] for name, digest in dataset.manifest["identity"]["inputs"].items()}
        ),
    }
    return dg.MaterializeResult(
        metadata=metadata,
        data_version=dg.DataVersion(dataset.digest),
        check_results=[_check_result(verdict) for verdict in verdicts],
    )


def column_schema(table: TableSchema) -> dg.TableSchema:
    """Our schema as Dagster shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=column.name in table.unique),
            )
            for column in table.columns
        ]
    )


def _check_result(verdict: Verdict) -> dg.AssetCheckResult:
    warning = verdict.name == "keep_rate"
    return dg.AssetCheckResult(
        check_name=verdict.name,
        passed=bool(verdict.passed),
        severity=dg.AssetCheckSeverity.WARN if warning else dg.AssetCheckSeverity.ERROR,
        metadata=dict(verdict.facts),
    )


def _reason_table(rows: Sequence[tuple[str, int]]) -> str:
    lines = ["| reason | documents |", "|---|---:|", *(f"| {reason} | {count:,} |" for reason, count in rows)]
    return "\n".join(lines)


COMPARED_CRAWLS = 5
"""Other crawls whose keep rates are looked at, the last ones by name: a median needs no more, and a real crawl's
manifest has tens of MB."""


def others(lake: Lake, dataset: Dataset) -> list[Dataset]:
    """The same dataset of a few other crawls of the lake; one that cannot be read is passed over, as this is for a
    warning only."""
    found: list[Dataset] = []
    for crawl in lake.crawls(dataset.name)[-COMPARED_CRAWLS - 1 :]:
        if crawl != dataset.crawl:
            with contextlib.suppress(LakeError):
                found.append(lake.require(dataset.name, crawl))
    return found[-COMPARED_CRAWLS:]


def upstream(lake: Lake, name: str, dataset: Dataset) -> Dataset:
    """The input of that name that a dataset was made from, for checks against what really came in.

    Raises:
        LakeError: the input has been made anew meanwhile.
    """
    source = lake.require(name, dataset.crawl)
    require_made_from(dataset, source)
    return source


def removed_terms(removed: Mapping[str, int]) -> dict[str, int]:
    """Removed documents by reason, as terms of a conservation check."""
    return {f"removed by {reason}": count for reason, count in removed.items()}


def stage_version(code_version: str, configuration: object) -> str:
    """Code version of an asset: that of its stage, and a digest of the part of the recipe that the stage reads, so that
    Dagster marks as stale what a change of the recipe concerns and nothing else."""
    canonical = json.dumps(configuration, sort_keys=True, default=str)
    return f"{code_version}.{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def tuned(recipe: Recipe, override: Mapping[str, Any], roots: Collection[str]) -> Recipe:
    """The recipe with the values that run config replaces, of which this asset reads those below `roots`.

    Raises:
        dagster.Failure: a value belongs to another asset, is unknown, or is not allowed; never retried.
    """
    foreign = [path for path in override if not any(path.startswith(f"{root}.") for root in roots)]
    if foreign:
        raise dg.Failure(
            f"run config overrides {', '.join(foreign)}, which this asset does not read; it reads {', '.join(roots)}",
            allow_retries=False,
        )
    try:
        return recipe.override(override)
    except RecipeError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def keep_rates(dataset: Dataset, compared: Sequence[Dataset]) -> Verdict:
    """Drift of a dataset's keep rate against other crawls of the same dataset."""

    def rate(of: Dataset) -> float:
        return of.totals["kept"]["documents"] / max(of.totals["in"]["documents"], 1)

    return checks.keep_rate_drift(rate(dataset), [rate(other) for other in compared])
