"""Configuration from the environment: the one place that reads it, and only when asked.

Everything a person changes from run to run is run config of the assets; what differs between machines is here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from corpus_dagster.errors import nearest

SAMPLE = "sample"
"""Source that is generated on the machine instead of read from Common Crawl."""

PREFIX = "CORPUS_"


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    Attributes:
        lake: folder or `s3://bucket/prefix` of all datasets (CORPUS_LAKE).
        source: `sample`, `https://data.commoncrawl.org`, `s3://commoncrawl` or a folder laid out alike (CORPUS_SOURCE).
        recipes: folder of the team's own recipes (CORPUS_RECIPES).
        pool: `local` processes or a `ray` cluster (CORPUS_POOL).
        workers: processes per run; 0 for one per core (CORPUS_WORKERS).
        catalogue: file that replaces the shipped list of crawls (CORPUS_CATALOG).
        work: folder for what is not the lake: the sample crawl, the warehouse, caches (CORPUS_WORK).
    """

    lake: str = "./lake"
    source: str = SAMPLE
    recipes: Path | None = None
    pool: str = "local"
    workers: int = 0
    catalogue: Path | None = None
    work: Path = Path(".corpus")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the variables; unset or empty ones keep their defaults.

        Raises:
            SettingsError: a variable with our prefix is unknown, or a value does not fit.
        """
        environ = os.environ if environ is None else environ
        known = {f"{PREFIX}{name}" for name in ("LAKE", "SOURCE", "RECIPES", "POOL", "WORKERS", "CATALOG", "WORK")}
        for name in environ:
            if name.startswith(PREFIX) and name not in known:
                raise SettingsError(f"unknown environment variable {name}{nearest(name, known)}")

        def value(name: str, default: str) -> str:
            return environ.get(f"{PREFIX}{name}", "").strip() or default

        workers = value("WORKERS", "0")
        if not workers.isdigit():
            raise SettingsError(f"CORPUS_WORKERS is a number of processes, not {workers!r}")
        pool = value("POOL", "local")
        if pool not in ("local", "ray"):
            raise SettingsError(f"CORPUS_POOL is `local` or `ray`, not {pool!r}")
        recipes, catalogue = value("RECIPES", ""), value("CATALOG", "")
        return cls(
            lake=value("LAKE", cls.lake),
            source=value("SOURCE", cls.source),
            recipes=Path(recipes) if recipes else None,
            pool=pool,
            workers=int(workers),
            catalogue=Path(catalogue) if catalogue else None,
            work=Path(value("WORK", str(cls.work))),
        )
