"""`warc_files`: which files of a crawl a run reads. Chosen once here; everything downstream follows the choice."""

from typing import Literal

import dagster as dg
from pydantic import Field

from assets.common import BACKFILL, OWNERS, SHARED_GROUP, check_specs, materialized, stage_context
from corpus_dagster import checks
from corpus_dagster.stages import warc_files
from resources import LakeResource, PoolResource, SourceResource

SOURCE = dg.AssetKey("common_crawl")
KEY = dg.AssetKey("warc_files")


class WarcFilesConfig(dg.Config):
    """How much of a crawl to read. The choice is by hash of the path: a larger share contains a smaller one."""

    share_of_files: float = Field(default=1.0, gt=0, le=1, description="share of the crawl's files")
    archive: Literal["warc", "wet"] = Field(
        default="warc", description="warc for pages as they were fetched, wet for the text Common Crawl took from them"
    )
    max_files: int = Field(default=0, ge=0, description="most files to read; 0 for no limit")


def build_warc_files(crawls: dg.PartitionsDefinition) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The asset, and the outside source that lineage starts from."""
    # Without partitions: nobody materialises it here, and each crawl would be shown as missing for ever.
    source = dg.AssetSpec(
        SOURCE,
        description="The crawls of Common Crawl, or of the source named by CORPUS_SOURCE.",
        group_name=SHARED_GROUP,
        kinds={"warc"},
    )

    @dg.asset(
        key=KEY,
        deps=[SOURCE],
        partitions_def=crawls,
        group_name=SHARED_GROUP,
        kinds={"parquet"},
        owners=OWNERS,
        backfill_policy=BACKFILL,
        code_version=warc_files.CODE_VERSION,
        check_specs=check_specs(KEY, ["schema"]),
    )
    def warc_file_list(
        context: dg.AssetExecutionContext,
        config: WarcFilesConfig,
        lake: LakeResource,
        pool: PoolResource,
        source: SourceResource,
    ) -> dg.MaterializeResult:
        """The files of the crawl to read, from its `warc.paths.gz` or `wet.paths.gz`, with their position in it."""
        outcome = warc_files.run(
            stage_context(context, lake, pool),
            source.open(),
            context.partition_key,
            share=config.share_of_files,
            max_files=config.max_files or None,
            kind=config.archive,
        )
        return materialized(outcome, warc_files.TABLES, verdicts=[checks.schema(outcome.dataset, warc_files.TABLES)])

    return [source, warc_file_list]
