"""The lake as a resource: a folder, or a bucket with the machine's own AWS configuration.

Explicit S3 settings come from `resources.s3`, which is loaded only where a bucket is used: importing `dagster_aws`
takes longer than all other definitions together.
"""

import dagster as dg
from pydantic import Field

from corpus_dagster.lake import Lake
from corpus_dagster.settings import Settings

S3_SCHEME = "s3://"


class LakeResource(dg.ConfigurableResource):
    """Where datasets are written and read."""

    uri: str = Field(default="", description="folder or s3://bucket/prefix; empty: CORPUS_LAKE")

    def options(self) -> dict[str, str] | None:
        """Options of the object store; None leaves everything to the environment."""
        return None

    def open(self) -> Lake:
        """The lake.

        Raises:
            corpus_dagster.objects.StorageError: the address cannot be used.
        """
        uri = self.uri or Settings.from_environment().lake
        return Lake.at(uri, self.options() if uri.startswith(S3_SCHEME) else None)
