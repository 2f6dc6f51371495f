"""Analytics as Dagster shows it: lineage, checks, metadata, and what a failing dbt test does to a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from reference.statistics import Shape, documents, statistics, write

from assets import analytics
from corpus_dagster import warehouse
from corpus_dagster.lake import Lake
from corpus_dagster.warehouse import Warehouse
from resources.lake import LakeResource
from resources.warehouse import WarehouseResource

RECIPES = ("one", "two")
CRAWLS = ("SAMPLE-1", "SAMPLE-2")
MODEL_KEYS = [analytics.key(model.name) for model in warehouse.models()]


class Place:
    """A lake, a warehouse and an instance that remembers what ran."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake.at(folder / "lake")
        self.store = Warehouse(folder / "warehouse")
        self.instance = dg.DagsterInstance.ephemeral()

    def materialize(self, keys: Sequence[dg.AssetKey], run_config: dict | None = None) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            analytics.build_analytics(RECIPES),
            selection=dg.AssetSelection.assets(*keys),
            resources={
                "lake": LakeResource(uri=self.lake.uri),
                "warehouse": WarehouseResource(folder=str(self.store.folder)),
            },
            instance=self.instance,
            run_config=run_config,
            raise_on_error=False,
        )

    def metadata(self, key: dg.AssetKey) -> dict[str, object]:
        event = self.instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    def data_version(self, key: dg.AssetKey) -> str:
        event = self.instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        return (event.asset_materialization.tags or {})["dagster/data_version"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("place"))
    for seed, (recipe, crawl) in enumerate((r, c) for r in RECIPES for c in CRAWLS):
        write(place.lake, statistics(recipe, crawl, documents(Shape(80), seed)), recipe, crawl)
    return place


@pytest.fixture(scope="module")
def run(place: Place) -> dg.ExecuteInProcessResult:
    result = place.materialize([analytics.TABLES_KEY, *MODEL_KEYS])
    assert result.success
    return result


def test_the_exported_tables_name_their_datasets(place: Place, run: dg.ExecuteInProcessResult) -> None:
    metadata = place.metadata(analytics.TABLES_KEY)
    assert metadata["datasets"] == len(RECIPES) * len(CRAWLS)
    assert metadata["inputs"] == warehouse.exported_inputs(place.store.tables)
    assert metadata["rows_funnel"] == warehouse.read(place.store, "stg_funnel").num_rows
    assert place.data_version(analytics.TABLES_KEY) == warehouse.exported_digest(place.store.tables)


def test_every_model_is_materialised_with_rows_schema_and_version(place: Place, run: dg.ExecuteInProcessResult) -> None:
    for model in warehouse.models():
        metadata = place.metadata(analytics.key(model.name))
        rows = warehouse.read(place.store, model.name)
        assert metadata["dagster/row_count"] == rows.num_rows > 0
        schema = metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert [column.name for column in schema.columns] == rows.column_names
        assert place.data_version(analytics.key(model.name)) == warehouse.digest(rows)


def test_every_dbt_test_is_a_check_that_passed(run: dg.ExecuteInProcessResult) -> None:
    expected = {(analytics.key(model.name), test.name) for model in warehouse.models() for test in model.tests}
    evaluations = run.get_asset_check_evaluations()
    assert {(e.asset_key, e.check_name) for e in evaluations} == expected
    assert all(evaluation.passed for evaluation in evaluations)


def test_a_mart_shows_its_first_rows(place: Place, run: dg.ExecuteInProcessResult) -> None:
    preview = place.metadata(analytics.key("funnel"))["preview"]
    assert isinstance(preview, str)
    lines = preview.splitlines()
    assert lines[0].startswith("| recipe | crawl | step | stage | rule |")
    assert lines[2].startswith("| one | SAMPLE-1 | 0 | documents | documents | 80 | 0 | 80 |")
    assert len(lines) == 2 + analytics.PREVIEW_ROWS


def test_one_mart_is_rebuilt_alone_and_takes_its_parameters_from_run_config(
    place: Place, run: dg.ExecuteInProcessResult
) -> None:
    key = analytics.key("mixture_ratios")
    before = place.data_version(key)
    config = {"ops": {"dbt_models": {"config": {"epoch_cap": 1.0, "token_budget": 5_000.0}}}}
    result = place.materialize([key], config)
    assert result.success
    assert [e.asset_key for e in result.get_asset_materialization_events()] == [key]
    assert {e.asset_key for e in result.get_asset_check_evaluations()} == {key}
    ratios = warehouse.read(place.store, "mixture_ratios").to_pylist()
    assert {row["token_budget"] for row in ratios} == {5_000.0}
    assert {row["epoch_cap"] for row in ratios} == {1.0, None}
    assert place.data_version(key) != before


def test_a_failing_test_or_model_fails_the_run_and_says_what_was_not_built(tmp_path: Path) -> None:
    place = Place(tmp_path)
    tables = statistics("one", "SAMPLE-1", documents(Shape(80), 0))
    for column in ("words_out", "bytes_out"):
        # Growing in the middle only: the ends agree with the other tables, so staging passes.
        values = tables["data"].column(column).to_pylist()
        values[1] = values[0] + 1
        position = tables["data"].column_names.index(column)
        field = tables["data"].schema.field(column)
        tables["data"] = tables["data"].set_column(position, field, pa.array(values, field.type))
    write(place.lake, tables, "one", "SAMPLE-1")
    assert place.materialize([analytics.TABLES_KEY]).success
    (place.store.tables / "skipped_records.parquet").write_bytes(b"no Parquet")

    result = place.materialize(MODEL_KEYS)

    assert not result.success
    failed = {e.check_name: e.severity for e in result.get_asset_check_evaluations() if not e.passed}
    assert failed == {
        "funnel_bytes_never_grow": dg.AssetCheckSeverity.ERROR,
        "funnel_shares_lie_between_0_and_1": dg.AssetCheckSeverity.ERROR,
        "funnel_words_never_grow": dg.AssetCheckSeverity.WARN,
    }
    built = {e.asset_key for e in result.get_asset_materialization_events()}
    assert set(MODEL_KEYS) - built == {analytics.key("stg_skipped_records"), analytics.key("token_yield")}
    (failure,) = result.get_step_failure_events()
    assert failure.step_failure_data.error is not None
    message = failure.step_failure_data.error.to_string()
    assert "model stg_skipped_records: " in message
    assert "test funnel_bytes_never_grow: Got 1 result, configured to fail if != 0" in message
    assert "not built, and still as they were before: token_yield" in message
    assert "funnel_words_never_grow" not in message


def test_only_warnings_do_not_block() -> None:
    (_, models) = analytics.build_analytics(RECIPES)
    severities = {test.name: test.severity for model in warehouse.models() for test in model.tests}
    assert {spec.name for spec in models.check_specs if not spec.blocking} == {
        name for name, severity in severities.items() if severity == "warn"
    }


def test_lineage_runs_from_all_crawls_of_all_recipes_to_the_marts() -> None:
    crawls = dg.StaticPartitionsDefinition(list(CRAWLS))
    upstream = [dg.AssetSpec([recipe, "statistics"], partitions_def=crawls) for recipe in RECIPES]
    lake = {"lake": LakeResource(uri="lake")}
    defs = dg.Definitions.merge(analytics.build_definitions(RECIPES), dg.Definitions(assets=upstream, resources=lake))
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    tables = graph.get(analytics.TABLES_KEY)
    assert tables.parent_keys == {spec.key for spec in upstream}
    for spec in upstream:
        mapping = graph.get_partition_mapping(analytics.TABLES_KEY, spec.key)
        assert isinstance(mapping, dg.AllPartitionMapping)
    for model in warehouse.models():
        node = graph.get(analytics.key(model.name))
        expected = {analytics.key(name) for name in model.refs} | ({analytics.TABLES_KEY} if model.sources else set())
        assert (node.parent_keys, node.group_name) == (expected, analytics.GROUP)
        assert node.kinds == {"dbt", "duckdb"}
    marts = {model.name for model in warehouse.models() if model.layer == "marts"}
    assert marts == {"funnel", "removal_reasons", "domains", "languages", "token_yield", "mixture_ratios"}


def test_definitions_load_without_dbt_and_duckdb() -> None:
    code = (
        "import sys; from assets import analytics; analytics.build_definitions(['one']); "
        "print([m for m in ('dagster_dbt', 'dbt.cli', 'dbt.adapters', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
