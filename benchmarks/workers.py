"""WARC to `filtered` with two workers against one, on the same files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import throwaway_folder
from benchmarks.crawl import curate
from corpus_dagster.pool import PoolSettings

ROUNDS = 1
"""Rounds; a longer crawl (`--repeat`) says more than another round."""


def main(files: Sequence[Path]) -> None:
    """Print both times and the speed-up."""
    best: dict[int, float] = {}
    with throwaway_folder() as warm:
        curate(files[:1], warm, PoolSettings(workers=1))
    for _ in range(ROUNDS):
        for workers in (1, 2):
            with throwaway_folder() as folder:
                started = time.perf_counter()
                curate(files, folder, PoolSettings(workers=workers))
                best[workers] = min(best.get(workers, float("inf")), time.perf_counter() - started)
    print(f"{len(files)} files; best of {ROUNDS} round")
    print(f"1 worker   {best[1]:8.2f} s")
    print(f"2 workers  {best[2]:8.2f} s")
    print(f"speed-up   {best[1] / best[2]:8.2f}    (target: at least 1.8 on two idle cores)")
