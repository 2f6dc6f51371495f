"""The lake as a resource. On S3, region, endpoint and keys come from `dagster_aws.s3.S3Resource`."""

from __future__ import annotations

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from corpus_dagster.lake import Lake
from corpus_dagster.settings import Settings


def s3_options(s3: S3Resource) -> dict[str, str]:
    """The S3 resource as options of the object store; what is not set there is left to the AWS environment."""
    options = {
        "region": s3.region_name,
        "endpoint": s3.endpoint_url,
        "access_key_id": s3.aws_access_key_id,
        "secret_access_key": s3.aws_secret_access_key,
        "session_token": s3.aws_session_token,
        "allow_http": "true" if s3.endpoint_url and s3.endpoint_url.startswith("http://") else None,
        "skip_signature": "true" if s3.use_unsigned_session else None,
    }
    return {name: value for name, value in options.items() if value}


class LakeResource(dg.ConfigurableResource):
    """Where datasets are written and read."""

    s3: dg.ResourceDependency[S3Resource]
    uri: str = Field(default="", description="folder or s3://bucket/prefix; empty: CORPUS_LAKE")

    def open(self) -> Lake:
        """The lake.

        Raises:
            corpus_dagster.objects.StorageError: the address cannot be used.
        """
        uri = self.uri or Settings.from_environment().lake
        return Lake.at(uri, s3_options(self.s3) if uri.startswith("s3://") else None)
