"""Everything Dagster loads: assets, resources, jobs and automation. The only module here that knows Dagster."""

from __future__ import annotations

import dagster as dg

from assets import (
    analytics,
    curated,
    documents,
    duplicates,
    filtered,
    quality,
    quality_model,
    removed,
    statistics,
    warc_files,
)
from assets.automation import build_automation
from corpus_dagster import catalog
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.settings import Settings
from resources import LakeResource, PoolResource, SourceResource
from resources.lake import S3_SCHEME

JOB = "curate"


def build_recipe_assets(recipe: Recipe, crawls: dg.StaticPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The branch of the graph that belongs to one recipe."""
    return [
        filtered.build_filtered(recipe, crawls),
        duplicates.build_duplicates(recipe, crawls),
        quality_model.build_quality_model(recipe, crawls),
        quality.build_quality(recipe, crawls),
        curated.build_curated(recipe, crawls),
        removed.build_removed(recipe, crawls),
        statistics.build_statistics(recipe, crawls),
    ]


def build_definitions(settings: Settings) -> dg.Definitions:
    """Definitions for a source and a set of recipes.

    Raises:
        RecipeError: a recipe is wrong; nothing is loaded rather than something else.
        CatalogError: the catalogue cannot be read.
    """
    names = [crawl.id for crawl in catalog.for_source(settings.source, settings.catalogue)]
    crawls = dg.StaticPartitionsDefinition(names)
    recipes = list(model.available(settings.recipes).values())
    # A recipe whose classifier is fitted on crawls that the source does not have can be filtered with, but not run to
    # its end: the job and automation leave it out.
    runnable = [recipe for recipe in recipes if set(recipe.fit_crawls) <= set(names)]
    branches = {recipe.name: build_recipe_assets(recipe, crawls) for recipe in recipes}
    shared = [*warc_files.build_warc_files(crawls), documents.build_documents(crawls)]
    selected = [*shared, *(asset for recipe in runnable for asset in branches[recipe.name])]
    schedules, sensors = build_automation(JOB, runnable, names)
    corpus = dg.Definitions(
        assets=[*shared, *(asset for branch in branches.values() for asset in branch)],
        jobs=[
            dg.define_asset_job(
                JOB,
                selection=dg.AssetSelection.assets(
                    *(asset.key for asset in selected if isinstance(asset, dg.AssetsDefinition))
                ),
                description="One crawl through every recipe that can be run to its end on this source.",
            )
        ],
        schedules=schedules,
        sensors=sensors,
        resources=build_resources(settings),
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(corpus, analytics.build_definitions([recipe.name for recipe in recipes]))


def build_resources(settings: Settings) -> dict[str, dg.ConfigurableResource]:
    """Resources for a lake and a source; those for S3 only where one of them is a bucket."""
    if settings.lake.startswith(S3_SCHEME) or settings.source.startswith(S3_SCHEME):
        from dagster_aws.s3 import S3Resource

        from resources.s3 import S3LakeResource, S3SourceResource

        s3 = S3Resource()
        lake, source = S3LakeResource(s3=s3), S3SourceResource(s3=s3)
        return {"s3": s3, "lake": lake, "source": source, "pool": PoolResource()}
    return {"lake": LakeResource(), "source": SourceResource(), "pool": PoolResource()}


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_definitions(Settings.from_environment())
