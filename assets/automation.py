"""A monthly schedule and a sensor that request missing crawls. Both are off until somebody switches them on."""

from collections import Counter
from collections.abc import Sequence

import dagster as dg

from assets import statistics
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

ATTEMPTS = 2
"""Runs of a crawl that automation starts before it leaves the crawl to a person: what failed twice would fail every
hour, and keep its place from the crawls that would not."""

REQUESTED = {"corpus/requested_by": "automation"}
"""Tag of the runs requested here."""

PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start")
"""Where a run names its crawl. Runs of a backfill of assets name a range instead, here always of one crawl."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def build_automation(
    job_name: str, recipes: Sequence[Recipe], crawls: Sequence[str]
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """The schedule and the sensor for a job over all recipes."""
    fit_crawls = {crawl for recipe in recipes for crawl in recipe.fit_crawls}

    def partitions(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> Counter[str]:
        """Crawls of runs, whatever job or backfill they belong to."""
        found = [{run.tags[tag] for tag in PARTITION_TAGS if tag in run.tags} for run in instance.get_runs(runs)]
        return Counter(crawl for partition in found for crawl in partition if crawl in crawls)

    def next_crawls(instance: dg.DagsterInstance) -> list[str] | dg.SkipReason:
        if not recipes:
            return dg.SkipReason(
                "no recipe can be run to its end on this source: its classifiers are fitted on crawls of another; "
                "name crawls of this source in `quality.model.fit`, or a model file"
            )
        # Statistics are the end of a branch: a crawl that was interrupted after its corpus is not done.
        done = set(crawls)
        for recipe in recipes:
            done &= instance.get_materialized_partitions(statistics.key(recipe))
        under_way = partitions(instance, dg.RunsFilter(statuses=UNFINISHED))
        failures = partitions(instance, dg.RunsFilter(statuses=FAILED, tags=REQUESTED))
        given_up = {crawl for crawl, runs in failures.items() if runs >= ATTEMPTS and crawl not in done}
        wanted = backfill.next_crawls(crawls, done, under_way, fit_crawls, most=MOST_AT_ONCE, given_up=given_up)
        if wanted:
            return wanted
        left = f"; failed {ATTEMPTS} times, to be run by hand: {', '.join(sorted(given_up))}" if given_up else ""
        return dg.SkipReason(f"every other crawl is done, under way or waiting for those under way{left}")

    @dg.schedule(
        name="monthly_crawls",
        job_name=job_name,
        cron_schedule=MONTHLY,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Requests crawls that are missing, newest first, {MOST_AT_ONCE} at a time.",
    )
    def monthly_crawls(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        found = next_crawls(context.instance)
        if isinstance(found, dg.SkipReason):
            return found
        # A tick of a schedule may hold several requests only when each has a key; keys count within the tick.
        return [dg.RunRequest(run_key=crawl, partition_key=crawl, tags=REQUESTED) for crawl in found]

    @dg.sensor(
        name="missing_crawls",
        job_name=job_name,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Keeps {MOST_AT_ONCE} crawls under way until none is missing, each tried at most {ATTEMPTS} times",
    )
    def missing_crawls(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = next_crawls(context.instance)
        if isinstance(found, dg.SkipReason):
            return found
        # Without keys, which a sensor remembers for good: a crawl may be requested again after a failure.
        return dg.SensorResult(run_requests=[dg.RunRequest(partition_key=crawl, tags=REQUESTED) for crawl in found])

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
