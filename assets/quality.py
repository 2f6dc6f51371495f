"""`<recipe>/quality`: the classifier's score of every document that deduplication leaves."""

import dagster as dg

from assets import duplicates, filtered, quality_model
from assets.common import BACKFILL, OWNERS, POOL, check_specs, materialized, stage_context, stage_version, upstream
from corpus_dagster import checks
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.stages import quality
from resources import LakeResource, PoolResource


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "quality"])


def build_quality(recipe: Recipe, crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""

    @dg.asset(
        key=key(recipe),
        deps=[filtered.key(recipe), duplicates.key(recipe), quality_model.key(recipe)],
        partitions_def=crawls,
        group_name=recipe.name,
        kinds={"parquet", "fasttext"},
        owners=OWNERS,
        pool=POOL,
        backfill_policy=BACKFILL,
        code_version=stage_version(quality.CODE_VERSION, recipe.quality.model.positive_label),
        check_specs=check_specs(key(recipe), ["conservation", "schema", "unique_ids"]),
    )
    def quality_scores(
        context: dg.AssetExecutionContext, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """Scores, row by row of `filtered`, of the text without duplicated paragraphs. Nothing is decided here."""
        stage = stage_context(context, lake, pool)
        outcome = quality.run(stage, recipe, context.partition_key)
        came_in = upstream(stage.lake, f"{recipe.name}/filtered", outcome.dataset).rows()
        return materialized(
            outcome,
            quality.TABLES,
            verdicts=[
                checks.conservation({"documents": came_in, "rows": outcome.dataset.rows()}, total="documents"),
                checks.schema(outcome.dataset, quality.TABLES),
                checks.unique_ids(outcome.dataset),
            ],
            extra={
                "scored": outcome.dataset.totals["scored"],
                "models": dg.MetadataValue.json(outcome.dataset.manifest["identity"]["models"]),
            },
        )

    return quality_scores
