"""What Dagster loads: that it loads with nothing set, cheaply, and that its lineage changes only on purpose.

The shape of the graph is kept in `snapshots/asset_specs.json`. After an intended change, write it anew with
`python tests/test_definitions.py` and review the diff.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.load_target import WorkspaceFileTarget

from corpus_dagster import catalog, definitions, warehouse
from corpus_dagster.recipes import model
from corpus_dagster.sample import CRAWLS
from corpus_dagster.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = Path(__file__).resolve().parent / "snapshots" / "asset_specs.json"
COMMON_CRAWL = "https://data.commoncrawl.org"

HEAVY = ("dbt", "dagster_dbt", "duckdb", "ray", "dagster_aws", "boto3", "botocore", "pandas", "matplotlib")
"""Packages that loading must not import: each costs much of the three seconds that loading may take."""

LOAD = """
import json, sys
import corpus_dagster.definitions as module
defs = module.defs()
assets = sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs())
print(json.dumps({"assets": assets, "modules": sorted(sys.modules)}))
"""


def load(settings: Settings | None = None) -> dg.Definitions:
    return definitions.build_definitions(settings or Settings())


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return load()


@pytest.fixture(scope="module")
def loaded_with_nothing_set(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a fresh process has after loading, in an empty folder and with an empty environment."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        # The checkout is named because the tests do not need an installed package.
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def snapshot(defs: dg.Definitions) -> dict[str, Any]:
    """The graph as plain JSON, without what changes with every recipe or SQL edit."""
    graph = defs.resolve_asset_graph()
    checks: dict[dg.AssetKey, list[str]] = {}
    for check in graph.asset_check_keys:
        kind = "blocks" if graph.get_check_spec(check).blocking else "warns"
        checks.setdefault(check.asset_key, []).append(f"{check.name} ({kind})")
    partitioned = {spec.key for spec in defs.resolve_all_asset_specs() if spec.partitions_def}
    return {
        spec.key.to_user_string(): {
            "deps": {
                dep.asset_key.to_user_string(): mapping(dep, {spec.key, dep.asset_key} <= partitioned)
                for dep in sorted(spec.deps)
            },
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": sorted(spec.owners),
            "code_version": re.sub(r"[0-9a-f]{8,}$", "*", spec.code_version or ""),
            "partitions": partitions(spec),
            "checks": sorted(checks.get(spec.key, [])),
        }
        for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)
    }


def mapping(dep: dg.AssetDep, by_crawl: bool) -> str:
    """Which crawls of the dependency an asset reads; `by_crawl` where both are partitioned."""
    chosen = dep.partition_mapping
    if chosen is None:
        return "same crawl" if by_crawl else "all there is"
    if isinstance(chosen, dg.SpecificPartitionsPartitionMapping):
        return f"only {', '.join(chosen.partition_keys)}"
    return type(chosen).__name__


def partitions(spec: dg.AssetSpec) -> list[str]:
    return list(spec.partitions_def.get_partition_keys()) if spec.partitions_def else []


def written(graph: dict[str, Any]) -> str:
    return json.dumps(graph, indent=1) + "\n"


def test_definitions_load_with_an_empty_environment_from_any_folder(
    loaded_with_nothing_set: dict[str, list[str]], defs: dg.Definitions
) -> None:
    expected = sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs())
    assert loaded_with_nothing_set["assets"] == expected


@pytest.mark.parametrize("package", HEAVY)
def test_loading_does_not_import(package: str, loaded_with_nothing_set: dict[str, list[str]]) -> None:
    found = [name for name in loaded_with_nothing_set["modules"] if name.split(".")[0] == package]
    assert found == []


def test_definitions_are_valid(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_graph_is_that_of_the_snapshot(defs: dg.Definitions) -> None:
    assert snapshot(defs) == json.loads(SNAPSHOT.read_text("utf-8")), (
        f"the asset graph changed; if on purpose, run `python {Path(__file__).relative_to(ROOT)}` and review the diff"
    )


def test_every_asset_is_described(defs: dg.Definitions) -> None:
    assert [spec.key for spec in defs.resolve_all_asset_specs() if not (spec.description or "").strip()] == []


def test_every_asset_made_here_has_an_owner_and_a_code_version(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    specs = [spec for spec in defs.resolve_all_asset_specs() if graph.get(spec.key).is_materializable]
    assert len(specs) > 10
    assert [spec.key for spec in specs if not spec.owners or not spec.code_version] == []


def test_every_check_is_described_and_only_the_drift_of_the_keep_rate_warns(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    recipe = next(iter(model.shipped()))
    checks = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert [check.key for check in checks if not check.description] == []
    warnings = {check.name for check in checks if check.asset_key.path[0] == recipe and not check.blocking}
    assert warnings == {"keep_rate"}


def test_one_backfill_policy_holds_for_every_partitioned_asset(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.materializable_asset_keys]
    policies = {node.backfill_policy for node in nodes if node.is_partitioned}
    assert policies == {dg.BackfillPolicy.multi_run(max_partitions_per_run=1)}


def test_the_job_curates_all_partitioned_assets_and_the_classifiers(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    job = defs.resolve_job_def(definitions.JOB)
    curated = {key for key in graph.materializable_asset_keys if graph.get(key).is_partitioned}
    models = {dg.AssetKey([recipe, "quality_model"]) for recipe in model.shipped()}
    assert job.asset_layer.executable_asset_keys == curated | models
    assert job.partitions_def is not None
    assert job.partitions_def.get_partition_keys() == list(CRAWLS)
    assert job.executor_def is dg.in_process_executor


def test_recipes_stand_side_by_side_each_with_its_own_branch(tmp_path: Path) -> None:
    own = "extends: dclm_baseline\nname: short_pages\nversion: 1\ntitle: Short pages\nset: {word_count.min: 20}\n"
    (tmp_path / "short_pages.yaml").write_text(own, "utf-8")
    defs = load(Settings(recipes=tmp_path))
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    branches = {
        recipe: {key.path[1] for key in graph.materializable_asset_keys if key.path[0] == recipe}
        for recipe in ("dclm_baseline", "short_pages")
    }
    assert branches["short_pages"] == branches["dclm_baseline"] != set()
    tables = graph.get(dg.AssetKey(["analytics", "warehouse_tables"]))
    assert tables.parent_keys == {dg.AssetKey([recipe, "statistics"]) for recipe in branches}


def test_a_real_source_has_the_shipped_crawls_as_partitions() -> None:
    (partitions_def,) = {
        spec.partitions_def
        for spec in load(Settings(source=COMMON_CRAWL)).resolve_all_asset_specs()
        if spec.partitions_def
    }
    keys = partitions_def.get_partition_keys()
    assert keys == [crawl.id for crawl in catalog.load()]
    assert len(keys) == 128


def test_a_private_catalogue_decides_the_partitions(tmp_path: Path) -> None:
    path = tmp_path / "crawls.tsv"
    catalog.write([catalog.Crawl("TEAM-2024-01", 10), catalog.Crawl("TEAM-2024-02")], path)
    defs = load(Settings(source=COMMON_CRAWL, catalogue=path))
    dg.Definitions.validate_loadable(defs)
    found = {tuple(partitions(spec)) for spec in defs.resolve_all_asset_specs() if spec.partitions_def}
    assert found == {("TEAM-2024-01", "TEAM-2024-02")}


def test_a_bucket_gets_resources_with_its_own_credentials() -> None:
    resources = load(Settings(lake="s3://bucket/corpus", source=COMMON_CRAWL)).resources or {}
    assert set(resources) == {"s3", "lake", "source", "pool", "warehouse"}
    assert set(load().resources or {}) == {"lake", "source", "pool", "warehouse"}


def test_analytics_are_those_of_the_dbt_project(defs: dg.Definitions) -> None:
    keys = {key.path[1] for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[0] == "analytics"}
    assert keys == {"warehouse_tables", *(found.name for found in warehouse.models())}


def test_the_workspace_file_names_the_definitions(defs: dg.Definitions) -> None:
    (origin,) = WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
    target = origin.loadable_target_origin
    assert (origin.location_name, target.module_name) == ("corpus_dagster", definitions.__name__)
    assert target.working_directory is not None
    assert Path(target.working_directory).resolve() == ROOT


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(written(snapshot(load())), "utf-8")
    print(f"written: {SNAPSHOT}")
