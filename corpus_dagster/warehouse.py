"""The analytics warehouse: statistics of the lake on their way to dbt, and its marts on their way back.

Small tables only; the corpus itself is never read here. What the marts mean is written in `dbt/`; how Dagster
shows them is `assets.analytics`.
"""

from __future__ import annotations

import graphlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import yaml

from corpus_dagster.errors import nearest
from corpus_dagster.schemas import STATISTICS, SchemaError, TableSchema

if TYPE_CHECKING:
    from corpus_dagster.lake import Lake

TABLES: dict[str, str] = {("funnel" if table == "data" else table): table for table in STATISTICS}
"""Exported name -> table of `<recipe>/statistics`; the main table is the funnel."""

STATISTICS_SHARD = 0
"""A statistics dataset has one shard: it is made of the whole crawl at once."""

INPUTS = "inputs.json"
"""Beside the exported tables: digests of the datasets they hold."""

DATABASE_VARIABLE = "DBT_WAREHOUSE_DATABASE"
TABLES_VARIABLE = "DBT_WAREHOUSE_TABLES"
"""Environment of the dbt process, read by `profiles.yml` and the sources. `CORPUS_` is for the settings."""

DBT = "from dbt.cli.main import cli; cli()"
"""dbt by this interpreter, so that neither PATH nor the working directory chooses another one."""

STOP_SECONDS = 20.0
"""Time that an interrupted dbt has to close the database before it is killed."""

OUTPUT_TAIL = 4_000
"""Characters of dbt's output that an error repeats; the log file holds the rest."""


class WarehouseError(RuntimeError):
    """The warehouse is missing, or dbt could not run."""


@dataclass(frozen=True)
class Warehouse:
    """The folder that everything of the warehouse is written to; nothing is written to the dbt project."""

    folder: Path

    @property
    def tables(self) -> Path:
        """Folder of the exported statistics, one Parquet file per table."""
        return self.folder / "tables"

    @property
    def database(self) -> Path:
        """DuckDB file with staging tables and marts."""
        return self.folder / "warehouse.duckdb"

    @property
    def target(self) -> Path:
        """Folder of dbt's artefacts: manifest, results, compiled SQL."""
        return self.folder / "dbt"


# Statistics on their way to dbt


def export(lake: Lake, recipes: Sequence[str], folder: Path) -> dict[str, int]:
    """Write the statistics of all recipes and crawls as one Parquet file per table, empty ones included.

    Rows stand in the order recipe, crawl, then as the statistics have them, so equal statistics give equal
    files. Each file appears whole or not at all.

    Args:
        lake: where the datasets `<recipe>/statistics` are.
        recipes: names of recipes; one without statistics yet adds no rows.
        folder: made if it is missing; holds `<table>.parquet` afterwards.

    Returns:
        Rows by table, in the order of `TABLES`. `exported_inputs` tells which datasets they come from.

    Raises:
        SchemaError: a table does not have its columns, or holds rows of another recipe or crawl.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    inputs: dict[str, dict[str, str]] = {}
    for recipe in sorted(set(recipes)):
        dataset_name = f"{recipe}/statistics"
        for crawl in lake.crawls(dataset_name):
            dataset = lake.require(dataset_name, crawl)
            inputs.setdefault(dataset_name, {})[crawl] = dataset.digest
            for name, table in TABLES.items():
                rows = STATISTICS[table].conform(dataset.read(STATISTICS_SHARD, table=table))
                _check_owner(rows, STATISTICS[table], recipe, crawl)
                parts[name].append(rows)
    counts: dict[str, int] = {}
    for name, table in TABLES.items():
        rows = pa.concat_tables([STATISTICS[table].arrow.empty_table(), *parts[name]]).combine_chunks()
        _write_whole(folder / f"{name}.parquet", lambda path, rows=rows: pq.write_table(rows, path, compression="zstd"))
        counts[name] = rows.num_rows
    _write_whole(folder / INPUTS, lambda path: path.write_text(json.dumps(inputs, indent=1, sort_keys=True)))
    return counts


def exported_inputs(folder: Path) -> dict[str, dict[str, str]]:
    """Digest of every dataset that the exported tables hold, by dataset and crawl; empty before an export."""
    path = folder / INPUTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def exported_digest(folder: Path) -> str:
    """SHA-256 over the exported files: what the marts are made from.

    Raises:
        WarehouseError: a table has not been exported.
    """
    digest = hashlib.sha256()
    for name in TABLES:
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise WarehouseError(
                f"no exported table {name!r} in {folder}; materialise analytics/warehouse_tables first"
            )
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _check_owner(rows: pa.Table, schema: TableSchema, recipe: str, crawl: str) -> None:
    for column, expected in (("recipe", recipe), ("crawl", crawl)):
        found = [value for value in rows.column(column).unique().to_pylist() if value != expected]
        if found:
            raise SchemaError(
                f"table {schema.name!r} of {recipe}/statistics, crawl {crawl}: "
                f"column {column!r} holds {found[0]!r}; expected only {expected!r}"
            )


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# The dbt project, read without dbt


@dataclass(frozen=True)
class ModelColumn:
    """A column of a model, as its contract states it."""

    name: str
    type: str
    description: str
    nullable: bool


@dataclass(frozen=True)
class DataTest:
    """A dbt data test; `severity` decides whether its failure stops what is built on the model."""

    name: str
    description: str
    severity: Literal["error", "warn"]


@dataclass(frozen=True)
class Model:
    """A model of the dbt project.

    Attributes:
        name: name of the model and of its table.
        layer: folder below `models/`: staging or marts.
        description: what the table says.
        columns: in order.
        tests: of the model and of its columns.
        refs: models it reads, sorted.
        sources: source tables it reads, sorted.
        code_version: 16 hex digits that change when the model's SQL changes.
    """

    name: str
    layer: str
    description: str
    columns: tuple[ModelColumn, ...]
    tests: tuple[DataTest, ...]
    refs: tuple[str, ...]
    sources: tuple[str, ...]
    code_version: str


def dbt_project_dir() -> Path:
    """Folder of the dbt project: `dbt/` of a checkout, or the copy inside the installed package.

    Raises:
        WarehouseError: there is neither.
    """
    package = Path(__file__).resolve().parent
    candidates = (package / "_dbt", package.parent / "dbt")
    for candidate in candidates:
        if (candidate / "dbt_project.yml").is_file():
            return candidate
    raise WarehouseError(
        f"no dbt project at {' or '.join(map(str, candidates))}; install corpus-dagster again, or run from a checkout"
    )


def models(project: Path | None = None) -> tuple[Model, ...]:
    """Every model of the project with what its YAML and SQL say, each after the models it reads.

    Costs milliseconds, where dbt's own parser takes seconds; the tests hold it to dbt's manifest. It knows
    what this project uses: `ref('name')`, `source('name', 'table')`, tests with a name, and `not_null` of a
    column.

    Args:
        project: folder of the dbt project; the shipped one by default.

    Raises:
        WarehouseError: a model without SQL, or a test that this reader cannot name.
    """
    root = (project or dbt_project_dir()) / "models"
    found: dict[str, Model] = {}
    for path in sorted(root.glob("*/_*.yml")):
        for entry in _read_yaml(path).get("models", ()):
            found[entry["name"]] = _model(path, entry)
    order = graphlib.TopologicalSorter({name: model.refs for name, model in sorted(found.items())})
    return tuple(found[name] for name in order.static_order())


def _read_yaml(path: Path) -> dict[str, Any]:
    # The C loader reads the project in a tenth of the time; wheels have it on every platform.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def _model(path: Path, entry: Mapping[str, Any]) -> Model:
    name = entry["name"]
    sql_path = path.parent / f"{name}.sql"
    if not sql_path.is_file():
        raise WarehouseError(f"{path} describes the model {name!r}, but there is no {sql_path.name} beside it")
    sql = sql_path.read_text(encoding="utf-8")
    columns: list[ModelColumn] = []
    tests = [_test(name, None, test) for test in entry.get("data_tests", ())]
    for column in entry["columns"]:
        column_tests = column.get("data_tests", ())
        required = "not_null" in column_tests or {"type": "not_null"} in column.get("constraints", ())
        columns.append(
            ModelColumn(column["name"], column["data_type"], column["description"].strip(), nullable=not required)
        )
        tests.extend(_test(name, column["name"], test) for test in column_tests)
    return Model(
        name=name,
        layer=path.parent.name,
        description=entry["description"].strip(),
        columns=tuple(columns),
        tests=tuple(sorted(tests, key=lambda test: test.name)),
        refs=tuple(sorted(set(re.findall(r"ref\(\s*'(\w+)'\s*\)", sql)))),
        sources=tuple(sorted(set(re.findall(r"source\(\s*'\w+',\s*'(\w+)'\s*\)", sql)))),
        code_version=hashlib.sha256(sql.encode()).hexdigest()[:16],
    )


def _test(model: str, column: str | None, test: str | Mapping[str, Any]) -> DataTest:
    if isinstance(test, str):
        if test != "not_null" or column is None:
            raise WarehouseError(f"test {test!r} of the model {model!r} has no name; give it `name:`")
        return DataTest(f"not_null_{model}_{column}", f"{column} is never null.", "error")
    ((kind, body),) = test.items()
    if "name" not in body:
        raise WarehouseError(f"test {kind!r} of the model {model!r} has no name; give it `name:`")
    severity = body.get("config", {}).get("severity", "error")
    return DataTest(body["name"], body["description"].strip(), severity)


# dbt


@dataclass(frozen=True)
class NodeResult:
    """What dbt says of one model or test.

    Attributes:
        name: name of the model or test.
        kind: model or test.
        status: success (model), pass or warn (test), fail, error, or skipped.
        message: dbt's words; empty where it has none.
        failures: rows that a test found; 0 for models.
        seconds: time the node took.
    """

    name: str
    kind: Literal["model", "test"]
    status: str
    message: str
    failures: int
    seconds: float


def build(
    warehouse: Warehouse,
    *,
    select: Sequence[str] = (),
    variables: Mapping[str, float] | None = None,
    project: Path | None = None,
) -> tuple[NodeResult, ...]:
    """Run `dbt build` over the exported tables, in a process of its own.

    A model or test that fails is a result, not an error here. Everything dbt writes goes to the warehouse's
    folder. An interrupt of this process ends dbt before it is passed on.

    Args:
        warehouse: where the exported tables are and the database goes.
        select: names of models and tests to build, and nothing else; all by default.
        variables: values for the project's `vars`.
        project: folder of the dbt project; the shipped one by default.

    Returns:
        One result per model and test, in the order dbt finished them.

    Raises:
        WarehouseError: a table is not exported, or dbt could not start, parse or connect.
    """
    exported_digest(warehouse.tables)
    project = (project or dbt_project_dir()).resolve()
    target = warehouse.target.resolve()
    target.mkdir(parents=True, exist_ok=True)
    results = target / "run_results.json"
    # Left from an earlier run, it would pass for the result of one that dies early.
    results.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-c", DBT, "build", "--quiet", "--no-use-colors"]
    command += ["--project-dir", str(project), "--profiles-dir", str(project)]
    command += ["--target-path", str(target), "--log-path", str(target)]
    if variables:
        command += ["--vars", json.dumps(dict(variables), sort_keys=True)]
    if select:
        command += ["--indirect-selection", "empty", "--select", *select]
    environment = {
        **os.environ,
        DATABASE_VARIABLE: str(warehouse.database.resolve()),
        TABLES_VARIABLE: str(warehouse.tables.resolve()),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    code, output = _run(command, environment, cwd=target)
    if not results.is_file():
        raise WarehouseError(
            f"dbt build ended with code {code} before it built anything; log in {target / 'dbt.log'}:\n"
            f"{output[-OUTPUT_TAIL:].strip()}"
        )
    return tuple(_node(entry) for entry in json.loads(results.read_text(encoding="utf-8"))["results"])


def _run(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    with subprocess.Popen(
        command, env=dict(environment), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            output, _ = process.communicate()
        finally:
            # Still running only when an interrupt came in; dbt closes the database on SIGINT.
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
    return process.returncode, output


def _node(entry: Mapping[str, Any]) -> NodeResult:
    # `model.corpus.<name>` or `test.corpus.<name>.<hash>`
    kind, _, name, *_ = entry["unique_id"].split(".")
    return NodeResult(
        name=name,
        kind=kind,
        status=entry["status"],
        message=entry["message"] or "",
        failures=entry["failures"] or 0,
        seconds=entry["execution_time"],
    )


# Marts on their way back


def read(warehouse: Warehouse, name: str) -> pa.Table:
    """A staging table or mart, as dbt left it and in its order.

    Raises:
        WarehouseError: the project has no such model, or it has not been built.
    """
    # Only readers of marts need DuckDB; definitions load without it.
    import duckdb

    known = [model.name for model in models()]
    if name not in known:
        raise WarehouseError(f"no table {name!r} in the warehouse{nearest(name, known)}")
    if not warehouse.database.is_file():
        raise WarehouseError(f"no warehouse at {warehouse.database}; materialise the analytics assets first")
    with duckdb.connect(str(warehouse.database), read_only=True) as connection:
        try:
            return connection.table(name).to_arrow_table()
        except duckdb.CatalogException as error:
            raise WarehouseError(
                f"table {name!r} is not in {warehouse.database}: its build failed or never ran; "
                f"materialise analytics/{name}"
            ) from error


def digest(rows: pa.Table) -> str:
    """SHA-256 of a table's content: equal rows in equal order have equal digests."""
    # Text, as Arrow leaves the bytes behind a null undefined.
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(rows, sink)
    return hashlib.sha256(sink.getvalue()).hexdigest()
