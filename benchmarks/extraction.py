"""F1 of extraction on pages with gold text, where the shared folder is there: bags of word 4-grams, as usually reported."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks.common import SHARED
from corpus_dagster.extraction import ExtractionSettings, Extractor
from corpus_dagster.warc import Capture, read_records

SETS = ("aeb", "daniel_dev", "readability", "trafilatura_dev")
NGRAM = 4


def main(files: Sequence[Path]) -> None:
    """Print precision, recall and F1 per set, averaged over its pages."""
    folder = SHARED / "extraction"
    if not folder.is_dir():
        print("no gold pages beside the checkout: skipped")
        return
    print(f"{'set':<18} {'pages':>6} {'precision':>10} {'recall':>8} {'F1':>8}")
    for name in SETS:
        gold = _gold(folder / f"{name}.gold.jsonl.zst")
        scores = [_score(gold[url], text) for url, text in _texts(folder / f"{name}.warc.gz") if url in gold]
        means = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
        print(f"{name:<18} {len(scores):>6} {means[0]:>10.3f} {means[1]:>8.3f} {means[2]:>8.3f}")


def _gold(path: Path) -> dict[str, str]:
    with pa.input_stream(path, compression="zstd") as stream:
        rows = [json.loads(line) for line in stream.read().split(b"\n") if line.strip()]
    return {row["url"]: row["text"] for row in rows if row.get("text")}


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    extractor = Extractor(ExtractionSettings())
    for record in read_records(io.BytesIO(path.read_bytes()), path.name):
        if isinstance(record, Capture):
            yield record.url, extractor.extract(record).text


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter(tuple(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1)))


def _score(gold: str, found: str) -> tuple[float, float, float]:
    expected, got = _ngrams(gold), _ngrams(found)
    shared = (expected & got).total()
    precision, recall = shared / max(got.total(), 1), shared / max(expected.total(), 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if shared else 0.0
