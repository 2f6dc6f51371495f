"""`<recipe>/removed`: every document and span that was taken out, with stage, reason and value."""

import dagster as dg

from assets import curated, documents, duplicates, filtered, quality
from assets.common import BACKFILL, OWNERS, POOL, check_specs, materialized, removed_terms, stage_context, upstream
from corpus_dagster import checks
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.stages import removed
from resources import LakeResource, PoolResource


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "removed"])


def build_removed(recipe: Recipe, crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""

    @dg.asset(
        key=key(recipe),
        deps=[documents.KEY, *(stage.key(recipe) for stage in (filtered, duplicates, quality, curated))],
        partitions_def=crawls,
        group_name=recipe.name,
        kinds={"parquet"},
        owners=OWNERS,
        pool=POOL,
        backfill_policy=BACKFILL,
        code_version=removed.CODE_VERSION,
        check_specs=check_specs(key(recipe), ["conservation", "schema"]),
    )
    def removed_items(
        context: dg.AssetExecutionContext, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """What the recipe took out of the crawl, and why: nothing disappears silently."""
        stage = stage_context(context, lake, pool)
        outcome = removed.run(stage, recipe, context.partition_key)
        came_in = upstream(stage.lake, "documents", outcome.dataset).rows()
        kept = upstream(stage.lake, f"{recipe.name}/curated", outcome.dataset).rows()
        totals = outcome.dataset.totals
        reasons = removed.document_reasons(totals)
        return materialized(
            outcome,
            removed.TABLES,
            verdicts=[
                checks.conservation({"documents": came_in, "kept": kept, **removed_terms(reasons)}, total="documents"),
                checks.schema(outcome.dataset, removed.TABLES),
            ],
            kept=totals["kept"],
            removed=reasons,
        )

    return removed_items
