"""`documents`: the pages of a crawl as text. Shared by all recipes."""

import dagster as dg

from assets import warc_files
from assets.common import BACKFILL, OWNERS, POOL, SHARED_GROUP, check_specs, materialized, stage_context
from corpus_dagster import checks
from corpus_dagster.stages import documents
from resources import LakeResource, PoolResource, SourceResource

KEY = dg.AssetKey("documents")


def build_documents(crawls: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        key=KEY,
        deps=[warc_files.KEY],
        partitions_def=crawls,
        group_name=SHARED_GROUP,
        kinds={"parquet", "fasttext"},
        owners=OWNERS,
        pool=POOL,
        backfill_policy=BACKFILL,
        code_version=documents.CODE_VERSION,
        check_specs=check_specs(KEY, ["conservation", "schema", "unique_ids"]),
    )
    def document_texts(
        context: dg.AssetExecutionContext, lake: LakeResource, pool: PoolResource, source: SourceResource
    ) -> dg.MaterializeResult:
        """Every page that holds text: main content, metadata of its fetch, character set, most probable languages.

        Records that are not pages are counted by reason. Nothing is judged here.
        """
        outcome = documents.run(stage_context(context, lake, pool), source.open(), context.partition_key)
        totals = outcome.dataset.totals
        return materialized(
            outcome,
            documents.TABLES,
            verdicts=[
                checks.conservation(
                    {"records": totals["records"], "documents": outcome.dataset.rows(), **totals["skipped"]},
                    total="records",
                ),
                checks.schema(outcome.dataset, documents.TABLES),
                checks.unique_ids(outcome.dataset),
            ],
            kept=outcome.dataset.rows(),
            removed=totals["skipped"],
        )

    return document_texts
