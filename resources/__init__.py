"""What assets need from outside: the lake, the source of crawls, the pool. Thin shells over `corpus_dagster`."""

from resources.lake import LakeResource
from resources.pool import PoolResource
from resources.source import SourceResource

__all__ = ["LakeResource", "PoolResource", "SourceResource"]
