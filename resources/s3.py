"""Lake and source on S3, with region, endpoint and keys from `dagster_aws.s3.S3Resource`.

Anything not set there is left to the machine's AWS environment: variables, profile, role.
"""

from dagster_aws.s3 import S3Resource

from resources.lake import LakeResource
from resources.source import SourceResource


def s3_options(s3: S3Resource) -> dict[str, str]:
    """The S3 resource as options of the object store."""
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


class S3LakeResource(LakeResource):
    """A lake in a bucket."""

    s3: S3Resource

    def options(self) -> dict[str, str] | None:
        """Options of the object store."""
        return s3_options(self.s3)


class S3SourceResource(SourceResource):
    """Crawls in a bucket, such as `s3://commoncrawl`."""

    s3: S3Resource

    def options(self) -> dict[str, str] | None:
        """Options of the object store."""
        return s3_options(self.s3)
