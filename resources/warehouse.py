"""Where the analytics warehouse lies: exported statistics, the DuckDB file, dbt's artefacts."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from corpus_dagster.settings import Settings
from corpus_dagster.warehouse import Warehouse


class WarehouseResource(dg.ConfigurableResource):
    """A folder on the machine that runs dbt; DuckDB allows one writing process at a time."""

    folder: str = Field(default="", description="local folder; empty: `warehouse` below CORPUS_WORK")

    def open(self) -> Warehouse:
        """The warehouse; nothing is created before something is written."""
        return Warehouse(Path(self.folder) if self.folder else Settings.from_environment().work / "warehouse")
