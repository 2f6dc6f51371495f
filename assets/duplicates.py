"""`<recipe>/duplicates`: which paragraphs and documents are copies. Annotates; the text is untouched."""

import dagster as dg

from assets import filtered
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
from corpus_dagster.stages import duplicates
from resources import LakeResource, PoolResource


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "duplicates"])


def build_duplicates(recipe: Recipe, crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""

    @dg.asset(
        key=key(recipe),
        deps=[filtered.key(recipe)],
        partitions_def=crawls,
        group_name=recipe.name,
        kinds={"parquet", "numba"},
        owners=OWNERS,
        pool=POOL,
        backfill_policy=BACKFILL,
        code_version=stage_version(duplicates.CODE_VERSION, recipe.duplicates.model_dump()),
        check_specs=check_specs(key(recipe), ["conservation", "schema", "unique_ids", "keep_rate"]),
    )
    def duplicate_marks(
        context: dg.AssetExecutionContext, config: RecipeConfig, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """Bloom-filter verdicts on paragraphs and documents, row by row of `filtered`, with spans of the paragraphs."""
        stage = stage_context(context, lake, pool)
        chosen = tuned(recipe, config.override, ["duplicates"])
        outcome = duplicates.run(stage, chosen, context.partition_key)
        came_in = upstream(stage.lake, f"{recipe.name}/filtered", outcome.dataset).rows()
        totals = outcome.dataset.totals
        kept = totals["kept"]["documents"]
        removed = {reason: counts["documents"] for reason, counts in totals["removed"].items()}
        return materialized(
            outcome,
            duplicates.TABLES,
            verdicts=[
                checks.conservation(
                    {"documents": came_in, "kept": kept, **removed_terms(removed)},
                    total="documents",
                ),
                checks.schema(outcome.dataset, duplicates.TABLES),
                checks.unique_ids(outcome.dataset),
                keep_rates(outcome.dataset, others(stage.lake, outcome.dataset)),
            ],
            kept=kept,
            removed=removed,
            extra={
                "duplicate_spans": outcome.dataset.rows("spans"),
                **duplicates.false_positive_rates(totals, chosen.duplicates),
            },
        )

    return duplicate_marks
