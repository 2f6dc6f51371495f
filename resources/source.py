"""Where crawls come from: Common Crawl, a mirror of it, or the embedded sample."""

import dagster as dg
from pydantic import Field

from corpus_dagster.sample import sample_folder
from corpus_dagster.settings import SAMPLE, Settings
from corpus_dagster.source import Source
from resources.lake import S3_SCHEME


class SourceResource(dg.ConfigurableResource):
    """Files laid out as Common Crawl lays them out."""

    uri: str = Field(
        default="",
        description="sample, a folder, https://data.commoncrawl.org or s3://commoncrawl; empty: CORPUS_SOURCE",
    )

    def options(self) -> dict[str, str] | None:
        """Options of the object store; None leaves everything to the environment."""
        return None

    def open(self) -> Source:
        """The source; the sample crawl is written first where it is not there yet."""
        settings = Settings.from_environment()
        uri = self.uri or settings.source
        if uri == SAMPLE:
            return Source.at(str(sample_folder(settings.work)))
        return Source.at(uri, self.options() if uri.startswith(S3_SCHEME) else None)
