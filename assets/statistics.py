"""`<recipe>/statistics`: the small tables of a crawl that analytics reads."""

import dagster as dg

from assets import curated, documents, duplicates, filtered, removed
from assets.common import BACKFILL, OWNERS, check_specs, materialized, stage_context
from corpus_dagster import checks, funnel, plots
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.schemas import STATISTICS
from corpus_dagster.stages import statistics
from resources import LakeResource, PoolResource


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "statistics"])


def build_statistics(recipe: Recipe, crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""

    @dg.asset(
        key=key(recipe),
        deps=[documents.KEY, *(stage.key(recipe) for stage in (filtered, duplicates, curated, removed))],
        partitions_def=crawls,
        group_name=recipe.name,
        kinds={"parquet", "polars"},
        owners=OWNERS,
        backfill_policy=BACKFILL,
        code_version=statistics.CODE_VERSION,
        check_specs=check_specs(key(recipe), ["schema"]),
    )
    def crawl_statistics(
        context: dg.AssetExecutionContext, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """Funnel, reasons of removal, hosts and yields of the crawl, from receipts and additive counts."""
        outcome = statistics.run(stage_context(context, lake, pool), recipe, context.partition_key)
        steps = outcome.dataset.read(0).to_pylist()
        return materialized(
            outcome,
            STATISTICS,
            verdicts=[checks.schema(outcome.dataset, STATISTICS)],
            extra={
                "documents_in": steps[0]["documents_out"],
                "documents_kept": steps[-1]["documents_out"],
                "words_kept": steps[-1]["words_out"],
                "funnel_plot": dg.MetadataValue.md(
                    plots.bars("documents left after each rule", funnel.landmarks(steps, plots.ROWS))
                ),
                "funnel": dg.MetadataValue.md(funnel.markdown_table(steps)),
            },
        )

    return crawl_statistics
