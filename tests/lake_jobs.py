"""A small stage over a lake, run by tests in this process, in workers, and as a program that gets killed."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from corpus_dagster import pool
from corpus_dagster.lake import Build, Dataset, Identity, Lake, LakeError, ShardWriter
from corpus_dagster.pool import PoolSettings
from corpus_dagster.schemas import DOC_ID, TEXT, Column, TableSchema
from corpus_dagster.stages.run import StageOutcome, run_stage

PAGES = TableSchema("pages", "Pages of a test.", (DOC_ID, TEXT), unique=("doc_id",))
LENGTHS = TableSchema("lengths", "Their lengths.", (DOC_ID, Column("length", pa.int32(), "bytes")))
TABLES = {"data": PAGES, "lengths": LENGTHS}
CRAWL = "TEST-2024-01"


@dataclass(frozen=True)
class ShardTask:
    build: Build = field(repr=False)
    shard: int
    rows: int = 200
    pause: float = 0.0


@dataclass(frozen=True)
class Done:
    shard: int
    documents: int
    bytes: int


def begin(lake: Lake, name: str = "pages", **config: object) -> Build:
    identity = Identity(code_version="1", config=config, inputs={"source": "abc"})
    return lake.begin(name, CRAWL, identity=identity, tables=TABLES)


def pages(shard: int, rows: int) -> pa.Table:
    """Rows that are a function of the shard alone."""
    texts = [hashlib.sha256(f"{shard}/{row}".encode()).hexdigest() * (row % 7) for row in range(rows)]
    ids = (np.int64(shard) << 32) + np.arange(rows, dtype=np.int64)
    return pa.table({"doc_id": ids, "text": texts})


def fill(writer: ShardWriter, rows: int, pause: float = 0.0) -> Done:
    table = pages(writer.number, rows)
    lengths = [len(text) for text in table.column("text").to_pylist()]
    step = max(1, rows // 4)
    for start in range(0, rows, step):
        part = table.slice(start, step)
        writer.write(part)
        writer.write(
            pa.table({"doc_id": part.column("doc_id"), "length": pa.array(lengths[start : start + step], pa.int32())}),
            table="lengths",
        )
        time.sleep(pause / 4)
    writer.count("documents", rows)
    writer.count(("removed", "short", "documents"), sum(length < 100 for length in lengths))
    writer.counters["samples"] = [f"shard {writer.number}"]
    writer.note_seconds(pause)
    return Done(writer.number, rows, sum(lengths))


def fill_and_fail(writer: ShardWriter) -> None:
    fill(writer, 50)
    raise ZeroDivisionError


def write_shard(task: ShardTask) -> Done:
    with task.build.shard(task.shard) as writer:
        return fill(writer, task.rows, task.pause)


def write_shard_but_four(task: ShardTask) -> Done:
    if task.shard == 4:
        raise ValueError("page 7 is odd")
    return write_shard(task)


def run(
    lake: Lake, shards: int = 6, *, settings: PoolSettings | None = None, pause: float = 0.0, rows: int = 200
) -> StageOutcome:
    build = begin(lake, rows=rows)
    return run_stage(
        build,
        [ShardTask(build, shard, rows, pause) for shard in range(shards)],
        write_shard,
        settings=settings or PoolSettings(workers=1),
        shards_of=lambda task: (task.shard,),
        report=lambda line: print(line, flush=True),
    )


def commit(lake: Lake, shards: int = 3, name: str = "pages", **config: object) -> Dataset:
    """A small committed dataset."""
    build = begin(lake, name, **config)
    for shard in range(shards):
        with build.shard(shard) as writer:
            fill(writer, 20)
    return build.commit(range(shards))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the durations, which are not part of the result."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_timings" not in path.parts
    }


def leftovers(folder: Path) -> list[str]:
    """Files with a temporary name."""
    return [str(path) for path in folder.rglob("*") if path.name.endswith(".tmp")]


@dataclass(frozen=True)
class Racer:
    folder: str
    rows: int
    of: int


def race(racer: Racer) -> str:
    """Write a shard, wait until all racers have theirs, commit it: the digest, or the name of the error."""
    build = begin(Lake.at(racer.folder))
    with build.shard(racer.rows) as writer:
        fill(writer, racer.rows)
    Path(racer.folder, f"ready-{racer.rows}").touch()
    while len(list(Path(racer.folder).glob("ready-*"))) < racer.of:
        time.sleep(0.001)
    try:
        return build.commit([racer.rows]).digest
    except LakeError as error:
        return type(error).__name__


FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.link", "os.remove")
"""What a lake does to its directory, by the names of Python's audit events."""


@dataclass(frozen=True)
class Fatal:
    folder: str
    event: int
    shards: int


def run_until(fatal: Fatal) -> None:
    """Run the stage and kill this very process just before its `event`-th use of a file of the lake."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in FILE_EVENTS and str(arguments[0]).startswith(fatal.folder):
            seen += 1
            if seen == fatal.event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    run(Lake.at(fatal.folder), shards=fatal.shards, rows=20)


def main() -> None:
    """A program with the arguments FOLDER WORKERS PAUSE: say on standard output how it ended."""
    folder, workers, pause = sys.argv[1:]
    pool.PRELOADED.remove("numba")  # half of the start-up, and this stage has no kernels
    outcome = run(
        Lake.at(folder),
        settings=PoolSettings(workers=int(workers), isolated=True, backoff_seconds=0.01),
        pause=float(pause),
    )
    print(f"committed {outcome.dataset.digest} resumed {outcome.resumed_shards}", flush=True)
