"""A folder of WARC files as a crawl, run through `documents` and `filtered` without Dagster."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

from corpus_dagster.lake import Lake
from corpus_dagster.pool import PoolSettings
from corpus_dagster.recipes import model
from corpus_dagster.source import Source
from corpus_dagster.stages import documents, filtered, warc_files
from corpus_dagster.stages.context import StageContext

CRAWL = "BENCH-2025-01"
RECIPE = "dclm_baseline"


def lay_out(files: Sequence[Path], folder: Path) -> Source:
    """Link the files into Common Crawl's layout."""
    segment = f"crawl-data/{CRAWL}/segments/1/warc"
    (folder / segment).mkdir(parents=True)
    paths = []
    for index, path in enumerate(files):
        paths.append(f"{segment}/{index:05d}.warc.gz")
        os.symlink(path.resolve(), folder / paths[-1])
    (folder / f"crawl-data/{CRAWL}/warc.paths.gz").write_bytes(gzip.compress("\n".join(paths).encode()))
    return Source.at(str(folder))


def curate(files: Sequence[Path], folder: Path, pool: PoolSettings) -> int:
    """WARC to `filtered` in a fresh lake; returns the number of documents."""
    source = lay_out(files, folder / "source")
    context = StageContext(Lake.at(folder / "lake"), pool, lambda line: None)
    warc_files.run(context, source, CRAWL, share=1.0, max_files=None)
    made = documents.run(context, source, CRAWL)
    filtered.run(context, model.shipped()[RECIPE], CRAWL)
    return made.dataset.rows()
