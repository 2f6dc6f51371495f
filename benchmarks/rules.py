"""Gopher quality and repetition signals against datatrove's filters, on the same texts, one core each.

datatrove is not a dependency. Name a Python that has it (`pip install "datatrove[processing]" spacy`) in
DATATROVE_PYTHON; without one only our side is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks.common import throwaway_folder
from benchmarks.crawl import CRAWL, curate
from corpus_dagster.lake import Lake
from corpus_dagster.pool import PoolSettings
from corpus_dagster.rules import dclm_quality, dclm_repetition
from corpus_dagster.rules.base import Texts

ENGLISH_TEXTS = 2000
"""Texts compared: enough for a steady ratio, few enough for the slower side."""

PEER = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
texts = json.load(open(sys.argv[1]))
filters = [GopherRepetitionFilter(), GopherQualityFilter()]
for f in filters:
    f.filter(Document(text=texts[0], id="warm"))
started = time.perf_counter()
for i, text in enumerate(texts):
    for f in filters:
        f.filter(Document(text=text, id=str(i)))
print(time.perf_counter() - started)
"""


def main(files: Sequence[Path]) -> None:
    """Print both times and the ratio."""
    with throwaway_folder() as folder:
        curate(files[:2], folder, PoolSettings(workers=1))
        lake = Lake.at(folder / "lake")
        dataset = lake.require("documents", CRAWL)
        texts = [
            row["text"]
            for shard in dataset.shards
            for row in dataset.read(shard, columns=["text", "language", "words"]).to_pylist()
            if row["language"] == "en" and row["words"] >= 50
        ][:ENGLISH_TEXTS]
    column = Texts.of(pa.array(texts, pa.string()))
    for measure in (dclm_quality.measure, dclm_repetition.measure):
        measure(column.offsets, column.data)
    rounds = 5
    started = time.perf_counter()
    for _ in range(rounds):
        dclm_quality.measure(column.offsets, column.data)
        dclm_repetition.measure(column.offsets, column.data)
    ours = (time.perf_counter() - started) / rounds
    chars = sum(map(len, texts))
    print(f"{len(texts):,} English texts of {chars / len(texts):,.0f} characters on average")
    print(
        f"ours         {ours * 1000 / len(texts):9.4f} ms/document  {ours * 5e6 / chars:8.4f} ms per 5,000 characters"
    )
    theirs = _peer(texts)
    if theirs is None:
        print("datatrove    not installed here: see the docstring of benchmarks/rules.py")
        return
    print(f"datatrove    {theirs * 1000 / len(texts):9.4f} ms/document")
    print(f"ratio        {theirs / ours:9.1f}    (target: at least 50)")


def _peer(texts: list[str]) -> float | None:
    python = os.environ.get("DATATROVE_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts), "utf-8")
        done = subprocess.run([python, "-c", PEER, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named 'datatrove'" not in done.stderr:
            print(done.stderr[-2000:], file=sys.stderr)
        return None
    return float(done.stdout.strip().splitlines()[-1])
