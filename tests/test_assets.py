"""The assets as Dagster runs them, over one crawl of the sample: events, metadata, versions, checks, exit status.

What the stages compute is tested without Dagster; here is what a run records of it and does with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from curation import FIRST, RECIPE, name_of, shipped

from assets import analytics
from assets.common import DIGEST_DIGITS
from corpus_dagster import definitions, lake, plots, sample
from corpus_dagster.lake import Dataset, Lake
from corpus_dagster.schemas import CURATED, DOCUMENTS, FILTERED, REMOVED
from corpus_dagster.settings import Settings
from resources import LakeResource, PoolResource, SourceResource
from resources.warehouse import WarehouseResource

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("warc_files", "documents", "filtered", "duplicates", "quality", "curated", "removed", "statistics")
"""Partitioned assets, in order."""

DECIDING = ("documents", "filtered", "duplicates", "curated", "removed")
"""Assets that keep and remove."""


def key(stage: str) -> dg.AssetKey:
    return dg.AssetKey(name_of(stage).split("/"))


@dataclass
class Site:
    """A lake with an instance that remembers what ran."""

    folder: Path
    root: Path
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    @property
    def lake(self) -> Lake:
        return Lake.at(self.folder / "lake")

    def dataset(self, stage: str) -> Dataset:
        return self.lake.require(name_of(stage), None if stage == "quality_model" else FIRST)

    def run(self, *keys: dg.AssetKey, config: Mapping[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Materialise assets in this process; without keys, all of the job."""
        defs = definitions.build_definitions(Settings())
        chosen = keys or tuple(defs.resolve_job_def(definitions.JOB).asset_layer.executable_asset_keys)
        return dg.materialize(
            list(defs.assets or []),  # pyright: ignore[reportArgumentType]
            selection=dg.AssetSelection.assets(*chosen),
            partition_key=None if chosen == (analytics.TABLES_KEY,) else FIRST,
            resources={
                "lake": LakeResource(uri=self.lake.uri),
                "source": SourceResource(uri=str(self.root)),
                "pool": PoolResource(workers=1),
                "warehouse": WarehouseResource(folder=str(self.folder / "warehouse")),
            },
            instance=self.instance,
            run_config=dict(config or {}),
            raise_on_error=False,
        )

    def copy(self, folder: Path) -> Site:
        """The same lake elsewhere, to be spoiled, with an instance that has seen nothing."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Site(folder, self.root)


Events = dict[dg.AssetKey, dg.AssetMaterialization]


def events(result: dg.ExecuteInProcessResult) -> Events:
    """The materialisation of each asset."""
    found = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    assert len({each.asset_key for each in found}) == len(found)
    return {each.asset_key: each for each in found}


def metadata(event: dg.AssetMaterialization) -> dict[str, Any]:
    return {name: value.value for name, value in event.metadata.items()}


def version(event: dg.AssetMaterialization) -> str:
    return (event.tags or {})["dagster/data_version"]


def table_rows(markdown: str) -> list[list[str]]:
    """Cells of a Markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in markdown.splitlines()[2:]]


def error_of(result: dg.ExecuteInProcessResult) -> str:
    """The whole error of the one step that failed."""
    (failure,) = result.get_step_failure_events()
    error = failure.step_failure_data.error
    assert error is not None
    return error.to_string()


@pytest.fixture(scope="module")
def site(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"), sample_root)


@pytest.fixture(scope="module")
def run(site: Site) -> dg.ExecuteInProcessResult:
    result = site.run()
    assert result.success
    return result


@pytest.fixture(scope="module")
def first(run: dg.ExecuteInProcessResult) -> Events:
    return events(run)


def test_one_run_materialises_every_stage_of_a_crawl_and_the_classifier(first: Events) -> None:
    partitions = {asset: event.partition for asset, event in first.items()}
    # The classifier is one for all crawls, though a run of a crawl makes it.
    del partitions[key("quality_model")]
    assert partitions == dict.fromkeys(map(key, STAGES), FIRST)


@pytest.mark.parametrize("stage", STAGES)
def test_an_asset_says_how_much_there_is_and_where(stage: str, site: Site, first: Events) -> None:
    dataset, facts = site.dataset(stage), metadata(first[key(stage)])
    assert facts["dagster/partition_row_count"] == dataset.rows() > 0
    assert facts["dagster/uri"] == dataset.uri
    assert Path(facts["dagster/uri"]).is_dir()
    assert facts["bytes"] == dataset.bytes > 0
    assert (facts["shards"], facts["shards_done"], facts["shards_resumed"]) == (len(dataset.shards),) * 2 + (0,)
    assert facts["unchanged"] is False
    assert facts["seconds"] > 0


@pytest.mark.parametrize("stage", [*STAGES, "quality_model"])
def test_the_version_of_the_data_is_the_digest_of_the_manifest(stage: str, site: Site, first: Events) -> None:
    assert version(first[key(stage)]) == site.dataset(stage).digest


def test_lineage_holds_the_versions_that_were_read(site: Site, first: Events) -> None:
    versions = {
        stage: version(event) for stage, event in ((asset.to_user_string(), event) for asset, event in first.items())
    }
    for stage in STAGES[1:]:
        inputs = site.dataset(stage).manifest["identity"]["inputs"]
        read = {name.removesuffix(f"/{FIRST}"): digest for name, digest in inputs.items()}
        assert {name: versions[name] for name in read} == read != {}
        shown = metadata(first[key(stage)])["inputs"]
        assert shown == {name: digest[:DIGEST_DIGITS] for name, digest in inputs.items()}


@pytest.mark.parametrize(
    ("stage", "schema"),
    [("documents", DOCUMENTS), ("filtered", FILTERED), ("curated", CURATED), ("removed", REMOVED)],
)
def test_the_columns_are_shown_as_they_are_written(stage: str, schema: Any, site: Site, first: Events) -> None:
    shown = metadata(first[key(stage)])["dagster/column_schema"]
    assert isinstance(shown, dg.TableSchema)
    assert [(column.name, column.type) for column in shown.columns] == [
        (name, str(kind)) for name, kind in zip(schema.names, (column.type for column in schema.columns), strict=True)
    ]
    assert [column.name for column in shown.columns] == site.dataset(stage).read(0).column_names
    assert all(column.description for column in shown.columns)


@pytest.mark.parametrize("stage", DECIDING)
def test_kept_and_removed_are_numbers_to_plot_and_add_up(stage: str, first: Events) -> None:
    facts = metadata(first[key(stage)])
    assert facts["removed"] > 0
    assert facts["keep_rate"] == pytest.approx(facts["kept"] / (facts["kept"] + facts["removed"]), abs=1e-6)
    assert facts["documents_per_second"] > 0


def test_the_numbers_of_one_stage_are_those_of_the_next(first: Events) -> None:
    facts = {stage: metadata(first[key(stage)]) for stage in STAGES}
    counts = {stage: facts[stage]["kept"] for stage in DECIDING}
    ins = {stage: counts[stage] + facts[stage]["removed"] for stage in DECIDING}
    assert counts["documents"] == ins["filtered"] == ins["removed"]
    assert counts["filtered"] == ins["duplicates"]
    assert counts["duplicates"] == ins["curated"]
    assert counts["curated"] == counts["removed"] == facts["curated"]["dagster/partition_row_count"]
    assert facts["statistics"]["documents_in"] == counts["documents"]
    assert facts["statistics"]["documents_kept"] == counts["curated"]
    assert facts["statistics"]["words_kept"] == facts["curated"]["words"]


@pytest.mark.parametrize("stage", DECIDING)
def test_the_table_of_reasons_accounts_for_every_removed_document(stage: str, first: Events) -> None:
    facts = metadata(first[key(stage)])
    counts = {reason: int(count.replace(",", "")) for reason, count in table_rows(facts["removal_reasons"])}
    assert sum(counts.values()) == facts["removed"]
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_a_rule_that_removed_nothing_is_in_the_table_too(first: Events) -> None:
    """A rule that never fires is worth knowing of."""
    reasons = {reason for reason, _ in table_rows(metadata(first[key("filtered")])["removal_reasons"])}
    assert reasons == {check.reason for check in shipped().program.checks}


@pytest.mark.parametrize(
    ("stage", "entry"), [*((stage, "removal_plot") for stage in DECIDING), ("statistics", "funnel_plot")]
)
def test_a_plot_is_short_enough_to_be_shown_where_it_stands(stage: str, entry: str, first: Events) -> None:
    plot = metadata(first[key(stage)])[entry]
    assert plot.startswith("![")
    assert plot.count("<tspan") in range(1, plots.ROWS + 1)
    assert len(plot) < plots.INLINE_CHARACTERS


def test_the_funnel_is_shown_whole(site: Site, first: Events) -> None:
    steps = site.dataset("statistics").read(0).to_pylist()
    shown = [
        (row[0], row[1], row[2].replace(",", "")) for row in table_rows(metadata(first[key("statistics")])["funnel"])
    ]
    assert shown == [(step["stage"], step["rule"], str(step["documents_out"])) for step in steps]


def test_every_check_of_the_graph_is_evaluated_and_passes(run: dg.ExecuteInProcessResult, first: Events) -> None:
    graph = definitions.build_definitions(Settings()).resolve_asset_graph()
    specs = [graph.get_check_spec(check) for check in graph.asset_check_keys if check.asset_key in first]
    promised = {(spec.asset_key, spec.name): spec.blocking for spec in specs}
    evaluations = run.get_asset_check_evaluations()
    assert {(each.asset_key, each.check_name): each.blocking for each in evaluations} == promised
    assert len(evaluations) == len(promised) > 2 * len(STAGES)
    assert [each.check_name for each in evaluations if not each.passed] == []


def test_a_check_shows_the_numbers_behind_it(run: dg.ExecuteInProcessResult, site: Site) -> None:
    (conservation,) = (
        each
        for each in run.get_asset_check_evaluations()
        if (each.asset_key, each.check_name) == (key("filtered"), "conservation")
    )
    facts = {name: value.value for name, value in conservation.metadata.items()}
    assert facts["documents"] == site.dataset("documents").rows()
    assert facts["kept"] == site.dataset("filtered").rows()
    assert facts["difference"] == 0


def test_the_classifier_says_what_it_was_fitted_on(first: Events) -> None:
    assert metadata(first[key("quality_model")])["fitted_on"] == FIRST


def test_the_same_inputs_are_no_work_and_have_the_same_versions(site: Site, first: Events) -> None:
    again = site.run()
    assert again.success
    repeated = events(again)
    assert {asset: version(event) for asset, event in repeated.items()} == {
        asset: version(event) for asset, event in first.items()
    }
    for event in repeated.values():
        facts = metadata(event)
        assert facts["unchanged"] is True
        assert (facts["shards_done"], facts["shards_resumed"]) == (0, facts["shards"])
        assert "seconds" not in facts, "the time of a run that did nothing would spoil the plot of times"
    assert all(each.passed for each in again.get_asset_check_evaluations())


def test_analytics_read_the_statistics_of_the_run(site: Site, first: Events) -> None:
    result = site.run(analytics.TABLES_KEY)
    assert result.success
    facts = metadata(events(result)[analytics.TABLES_KEY])
    assert facts["inputs"] == {name_of("statistics"): {FIRST: version(first[key("statistics")])}}
    assert facts["rows_funnel"] == site.dataset("statistics").rows()


def lose_a_document(site: Site, stage: str) -> None:
    """Make a committed manifest say that one document less was removed; its own digest is right."""
    path = Path(site.dataset(stage).uri) / lake.MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    reason = next(reason for reason, counts in manifest["totals"]["removed"].items() if counts["documents"])
    manifest["totals"]["removed"][reason]["documents"] -= 1
    columns = {
        table: [{name: column[name] for name in ("name", "type", "nullable")} for column in described]
        for table, described in manifest["tables"].items()
    }
    assert lake._content_digest(columns, manifest["parts"], manifest["totals"]) != manifest["digest"]
    manifest["digest"] = lake._content_digest(columns, manifest["parts"], manifest["totals"])
    path.write_text(json.dumps(manifest), "utf-8")


def test_a_document_that_is_not_accounted_for_fails_the_run_and_stops_what_follows(
    site: Site, first: Events, tmp_path: Path
) -> None:
    spoiled = site.copy(tmp_path)
    lose_a_document(spoiled, "filtered")
    result = spoiled.run(key("filtered"), key("duplicates"))
    assert not result.success
    (failed,) = (each for each in result.get_asset_check_evaluations() if not each.passed)
    assert (failed.asset_key, failed.check_name) == (key("filtered"), "conservation")
    assert (failed.severity, failed.blocking) == (dg.AssetCheckSeverity.ERROR, True)
    assert failed.metadata["difference"].value == 1
    assert set(events(result)) == {key("filtered")}


def test_an_unusual_keep_rate_is_a_warning_that_stops_nothing(site: Site, first: Events, tmp_path: Path) -> None:
    """Another crawl of the lake, which kept everything, makes this one look unusual."""
    odd = site.copy(tmp_path)
    folder = Path(odd.dataset("curated").uri)
    other = folder.parent.with_name(f"crawl={sample.CRAWLS[1]}") / folder.name
    shutil.copytree(folder.parent, other.parent)
    manifest = json.loads((other / lake.MANIFEST).read_text("utf-8"))
    manifest["crawl"] = sample.CRAWLS[1]
    manifest["totals"]["kept"]["documents"] = manifest["totals"]["in"]["documents"]
    columns = {
        table: [{name: column[name] for name in ("name", "type", "nullable")} for column in described]
        for table, described in manifest["tables"].items()
    }
    manifest["digest"] = lake._content_digest(columns, manifest["parts"], manifest["totals"])
    (other / lake.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    result = odd.run(key("curated"), key("removed"))
    assert result.success
    (warned,) = (each for each in result.get_asset_check_evaluations() if not each.passed)
    assert (warned.check_name, warned.severity) == ("keep_rate", dg.AssetCheckSeverity.WARN)
    assert set(events(result)) == {key("curated"), key("removed")}


def override(stage: str, **values: Any) -> dict[str, Any]:
    """Run config that replaces values of the recipe for one asset; `__` stands for a dot."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    return {"ops": {f"{RECIPE}__{stage}": {"config": {"override": named}}}}


def test_run_config_replaces_a_threshold_for_one_run(site: Site, first: Events, tmp_path: Path) -> None:
    tuned = site.copy(tmp_path)
    result = tuned.run(key("curated"), config=override("curated", quality__keep__share=0.5))
    assert result.success
    event = events(result)[key("curated")]
    before, after = metadata(first[key("curated")]), metadata(event)
    assert after["kept"] > before["kept"]
    assert after["kept"] + after["removed"] == before["kept"] + before["removed"]
    assert version(event) != version(first[key("curated")])
    assert tuned.dataset("curated").digest == version(event)


def test_run_config_that_names_nothing_fails_with_the_nearest_name(site: Site, first: Events, tmp_path: Path) -> None:
    result = site.copy(tmp_path).run(key("filtered"), config=override("filtered", word_cuont__min=30))
    assert not result.success
    error = error_of(result)
    assert "word_cuont" in error
    assert "word_count" in error
    assert events(result) == {}


def test_a_source_that_is_not_there_fails_with_its_name(site: Site, tmp_path: Path) -> None:
    result = Site(tmp_path, tmp_path / "nowhere").run(key("documents"))
    assert not result.success
    assert "warc_files" in error_of(result), "the missing input is named"


def command(site: Site, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of Dagster's own commands in the repository, on this lake."""
    home = site.folder / "dagster"
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "deploy" / "dagster.local.yaml", home / "dagster.yaml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CORPUS_", "DAGSTER_"))}
    environment |= {
        "DAGSTER_HOME": str(home),
        "CORPUS_LAKE": str(site.folder / "lake"),
        "CORPUS_WORK": str(site.root.parents[1]),
        "CORPUS_WORKERS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    program = Path(sys.executable).with_name(tool)
    return subprocess.run(
        [str(program), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


MATERIALIZE: Sequence[str] = ("asset", "materialize", "-m", "corpus_dagster.definitions", "--select", "key:warc_files")


def test_the_command_line_ends_with_1_for_an_unknown_partition(site: Site, first: Events, tmp_path: Path) -> None:
    done = command(site.copy(tmp_path), "dagster", *MATERIALIZE, "--partition", "SAMPLE-1999-01")
    assert done.returncode == 1, done.stderr
    assert re.search("SAMPLE-1999-01", done.stdout + done.stderr)


def test_the_command_line_ends_with_0_for_success(site: Site, first: Events, tmp_path: Path) -> None:
    done = command(site.copy(tmp_path), "dg", "launch", "--assets", f"key:{RECIPE}/filtered", "--partition", FIRST)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "RUN_SUCCESS" in done.stderr


def test_the_command_line_ends_with_1_for_a_failed_check(site: Site, first: Events, tmp_path: Path) -> None:
    spoiled = site.copy(tmp_path)
    lose_a_document(spoiled, "filtered")
    done = command(spoiled, "dg", "launch", "--assets", f"key:{RECIPE}/filtered", "--partition", FIRST)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Asset check 'conservation'" in done.stderr
