"""Where crawls come from: Common Crawl, a mirror of it, or the embedded sample."""

from __future__ import annotations

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from corpus_dagster.sample import sample_folder
from corpus_dagster.settings import SAMPLE, Settings
from corpus_dagster.source import Source
from resources.lake import s3_options


class SourceResource(dg.ConfigurableResource):
    """Files laid out as Common Crawl lays them out."""

    s3: dg.ResourceDependency[S3Resource]
    uri: str = Field(
        default="",
        description="sample, a folder, https://data.commoncrawl.org or s3://commoncrawl; empty: CORPUS_SOURCE",
    )

    def open(self) -> Source:
        """The source; the sample crawl is written first where it is not there yet."""
        settings = Settings.from_environment()
        uri = self.uri or settings.source
        if uri == SAMPLE:
            return Source.at(str(sample_folder(settings.work)))
        return Source.at(uri, s3_options(self.s3) if uri.startswith("s3://") else None)
