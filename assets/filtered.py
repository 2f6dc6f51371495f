"""`<recipe>/filtered`: the recipe's URL, language, quality, repetition and line rules."""

from typing import Any

import dagster as dg
from pydantic import Field

from assets import documents
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
from corpus_dagster import checks
from corpus_dagster.language import MODEL_NAME
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.stages import filtered
from corpus_dagster.text import words
from resources import LakeResource, PoolResource


class RecipeConfig(dg.Config):
    """Values of the recipe to replace for this run, by dotted path."""

    override: dict[str, Any] = Field(
        default={},
        description='such as {"word_count.min": 30} here, {"quality.keep.share": 0.2} on `curated`',
    )


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "filtered"])


def build_filtered(recipe: Recipe, crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""

    @dg.asset(
        key=key(recipe),
        deps=[documents.KEY],
        partitions_def=crawls,
        group_name=recipe.name,
        kinds={"parquet", "numba", "fasttext"},
        owners=OWNERS,
        pool=POOL,
        backfill_policy=BACKFILL,
        code_version=stage_version(filtered.CODE_VERSION, recipe.filter_config()),
        check_specs=check_specs(key(recipe), ["conservation", "schema", "unique_ids", "keep_rate"]),
    )
    def filtered_documents(
        context: dg.AssetExecutionContext, config: RecipeConfig, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """Documents that passed every rule of the recipe, with its text edits applied.

        Beside them: the signals and the verdict of every document, and the byte spans of the edits.
        """
        stage = stage_context(context, lake, pool)
        chosen = tuned(recipe, config.override, [step.name for step in recipe.filter])
        outcome = filtered.run(stage, chosen, context.partition_key)
        totals, tables = outcome.dataset.totals, filtered.tables(chosen)
        came_in = upstream(stage.lake, "documents", outcome.dataset).rows()
        removed = {reason: counts["documents"] for reason, counts in totals["removed"].items()}
        return materialized(
            outcome,
            tables,
            verdicts=[
                checks.conservation(
                    {"documents": came_in, "kept": outcome.dataset.rows(), **removed_terms(removed)},
                    total="documents",
                ),
                checks.schema(outcome.dataset, tables),
                checks.unique_ids(outcome.dataset),
                keep_rates(outcome.dataset, others(stage.lake, outcome.dataset)),
            ],
            kept=outcome.dataset.rows(),
            removed=removed,
            extra={
                "tokenizer": f"{words.TOKENIZER} (Unicode {words.TOKENIZER_VERSION})",
                "language_model": MODEL_NAME,
                "recipe": recipe.name,
                "override": dg.MetadataValue.json(config.override),
            },
        )

    return filtered_documents
