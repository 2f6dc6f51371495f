"""The schedule and the sensor: off until switched on, and what they ask for when they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets import curated
from assets.automation import MOST_AT_ONCE
from corpus_dagster import catalog, definitions
from corpus_dagster.recipes import model
from corpus_dagster.settings import Settings

CRAWLS = ["T-2024-01", "T-2024-02", "T-2024-03", "T-2024-04"]
FIT_CRAWL = CRAWLS[1]
RECIPES = {
    "fitted": f"""
extends: dclm_baseline
name: fitted
version: 1
title: A classifier of its own
set: {{quality.model.fit.crawls: [{FIT_CRAWL}]}}
""",
    "bought": """
extends: dclm_baseline
name: bought
version: 1
title: A classifier from elsewhere
set: {quality.model: {path: classifier.bin}, quality.keep.score: 0.02}
""",
}
SCHEDULE, SENSOR = "monthly_crawls", "missing_crawls"


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """A private catalogue of four crawls, and three recipes: the shipped one, fitted on the sample that this source does
    not have, one fitted on the second crawl, one with a classifier from elsewhere."""
    folder = tmp_path_factory.mktemp("team")
    catalog.write([catalog.Crawl(crawl) for crawl in CRAWLS], folder / "crawls.tsv")
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return definitions.build_definitions(
        Settings(source="https://data.commoncrawl.org", catalogue=folder / "crawls.tsv", recipes=folder)
    )


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A schedule sees only instances that lie in a folder."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def curate(instance: dg.DagsterInstance, *crawls: str, recipes: tuple[str, ...] = ()) -> None:
    """Report the corpora of crawls as materialised; without `recipes`, those of all."""
    for recipe in recipes or (*RECIPES, *model.shipped()):
        for crawl in crawls:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(dg.AssetKey([recipe, "curated"]), partition=crawl)
            )


def start(instance: dg.DagsterInstance, crawl: str, status: dg.DagsterRunStatus, job: str = definitions.JOB) -> None:
    """Put a run of a crawl into the instance."""
    instance.add_run(dg.DagsterRun(job_name=job, status=status, tags={"dagster/partition": crawl}))


Asked = list[str] | str
Ask = Callable[[dg.Definitions, dg.DagsterInstance], Asked]


def ask_schedule(defs: dg.Definitions, instance: dg.DagsterInstance) -> Asked:
    schedule = defs.resolve_schedule_def(SCHEDULE)
    with dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def()) as context:
        data = schedule.evaluate_tick(context)
    return answer(data.run_requests, data.skip_message)


def ask_sensor(defs: dg.Definitions, instance: dg.DagsterInstance) -> Asked:
    sensor = defs.resolve_sensor_def(SENSOR)
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        data = sensor.evaluate_tick(context)
    return answer(data.run_requests, data.skip_message)


def answer(requests: list[dg.RunRequest] | None, skip: str | None) -> Asked:
    """The crawls asked for, or why none is."""
    if not requests:
        assert skip, "a tick that requests nothing says why"
        return skip
    assert all(request.tags["corpus/requested_by"] == "automation" for request in requests)
    return [request.partition_key or "" for request in requests]


BOTH = pytest.mark.parametrize("ask", [ask_schedule, ask_sensor])


def test_both_are_off_until_somebody_switches_them_on(defs: dg.Definitions) -> None:
    assert defs.resolve_schedule_def(SCHEDULE).default_status is dg.DefaultScheduleStatus.STOPPED
    assert defs.resolve_sensor_def(SENSOR).default_status is dg.DefaultSensorStatus.STOPPED


def test_they_are_all_the_automation_there_is_and_start_the_job(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    found = {each.name: each.job_name for each in [*repository.schedule_defs, *repository.sensor_defs]}
    assert found == {SCHEDULE: definitions.JOB, SENSOR: definitions.JOB}


@BOTH
def test_the_crawls_of_a_classifier_come_first_and_the_others_wait(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert ask(defs, instance) == [FIT_CRAWL]
    start(instance, FIT_CRAWL, dg.DagsterRunStatus.STARTED)
    assert isinstance(ask(defs, instance), str)


@BOTH
def test_then_the_newest_missing_crawls_are_asked_for_up_to_the_limit(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    curate(instance, FIT_CRAWL)
    asked = ask(defs, instance)
    assert asked == ["T-2024-04", "T-2024-03"]
    assert len(asked) == MOST_AT_ONCE


@BOTH
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED])
def test_crawls_under_way_are_not_asked_for_again_and_take_up_room(
    ask: Ask, status: dg.DagsterRunStatus, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    curate(instance, FIT_CRAWL)
    start(instance, "T-2024-04", status)
    assert ask(defs, instance) == ["T-2024-03"]
    start(instance, "T-2024-01", status)
    assert isinstance(ask(defs, instance), str)


@BOTH
def test_a_failed_run_and_a_run_of_another_job_take_up_no_room(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    curate(instance, FIT_CRAWL)
    start(instance, "T-2024-04", dg.DagsterRunStatus.FAILURE)
    start(instance, "T-2024-03", dg.DagsterRunStatus.STARTED, job="something_else")
    assert ask(defs, instance) == ["T-2024-04", "T-2024-03"]


@BOTH
def test_a_crawl_is_missing_until_every_recipe_has_it(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    curate(instance, *CRAWLS[:3])
    curate(instance, CRAWLS[3], recipes=("fitted", "dclm_baseline"))
    assert ask(defs, instance) == [CRAWLS[3]]


@BOTH
def test_nothing_is_asked_for_when_every_corpus_is_there(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    curate(instance, *CRAWLS)
    reason = ask(defs, instance)
    assert isinstance(reason, str)
    assert "every crawl of the catalogue is done" in reason


def test_a_request_is_a_run_of_all_assets_for_one_crawl(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def(definitions.JOB)
    assert job.partitions_def is not None
    assert job.partitions_def.get_partition_keys() == CRAWLS
    keys = {curated.key(recipe) for recipe in model.shipped().values()}
    assert keys <= job.asset_layer.executable_asset_keys


def test_a_recipe_without_a_crawl_of_this_source_does_not_hold_up_the_others(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    """The shipped recipe is fitted on the sample; on a source without it, its fit crawl is not waited for."""
    path = tmp_path / "crawls.tsv"
    catalog.write([catalog.Crawl(crawl) for crawl in CRAWLS], path)
    defs = definitions.build_definitions(Settings(source="https://data.commoncrawl.org", catalogue=path))
    assert ask_sensor(defs, instance) == ["T-2024-04", "T-2024-03"]
