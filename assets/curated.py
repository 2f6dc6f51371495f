"""`<recipe>/curated`: the corpus."""

import dagster as dg

from assets import duplicates, filtered, quality
from assets.common import (
    BACKFILL,
    OWNERS,
    POOL,
    check_specs,
    keep_rates,
    materialized,
    others,
    removed_terms,
    stage_context,
    stage_version,
    tuned,
    upstream,
)
from assets.filtered import RecipeConfig
from corpus_dagster import checks
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.stages import curated
from resources import LakeResource, PoolResource


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "curated"])


def build_curated(recipe: Recipe, crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""

    @dg.asset(
        key=key(recipe),
        deps=[filtered.key(recipe), duplicates.key(recipe), quality.key(recipe)],
        partitions_def=crawls,
        group_name=recipe.name,
        kinds={"parquet"},
        owners=OWNERS,
        pool=POOL,
        backfill_policy=BACKFILL,
        code_version=stage_version(curated.CODE_VERSION, recipe.quality.keep.model_dump()),
        check_specs=check_specs(key(recipe), ["conservation", "schema", "unique_ids", "keep_rate"]),
    )
    def corpus(
        context: dg.AssetExecutionContext, config: RecipeConfig, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """The corpus: duplicated paragraphs and documents gone, quality decided, one weight per document."""
        stage = stage_context(context, lake, pool)
        outcome = curated.run(stage, tuned(recipe, config.override, ["quality.keep"]), context.partition_key)
        came_in = upstream(stage.lake, f"{recipe.name}/duplicates", outcome.dataset).totals["kept"]["documents"]
        totals = outcome.dataset.totals
        removed = {reason: counts["documents"] for reason, counts in totals["removed"].items()}
        return materialized(
            outcome,
            curated.TABLES,
            verdicts=[
                checks.conservation(
                    {"documents": came_in, "kept": outcome.dataset.rows(), **removed_terms(removed)},
                    total="documents",
                ),
                checks.schema(outcome.dataset, curated.TABLES),
                checks.unique_ids(outcome.dataset),
                keep_rates(outcome.dataset, others(stage.lake, outcome.dataset)),
            ],
            kept=outcome.dataset.rows(),
            removed=removed,
            extra={
                "words": totals["kept"]["words"],
                "tokens": totals["tokens"],
                "text_bytes": totals["kept"]["bytes"],
                "threshold": outcome.dataset.manifest["identity"]["config"]["threshold"],
            },
        )

    return corpus
