"""Analytics over all recipes and crawls: exported statistics, and the dbt models made of them as assets.

The specs come from the project's own YAML and SQL, not from dbt: importing `dagster_dbt` takes about 1.7 s,
parsing about 3 s more, and definitions have 3 s in all. Reading the files takes 10 ms; the tests hold it to
dbt's manifest. dbt runs as a process of its own: `DbtCliResource` would ask the package index for the newest
version of dbt before each run.
"""

# No postponed annotations: Dagster reads the types of arguments as they stand.

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
import pyarrow as pa
from pydantic import Field

from assets.common import OWNERS
from corpus_dagster import warehouse
from corpus_dagster.warehouse import DataTest, Model, NodeResult, Warehouse
from resources.lake import LakeResource
from resources.warehouse import WarehouseResource

GROUP = "analytics"
JOB = "analytics"
TABLES_KEY = dg.AssetKey([GROUP, "warehouse_tables"])

POOL = "duckdb"
"""Concurrency pool of all that opens the warehouse; limit it to 1 in dagster.yaml: DuckDB has one writer."""

PREVIEW_ROWS = 20
"""Rows of a mart on its asset page: a funnel fits, and an event row stays small."""


class AnalyticsConfig(dg.Config):
    """Parameters of the marts; unset ones keep the values of `dbt_project.yml`."""

    token_budget: float | None = Field(
        default=None,
        gt=0,
        description="UAX-29 tokens to sample in all; by default those the recipe has kept",
    )
    temperature: float | None = Field(default=None, gt=0, description="temperature of scheme `temperature`")
    epoch_cap: float | None = Field(default=None, gt=0, description="most epochs of a cell in scheme `unimax`")
    bytes_per_token: float | None = Field(
        default=None, gt=0, description="assumed bytes of text per token of a language model"
    )

    def variables(self) -> dict[str, float]:
        """The values that are set, as dbt variables."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


def key(model: str) -> dg.AssetKey:
    """Asset key of a dbt model."""
    return dg.AssetKey([GROUP, model])


def build_definitions(recipes: Sequence[str]) -> dg.Definitions:
    """Assets, job and resource of analytics; the resource `lake` comes from what it is merged with."""
    return dg.Definitions(
        assets=build_analytics(recipes),
        jobs=[
            dg.define_asset_job(
                JOB,
                selection=dg.AssetSelection.groups(GROUP),
                description="Statistics of all recipes and crawls, exported and modelled.",
            )
        ],
        resources={"warehouse": WarehouseResource()},
    )


def build_analytics(recipes: Sequence[str]) -> list[dg.AssetsDefinition]:
    """The exported tables of these recipes, and the models of the dbt project."""
    return [_build_tables(recipes), _build_models(warehouse.models())]


def _build_tables(recipes: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=TABLES_KEY,
        deps=[
            dg.AssetDep(dg.AssetKey([recipe, "statistics"]), partition_mapping=dg.AllPartitionMapping())
            for recipe in sorted(recipes)
        ],
        group_name=GROUP,
        kinds={"parquet"},
        owners=OWNERS,
        pool=POOL,
        code_version="1",
    )
    def warehouse_tables(
        context: dg.AssetExecutionContext,
        lake: LakeResource,
        # The module has the name too, and Dagster takes resources by the name of the argument.
        warehouse: WarehouseResource,
    ) -> dg.MaterializeResult:
        """Statistics of all recipes and crawls in the lake, one Parquet file per table, for dbt to read."""
        return _export(lake, warehouse.open(), recipes)

    return warehouse_tables


def _export(lake: LakeResource, store: Warehouse, recipes: Sequence[str]) -> dg.MaterializeResult:
    rows = warehouse.export(lake.open(), recipes, store.tables)
    inputs = warehouse.exported_inputs(store.tables)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(rows.values()),
            "dagster/uri": str(store.tables.resolve()),
            "datasets": sum(len(crawls) for crawls in inputs.values()),
            "inputs": dg.MetadataValue.json(inputs),
            **{f"rows_{name}": count for name, count in rows.items()},
        },
        data_version=dg.DataVersion(warehouse.exported_digest(store.tables)),
    )


def _build_models(models: Sequence[Model]) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="dbt_models",
        specs=[_spec(model) for model in models],
        check_specs=[_check_spec(model, test) for model in models for test in model.tests],
        can_subset=True,
        pool=POOL,
    )
    def dbt_models(
        context: dg.AssetExecutionContext, config: AnalyticsConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Run `dbt build` over the selected models and tests."""
        yield from _build(context, config, warehouse.open(), models)

    return dbt_models


def _build(
    context: dg.AssetExecutionContext, config: AnalyticsConfig, store: Warehouse, models: Sequence[Model]
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    chosen: list[str] = []
    if context.is_subset:
        chosen += sorted(asset.path[-1] for asset in context.selected_asset_keys)
        chosen += sorted(check.name for check in context.selected_asset_check_keys)
    results = warehouse.build(store, select=chosen, variables=config.variables())
    by_name = {(result.kind, result.name): result for result in results}
    for model in models:
        built = by_name.get(("model", model.name))
        if built is not None and built.status == "success":
            yield _materialized(model, built, store)
        for test in model.tests:
            tested = by_name.get(("test", test.name))
            if tested is not None and tested.status != "skipped":
                yield _checked(model, test, tested)
    problems = [result for result in results if result.status not in ("success", "pass", "warn")]
    if problems:
        raise dg.Failure(_problem(problems, store), allow_retries=False)
    context.log.info(f"dbt: {len(results)} models and tests done, log in {store.target / 'dbt.log'}")


def _spec(model: Model) -> dg.AssetSpec:
    return dg.AssetSpec(
        key(model.name),
        deps=[*(key(name) for name in model.refs), *([TABLES_KEY] if model.sources else [])],
        description=model.description,
        group_name=GROUP,
        kinds={"dbt", "duckdb"},
        owners=OWNERS,
        code_version=model.code_version,
        metadata={
            "dagster/column_schema": _column_schema(model),
            "dagster/table_name": f"warehouse.main.{model.name}",
        },
        tags={"layer": model.layer},
    )


def _check_spec(model: Model, test: DataTest) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        test.name, asset=key(model.name), description=test.description, blocking=test.severity == "error"
    )


def _materialized(model: Model, built: NodeResult, store: Warehouse) -> dg.MaterializeResult:
    rows = warehouse.read(store, model.name)
    metadata = {
        "dagster/row_count": rows.num_rows,
        "dagster/column_schema": _column_schema(model),
        "dagster/uri": str(store.database.resolve()),
        "seconds": round(built.seconds, 3),
    }
    if model.layer == "marts":
        metadata["preview"] = dg.MetadataValue.md(_markdown(rows.slice(0, PREVIEW_ROWS)))
    return dg.MaterializeResult(
        asset_key=key(model.name), metadata=metadata, data_version=dg.DataVersion(warehouse.digest(rows))
    )


def _checked(model: Model, test: DataTest, tested: NodeResult) -> dg.AssetCheckResult:
    metadata: Mapping[str, str | int] = {"failing_rows": tested.failures}
    if tested.message:
        metadata = {**metadata, "message": tested.message}
    return dg.AssetCheckResult(
        asset_key=key(model.name),
        check_name=test.name,
        passed=tested.status == "pass",
        severity=dg.AssetCheckSeverity.WARN if test.severity == "warn" else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )


def _problem(problems: Sequence[NodeResult], store: Warehouse) -> str:
    failed = [f"{r.kind} {r.name}: {r.message.strip()}" for r in problems if r.status != "skipped"]
    skipped = [r.name for r in problems if r.status == "skipped" and r.kind == "model"]
    lines = [f"dbt: {len(failed)} models and tests failed; log in {store.target / 'dbt.log'}", *failed]
    if skipped:
        lines.append(f"not built, and still as they were before: {', '.join(skipped)}")
    return "\n".join(lines)


def _column_schema(model: Model) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in model.columns
        ]
    )


def _markdown(rows: pa.Table) -> str:
    def cell(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.1f}"
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")

    lines = [rows.column_names, ["---"] * rows.num_columns]
    lines += [[cell(value) for value in row.values()] for row in rows.to_pylist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
