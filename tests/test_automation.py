"""The schedule and the sensor: off until switched on, and what they ask for when they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from assets import automation
from assets.automation import ATTEMPTS, MOST_AT_ONCE, REQUESTED
from corpus_dagster import catalog, definitions
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
SCHEDULE, SENSOR, CATALOGUE = "monthly_crawls", "missing_crawls", "published_crawls"


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """A private catalogue of four crawls, and three recipes: the shipped one, fitted on the sample that this source
    does not have, one fitted on the second crawl, one with a classifier from elsewhere."""
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


def finish(instance: dg.DagsterInstance, *crawls: str, recipes: tuple[str, ...] = ()) -> None:
    """Report the last asset of crawls as materialised; without `recipes`, that of all."""
    for recipe in recipes or tuple(RECIPES):
        for crawl in crawls:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(dg.AssetKey([recipe, "statistics"]), partition=crawl)
            )


def add_run(
    instance: dg.DagsterInstance, crawl: str, status: dg.DagsterRunStatus, job: str = definitions.JOB, **tags: str
) -> None:
    """Put a run of a partition into the instance."""
    instance.add_run(dg.DagsterRun(job_name=job, status=status, tags={"dagster/partition": crawl, **tags}))


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


def answer(requests: Sequence[dg.RunRequest] | None, skip: str | None) -> Asked:
    """The crawls asked for, or why none is."""
    if not requests:
        assert skip, "a tick that requests nothing says why"
        return skip
    assert all(request.tags["corpus/requested_by"] == "automation" for request in requests)
    return [request.partition_key or "" for request in requests]


BOTH = pytest.mark.parametrize("ask", [ask_schedule, ask_sensor])


def test_all_automation_is_off_until_somebody_switches_it_on(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    schedules = {each.name: each.default_status for each in repository.schedule_defs}
    sensors = {each.name: each.default_status for each in repository.sensor_defs}
    assert schedules == {SCHEDULE: dg.DefaultScheduleStatus.STOPPED}
    assert sensors == dict.fromkeys([SENSOR, CATALOGUE], dg.DefaultSensorStatus.STOPPED)


def test_schedule_and_sensor_start_the_job(defs: dg.Definitions) -> None:
    assert defs.resolve_schedule_def(SCHEDULE).job_name == definitions.JOB
    assert defs.resolve_sensor_def(SENSOR).job_name == definitions.JOB
    assert defs.resolve_sensor_def(CATALOGUE).targets == []


@BOTH
def test_the_crawls_of_a_classifier_come_first_and_the_others_wait(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert ask(defs, instance) == [FIT_CRAWL]
    add_run(instance, FIT_CRAWL, dg.DagsterRunStatus.STARTED)
    assert isinstance(ask(defs, instance), str)


@BOTH
def test_then_the_newest_missing_crawls_are_asked_for_up_to_the_limit(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, FIT_CRAWL)
    asked = ask(defs, instance)
    assert asked == ["T-2024-04", "T-2024-03"]
    assert len(asked) == MOST_AT_ONCE


@BOTH
@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_crawls_under_way_are_not_asked_for_again_and_take_up_room(
    ask: Ask, status: dg.DagsterRunStatus, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, FIT_CRAWL)
    add_run(instance, "T-2024-04", status)
    assert ask(defs, instance) == ["T-2024-03"]
    add_run(instance, "T-2024-01", status)
    assert isinstance(ask(defs, instance), str)


@BOTH
def test_a_crawl_that_somebody_backfills_is_under_way(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, FIT_CRAWL)
    tags = {f"dagster/asset_partition_range_{end}": "T-2024-04" for end in ("start", "end")}
    instance.add_run(dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags=tags))
    assert ask(defs, instance) == ["T-2024-03"]


@BOTH
def test_partitions_of_other_code_locations_take_up_no_room(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, FIT_CRAWL)
    add_run(instance, "2024-04-01", dg.DagsterRunStatus.STARTED, job="daily_report")
    assert ask(defs, instance) == ["T-2024-04", "T-2024-03"]


@BOTH
def test_a_crawl_that_fails_again_and_again_is_left_to_a_person_and_named(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, FIT_CRAWL)
    for attempt in range(ATTEMPTS):
        assert ask(defs, instance) == ["T-2024-04", "T-2024-03"], f"after {attempt} failures"
        add_run(instance, "T-2024-04", dg.DagsterRunStatus.FAILURE, **REQUESTED)
    assert ask(defs, instance) == ["T-2024-03", "T-2024-01"]
    finish(instance, "T-2024-03", "T-2024-01")
    reason = ask(defs, instance)
    assert isinstance(reason, str)
    assert "T-2024-04" in reason


@BOTH
def test_failures_of_runs_that_a_person_started_are_not_counted(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, FIT_CRAWL)
    for _ in range(ATTEMPTS):
        add_run(instance, "T-2024-04", dg.DagsterRunStatus.FAILURE)
    assert ask(defs, instance) == ["T-2024-04", "T-2024-03"]


@BOTH
def test_a_crawl_is_missing_until_every_recipe_has_it(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, *CRAWLS[:3])
    finish(instance, CRAWLS[3], recipes=("fitted",))
    assert ask(defs, instance) == [CRAWLS[3]]


@BOTH
def test_nothing_is_asked_for_when_every_corpus_is_there(
    ask: Ask, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    finish(instance, *CRAWLS)
    reason = ask(defs, instance)
    assert isinstance(reason, str)
    assert "done" in reason


def test_a_request_is_a_run_of_every_recipe_that_can_be_run_for_one_crawl(defs: dg.Definitions) -> None:
    job = defs.resolve_job_def(definitions.JOB)
    assert job.partitions_def is not None
    assert job.partitions_def.get_partition_keys() == CRAWLS
    ends = {key.path[0] for key in job.asset_layer.executable_asset_keys if key.path[-1] == "statistics"}
    assert ends == set(RECIPES), "the shipped recipe is fitted on the sample, which this source does not have"


@BOTH
def test_where_no_recipe_can_be_run_nothing_is_asked_for_and_the_reason_given(
    ask: Ask, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    path = tmp_path / "crawls.tsv"
    catalog.write([catalog.Crawl(crawl) for crawl in CRAWLS], path)
    defs = definitions.build_definitions(Settings(source="https://data.commoncrawl.org", catalogue=path))
    reason = ask(defs, instance)
    assert isinstance(reason, str)
    assert "no recipe can be run" in reason


@pytest.mark.parametrize(
    ("published", "said"),
    [(["CC-MAIN-2013-20"], "knows every published crawl"), (["CC-MAIN-2099-10", "CC-MAIN-2013-20"], "CC-MAIN-2099-10")],
)
def test_a_sensor_says_when_the_catalogue_is_behind_and_requests_nothing(
    published: list[str],
    said: str,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "collinfo.json").write_text(json.dumps([{"id": crawl} for crawl in published]), "utf-8")
    monkeypatch.setattr(automation, "PUBLISHED", str(tmp_path))
    monkeypatch.delenv("CORPUS_CATALOG", raising=False)
    sensor = defs.resolve_sensor_def(CATALOGUE)
    with dg.build_sensor_context(instance=instance, definitions=defs) as context:
        data = sensor.evaluate_tick(context)
    assert not data.run_requests
    assert data.skip_message is not None
    assert said in data.skip_message
