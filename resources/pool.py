"""How an asset spreads its shards over processes or a Ray cluster."""

import dagster as dg
from pydantic import Field

from corpus_dagster.pool import PoolSettings
from corpus_dagster.settings import Settings


class PoolResource(dg.ConfigurableResource):
    """Workers of one run."""

    workers: int = Field(default=-1, description="processes; 0: one per core; -1: CORPUS_WORKERS")
    kind: str = Field(default="", description="local or ray; empty: CORPUS_POOL")

    def settings(self) -> PoolSettings:
        """The pool's settings."""
        environment = Settings.from_environment()
        return PoolSettings(
            kind="ray" if (self.kind or environment.pool) == "ray" else "local",
            workers=environment.workers if self.workers < 0 else self.workers,
        )
