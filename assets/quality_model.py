"""`<recipe>/quality_model`: the quality classifier. Not partitioned: it is fitted on the crawls its recipe names."""

import dagster as dg
from pydantic import Field

from assets import duplicates, filtered
from assets.common import OWNERS, check_specs, materialized, stage_context, stage_version
from corpus_dagster import checks
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.stages import quality_model
from resources import LakeResource, PoolResource


class FitConfig(dg.Config):
    """Whether to keep a model that fits the recipe."""

    refit: bool = Field(default=False, description="train again on the crawls as they are now")


def key(recipe: Recipe) -> dg.AssetKey:
    """Asset key."""
    return dg.AssetKey([recipe.name, "quality_model"])


def build_quality_model(recipe: Recipe, crawls: dg.StaticPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of one recipe."""
    fit = recipe.quality.model.fit
    known = crawls.get_partition_keys()
    fitted_on = [crawl for crawl in fit.crawls if crawl in known] if fit else []
    # A classifier fitted on crawls that this source does not have fails when it is materialised, with the mend, and
    # not when the definitions load.
    mapping = dg.SpecificPartitionsPartitionMapping(fitted_on) if fitted_on else dg.AllPartitionMapping()
    upstream = [filtered.key(recipe), duplicates.key(recipe)] if fit else []

    @dg.asset(
        key=key(recipe),
        deps=[dg.AssetDep(asset, partition_mapping=mapping) for asset in upstream],
        group_name=recipe.name,
        kinds={"fasttext"},
        owners=OWNERS,
        code_version=stage_version(quality_model.CODE_VERSION, recipe.quality.model.model_dump()),
        check_specs=check_specs(key(recipe), ["schema"]),
    )
    def quality_classifier(
        context: dg.AssetExecutionContext, config: FitConfig, lake: LakeResource, pool: PoolResource
    ) -> dg.MaterializeResult:
        """The fastText classifier that scores documents: the file the recipe names, or one trained on the crawls and
        positives it names. A model fitted as the recipe says is kept; only `refit` trains it again."""
        outcome = quality_model.run(stage_context(context, lake, pool), recipe, refit=config.refit)
        facts = outcome.dataset.read(0)
        return materialized(
            outcome,
            quality_model.TABLES,
            verdicts=[checks.schema(outcome.dataset, quality_model.TABLES)],
            extra={
                **dict(zip(facts.column("name").to_pylist(), facts.column("value").to_pylist(), strict=True)),
                "fitted_on": ", ".join(fit.crawls) if fit else str(recipe.quality.model.path),
            },
        )

    return quality_classifier
