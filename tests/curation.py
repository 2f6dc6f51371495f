"""All stages of a recipe over the sample, without Dagster: for tests in this process, and as a program to kill."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from corpus_dagster import sample
from corpus_dagster.lake import Dataset, Lake
from corpus_dagster.pool import PoolSettings
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.sample.archive import gzip_member
from corpus_dagster.source import Source
from corpus_dagster.stages import (
    curated,
    documents,
    duplicates,
    filtered,
    quality,
    quality_model,
    removed,
    statistics,
    warc_files,
)
from corpus_dagster.stages.context import StageContext
from corpus_dagster.stages.run import StageOutcome

FIRST, SECOND = sample.CRAWLS
RECIPE = "dclm_baseline"
CRAWL_STAGES = ("documents", "filtered", "duplicates", "quality", "curated", "removed", "statistics")
"""Stages of one crawl that tests compare, in order; all but the first belong to the recipe."""

GATES = ("url_hosts", "url_substrings", "url_hard_words", "url_soft_words", "language")
"""Rules whose removed documents are measured no further."""


def shipped() -> Recipe:
    return model.shipped()[RECIPE]


def name_of(stage: str, recipe: str = RECIPE) -> str:
    """Name of a stage's dataset."""
    return stage if stage in ("warc_files", "documents") else f"{recipe}/{stage}"


@dataclass(frozen=True)
class Curation:
    """A lake with a recipe's datasets of some crawls, and the labels of the pages that went in."""

    lake: Lake
    root: Path
    recipe: Recipe
    crawls: tuple[str, ...]

    def dataset(self, stage: str, crawl: str | None) -> Dataset:
        return self.lake.require(name_of(stage, self.recipe.name), crawl)

    def frame(self, stage: str, crawl: str, table: str = "data") -> pl.DataFrame:
        """All rows of a table, in the order of shards."""
        return self.dataset(stage, crawl).scan(table).collect()

    def labels(self, crawl: str) -> list[dict[str, Any]]:
        text = (self.root / "crawl-data" / crawl / "labels.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]


def context(lake: Lake, workers: int = 1, report: Callable[[str], None] = lambda line: None) -> StageContext:
    return StageContext(lake, PoolSettings(workers=workers, backoff_seconds=0.01), report)


def curate(
    lake: Lake,
    root: Path,
    recipe: Recipe,
    crawls: Sequence[str],
    *,
    workers: int = 1,
    share: float = 1.0,
    max_files: int | None = None,
) -> dict[tuple[str, str | None], StageOutcome]:
    """Run every stage, in the order that Dagster would; outcomes by stage and crawl."""
    return dict(steps(lake, root, recipe, crawls, workers=workers, share=share, max_files=max_files))


def steps(
    lake: Lake,
    root: Path,
    recipe: Recipe,
    crawls: Sequence[str],
    *,
    workers: int = 1,
    share: float = 1.0,
    max_files: int | None = None,
) -> Iterator[tuple[tuple[str, str | None], StageOutcome]]:
    """As `curate`, stage by stage."""
    around = context(lake, workers)
    source = Source.at(str(root))
    for crawl in crawls:
        yield ("warc_files", crawl), warc_files.run(around, source, crawl, share=share, max_files=max_files)
        yield ("documents", crawl), documents.run(around, source, crawl)
        yield ("filtered", crawl), filtered.run(around, recipe, crawl)
        yield ("duplicates", crawl), duplicates.run(around, recipe, crawl)
    yield ("quality_model", None), quality_model.run(around, recipe)
    for crawl in crawls:
        for stage in (quality, curated, removed, statistics):
            yield (stage.__name__.rpartition(".")[2], crawl), stage.run(around, recipe, crawl)


def digests(outcomes: dict[tuple[str, str | None], StageOutcome]) -> dict[str, str]:
    """Manifest digests by stage and crawl."""
    return {f"{stage} {crawl}": outcome.dataset.digest for (stage, crawl), outcome in sorted(outcomes.items(), key=str)}


def excerpt(root: Path, folder: Path, crawl: str, *, files: int = 3, every: int = 6, copies: int = 12) -> Path:
    """A smaller source under the crawl's own name: of its first files every n-th response, and some copies with what
    they repeat."""
    below = f"crawl-data/{crawl}"
    paths = gzip.decompress((root / below / "warc.paths.gz").read_bytes()).decode().split()[:files]
    rows = [json.loads(line) for line in (root / below / "labels.jsonl").read_text("utf-8").splitlines()]
    here = {row["url"] for row in rows if row["file"] in paths}
    repeated = [
        row for row in rows if row["expect"].startswith("duplicates:") and {row["url"], row["duplicate_of"]} <= here
    ]
    chosen = {url for row in repeated[:: max(1, len(repeated) // copies)] for url in (row["url"], row["duplicate_of"])}
    kept: list[dict[str, Any]] = []
    for path in paths:
        rows_of_file = [row for row in rows if row["file"] == path]
        # The warcinfo record, then for each response a request, the response itself and a metadata record.
        warcinfo, *members = _members((root / path).read_bytes())
        wanted = [i for i, row in enumerate(rows_of_file) if i % every == 0 or row["url"] in chosen]
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(warcinfo + b"".join(b"".join(members[3 * i : 3 * i + 3]) for i in wanted))
        kept += [rows_of_file[i] for i in wanted]
    (folder / below / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")
    (folder / below / "warc.paths.gz").write_bytes(gzip_member("".join(f"{path}\n" for path in paths).encode()))
    return folder


def _members(data: bytes) -> list[bytes]:
    """The gzip members of a file."""
    members: list[bytes] = []
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        unpacker.decompress(data)
        size = len(data) - len(unpacker.unused_data)
        members.append(data[:size])
        data = data[size:]
    return members


def main() -> None:
    """A program with the arguments LAKE ROOT RECIPE WORKERS CRAWL...: tells its begin, and digests as stages end."""
    lake, root, recipe, workers, *crawls = sys.argv[1:]
    print("begin", flush=True)
    for (stage, crawl), outcome in steps(
        Lake.at(lake), Path(root), model.load(Path(recipe)), crawls, workers=int(workers)
    ):
        print(f"{stage} {crawl} {outcome.dataset.digest}", flush=True)
