"""A monthly schedule and a sensor that request missing crawls. Both are off until somebody switches them on."""

from collections.abc import Iterator, Sequence

import dagster as dg

from assets import curated
from corpus_dagster import backfill, catalog
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.settings import Settings
from corpus_dagster.source import Source

MOST_AT_ONCE = 2
"""Crawls under way at a time: one crawl keeps a machine busy for hours, and a second bridges its serial stages."""

MONTHLY = "0 6 3 * *"
"""Common Crawl publishes about once a month; the third day at six leaves time for mirrors."""

PUBLISHED = "https://index.commoncrawl.org"
COLLINFO = "collinfo.json"
"""Common Crawl's own list of its crawls."""

DAY_SECONDS = 86_400

SENSOR_SECONDS = 3600
"""Crawls appear monthly and run for hours: looking once an hour loses nothing."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def build_automation(
    job_name: str, recipes: Sequence[Recipe], crawls: Sequence[str]
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """The schedule and the sensor for a job over all recipes."""
    fit_crawls = {
        crawl
        for recipe in recipes
        if recipe.quality.model.fit
        for crawl in recipe.quality.model.fit.crawls
        if crawl in crawls
    }

    def wanted(instance: dg.DagsterInstance) -> list[str]:
        done = set(crawls)
        for recipe in recipes:
            done &= instance.get_materialized_partitions(curated.key(recipe))
        running = instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED))
        under_way = {run.tags["dagster/partition"] for run in running if "dagster/partition" in run.tags}
        return backfill.next_crawls(crawls, done, under_way, fit_crawls, most=MOST_AT_ONCE)

    def requests(instance: dg.DagsterInstance) -> Iterator[dg.RunRequest]:
        for crawl in wanted(instance):
            yield dg.RunRequest(partition_key=crawl, tags={"corpus/requested_by": "automation"})

    @dg.schedule(
        name="monthly_crawls",
        job_name=job_name,
        cron_schedule=MONTHLY,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Requests crawls whose corpus is missing, newest first, two at a time.",
    )
    def monthly_crawls(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return list(requests(context.instance)) or dg.SkipReason("every crawl of the catalogue is done or under way")

    @dg.sensor(
        name="missing_crawls",
        job_name=job_name,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Keeps two crawls under way until no corpus is missing.",
    )
    def missing_crawls(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = list(requests(context.instance))
        if not found:
            return dg.SkipReason("every crawl of the catalogue is done, or enough are under way")
        return dg.SensorResult(run_requests=found)

    return [monthly_crawls], [missing_crawls, _catalogue_sensor()]


def _catalogue_sensor() -> dg.SensorDefinition:
    @dg.sensor(
        name="published_crawls",
        minimum_interval_seconds=DAY_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Says when Common Crawl has published crawls that the catalogue does not know. Requests nothing.",
    )
    def published_crawls(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings = Settings.from_environment()
        published = Source.at(PUBLISHED).read(COLLINFO)
        behind = catalog.missing(catalog.load(settings.catalogue), published)
        if not behind:
            return dg.SkipReason("the catalogue knows every published crawl")
        message = (
            f"the catalogue lacks {', '.join(behind)}: download {PUBLISHED}/{COLLINFO} and run "
            f"`corpus-dagster catalogue {COLLINFO} crawls.tsv`, then set CORPUS_CATALOG=crawls.tsv"
        )
        context.log.warning(message)
        return dg.SkipReason(message)

    return published_crawls
