"""Statistics on their way from the lake to the warehouse, and the dbt project as it is found and read."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference.statistics import Shape, documents, statistics, write

from corpus_dagster import warehouse
from corpus_dagster.lake import Lake
from corpus_dagster.schemas import STATISTICS, SchemaError
from corpus_dagster.warehouse import Warehouse, WarehouseError


def made(recipe: str, crawl: str, seed: int = 0, size: int = 40) -> dict[str, pa.Table]:
    return statistics(recipe, crawl, documents(Shape(size), seed))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.at(tmp_path / "lake")
    for recipe, crawl in (("b", "SAMPLE-2"), ("a", "SAMPLE-2"), ("a", "SAMPLE-1")):
        write(lake, made(recipe, crawl), recipe, crawl)
    return lake


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_recipe_and_crawl_is_exported_in_order(lake: Lake, tmp_path: Path) -> None:
    rows = warehouse.export(lake, ["b", "a"], tmp_path / "tables")
    expected = [made(recipe, crawl) for recipe, crawl in (("a", "SAMPLE-1"), ("a", "SAMPLE-2"), ("b", "SAMPLE-2"))]
    for name, table in warehouse.TABLES.items():
        written = pq.read_table(tmp_path / "tables" / f"{name}.parquet")
        assert written.equals(pa.concat_tables([tables[table] for tables in expected]))
        assert rows[name] == written.num_rows > 0


def test_the_export_names_the_datasets_it_holds(lake: Lake, tmp_path: Path) -> None:
    assert warehouse.exported_inputs(tmp_path / "tables") == {}
    warehouse.export(lake, ["a", "b"], tmp_path / "tables")
    assert warehouse.exported_inputs(tmp_path / "tables") == {
        f"{recipe}/statistics": {
            crawl: lake.require(f"{recipe}/statistics", crawl).digest for crawl in lake.crawls(f"{recipe}/statistics")
        }
        for recipe in ("a", "b")
    }


def test_exporting_again_gives_the_same_bytes(lake: Lake, tmp_path: Path) -> None:
    warehouse.export(lake, ["a", "b"], tmp_path / "first")
    warehouse.export(lake, ["b", "a", "a"], tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert warehouse.exported_digest(tmp_path / "first") == warehouse.exported_digest(tmp_path / "second")


def test_new_statistics_replace_the_old_and_change_the_digest(lake: Lake, tmp_path: Path) -> None:
    warehouse.export(lake, ["b"], tmp_path / "tables")
    before = warehouse.exported_digest(tmp_path / "tables")
    write(lake, made("b", "SAMPLE-2", seed=1), "b", "SAMPLE-2")
    warehouse.export(lake, ["b"], tmp_path / "tables")
    assert warehouse.exported_digest(tmp_path / "tables") != before
    funnel = pq.read_table(tmp_path / "tables" / "funnel.parquet")
    assert funnel.equals(made("b", "SAMPLE-2", seed=1)["data"])


def test_without_statistics_the_tables_are_empty_and_typed(tmp_path: Path) -> None:
    rows = warehouse.export(Lake.at(tmp_path / "lake"), ["a"], tmp_path / "tables")
    assert rows == dict.fromkeys(warehouse.TABLES, 0)
    for name, table in warehouse.TABLES.items():
        assert pq.read_schema(tmp_path / "tables" / f"{name}.parquet").equals(STATISTICS[table].arrow)


def test_rows_of_another_crawl_are_refused(tmp_path: Path) -> None:
    lake = Lake.at(tmp_path / "lake")
    write(lake, made("a", "SAMPLE-1"), "a", "SAMPLE-2")
    with pytest.raises(SchemaError, match=r"a/statistics, crawl SAMPLE-2: column 'crawl' holds 'SAMPLE-1'"):
        warehouse.export(lake, ["a"], tmp_path / "tables")
    assert contents(tmp_path / "tables") == {}


def test_building_without_an_export_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"no exported table 'funnel'.*analytics/warehouse_tables"):
        warehouse.build(Warehouse(tmp_path))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds child processes by Linux's /proc")
def test_an_interrupted_build_leaves_no_process_behind(tmp_path: Path) -> None:
    warehouse.export(Lake.at(tmp_path / "lake"), [], tmp_path / "work" / "tables")
    code = (
        "from pathlib import Path; from corpus_dagster import warehouse; "
        f"warehouse.build(warehouse.Warehouse(Path({str(tmp_path / 'work')!r})))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (dbt := children(parent.pid)) and parent.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(dbt) == 1
    # Only the parent hears of it, as when a run is cancelled from the UI.
    os.kill(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=30)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not Path(f"/proc/{dbt[0]}").exists()


def test_reading_a_mart_that_is_not_there_says_why(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"no table 'funel' in the warehouse; did you mean 'funnel'\?"):
        warehouse.read(Warehouse(tmp_path), "funel")
    with pytest.raises(WarehouseError, match="materialise the analytics assets first"):
        warehouse.read(Warehouse(tmp_path), "funnel")


def test_equal_rows_have_equal_digests() -> None:
    rows = pa.table({"x": pa.array([1.5, None]), "y": ["", "a,b"]})
    parts = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    assert warehouse.digest(rows) == warehouse.digest(parts)
    assert warehouse.digest(rows) != warehouse.digest(rows.set_column(1, "y", pa.array([None, "a,b"])))
    assert warehouse.digest(rows) != warehouse.digest(rows.take([1, 0]))


# The dbt project


def test_the_project_is_found_in_an_installed_package_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "corpus_dagster"
    shutil.copytree(warehouse.dbt_project_dir(), package / "_dbt")
    shutil.copytree(warehouse.dbt_project_dir(), tmp_path / "site" / "dbt")
    monkeypatch.setattr(warehouse, "__file__", str(package / "warehouse.py"))
    assert warehouse.dbt_project_dir() == package / "_dbt"
    shutil.rmtree(package / "_dbt")
    assert warehouse.dbt_project_dir() == tmp_path / "site" / "dbt"
    shutil.rmtree(tmp_path / "site" / "dbt")
    with pytest.raises(WarehouseError, match="no dbt project at"):
        warehouse.dbt_project_dir()


def test_staging_has_the_columns_of_the_lake() -> None:
    types = {pa.string(): "varchar", pa.int32(): "integer", pa.int64(): "bigint"}
    staging = {model.name: model for model in warehouse.models() if model.layer == "staging"}
    assert set(staging) == {f"stg_{name}" for name in warehouse.TABLES}
    for name, table in warehouse.TABLES.items():
        described = [(c.name, c.type, c.description, c.nullable) for c in staging[f"stg_{name}"].columns]
        expected = [(c.name, types[c.type], c.description, c.nullable) for c in STATISTICS[table].columns]
        assert described == expected


def test_the_project_holds_no_python_and_no_folder_that_dbt_has() -> None:
    # `dbt/` beside the checkout joins the search path of the package `dbt`.
    found = importlib.util.find_spec("dbt")
    assert found is not None
    assert found.origin is not None
    library = Path(found.origin).parent
    project = warehouse.dbt_project_dir()
    assert not list(project.rglob("*.py"))
    taken = {path.name.removesuffix(".py") for path in library.iterdir()}
    assert not {path.name for path in project.iterdir() if path.is_dir()} & taken


def test_a_test_without_a_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "marts"
    folder.mkdir(parents=True)
    column = {"name": "x", "data_type": "bigint", "description": "x", "data_tests": ["unique"]}
    model = {"name": "m", "description": "m", "columns": [column]}
    # JSON is YAML.
    (folder / "_marts.yml").write_text(json.dumps({"models": [model]}))
    with pytest.raises(WarehouseError, match=r"'m'.*there is no m\.sql beside it"):
        warehouse.models(tmp_path)
    (folder / "m.sql").write_text("select 1 as x")
    with pytest.raises(WarehouseError, match=r"test 'unique' of the model 'm' has no name"):
        warehouse.models(tmp_path)


def test_changed_sql_is_another_code_version(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(warehouse.dbt_project_dir(), project)
    before = {model.name: model.code_version for model in warehouse.models(project)}
    sql = project / "models" / "marts" / "funnel.sql"
    sql.write_text(sql.read_text() + "-- changed\n")
    after = {model.name: model.code_version for model in warehouse.models(project)}
    assert {name for name in before if before[name] != after[name]} == {"funnel"}
