"""WARC to `filtered`, every stage and write included, against the bare native loop on the same files; one process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import Loop, bare_loop, throwaway_folder
from benchmarks.crawl import curate
from corpus_dagster.pool import PoolSettings

ROUNDS = 3
"""Rounds in alternation; the best of each side counts, as noise only ever adds time."""


def main(files: Sequence[Path]) -> None:
    """Print both times and their ratio."""
    bare: list[Loop] = []
    whole: list[tuple[float, int]] = []
    with throwaway_folder() as warm:
        curate(files[:1], warm, PoolSettings(workers=1))
    for _ in range(ROUNDS):
        bare.append(bare_loop(files))
        with throwaway_folder() as folder:
            started = time.perf_counter()
            documents = curate(files, folder, PoolSettings(workers=1))
            whole.append((time.perf_counter() - started, documents))
    best = min(bare, key=lambda loop: loop.seconds)
    seconds, documents = min(whole)
    print(f"{len(files)} files, {best.pages:,} HTML pages, {best.bytes / 1e6:,.0f} MB of HTML; best of {ROUNDS} rounds")
    print(f"bare native loop       {best.seconds:8.2f} s  {best.rate:8.1f} pages/s")
    print(f"WARC to filtered       {seconds:8.2f} s  {documents / seconds:8.1f} pages/s")
    print(f"ratio                  {seconds / best.seconds:8.2f}    (target: at most 1.5)")
