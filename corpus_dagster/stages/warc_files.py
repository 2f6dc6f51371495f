"""`warc_files`: the files of a crawl that a run reads, chosen from the crawl's own list of paths."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from corpus_dagster import catalog
from corpus_dagster.lake import Identity, ShardWriter
from corpus_dagster.schemas import WARC_FILES
from corpus_dagster.source import Source
from corpus_dagster.stages.context import StageContext
from corpus_dagster.stages.run import StageOutcome, run_alone

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

DATASET = "warc_files"
TABLES = {"data": WARC_FILES}


def run(
    context: StageContext,
    source: Source,
    crawl: str,
    *,
    share: float,
    max_files: int | None,
    kind: catalog.ArchiveKind = "warc",
) -> StageOutcome:
    """List the files of a crawl.

    Args:
        context: lake and pool.
        source: where the crawl lies.
        crawl: its name.
        share: share of its files to read, chosen by hash of the path.
        max_files: most files to read; None for no limit.
        kind: which of the crawl's listings to choose from: its pages, or the text taken from them.

    Raises:
        SourceError: the crawl's `warc.paths.gz` or `wet.paths.gz` cannot be read.
        CatalogError: it is no list of paths.
    """
    paths = catalog.parse_paths(source.read(catalog.paths_listing(crawl, kind)))
    chosen = catalog.choose(paths, share, max_files)
    files = pa.table(
        {
            "shard": pa.array([shard for shard, _ in chosen], pa.int32()),
            "path": pa.array([path for _, path in chosen], pa.string()),
            "bytes": pa.array([source.size(path) for _, path in chosen], pa.int64()),
        }
    )
    build = context.lake.begin(
        DATASET,
        crawl,
        identity=Identity(
            code_version=CODE_VERSION,
            # Two remote sources may have other files under the same paths, and their sizes are not known.
            config={"share": share, "max_files": max_files, "archive": kind, "source": source.identity},
            # Sizes are part of it: a local crawl that was written anew under the same names is another crawl.
            inputs={"files": hashlib.sha256(str(files.to_pydict()).encode()).hexdigest()},
        ),
        tables=TABLES,
    )

    def write(writer: ShardWriter) -> None:
        writer.count("listed", len(paths))
        writer.count("chosen", len(chosen))
        writer.write(files)

    return run_alone(build, write, report=context.report)
