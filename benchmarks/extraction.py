"""F1 of extraction on pages with gold text, where that is beside the checkout: bags of word 4-grams, or snippets."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.common import SHARED
from corpus_dagster.stages.documents import DocumentsSettings, Tally, documents
from corpus_dagster.text.words import segments

TEXT_SETS = ("aeb", "daniel_dev")
"""Sets with the whole gold text of each page."""

SNIPPET_SET = "trafilatura_dev"
"""A set with snippets that must be there, and others that must not."""

NGRAM = 4
PARAGRAPH_TAG = re.compile(r"</?p>")


def main(files: Sequence[Path]) -> None:
    """Print precision, recall and F1 per set: means over its pages, and for snippets over all of them."""
    folder = SHARED / "extraction"
    if not folder.is_dir():
        print("no gold pages beside the checkout: skipped")
        return
    print(f"{'set':<18} {'pages':>6} {'precision':>10} {'recall':>8} {'F1':>8}")
    for name in TEXT_SETS:
        gold = _gold(folder / f"{name}.gold.jsonl.zst")
        found = dict(_texts(folder / f"{name}.warc.gz"))
        scores = [_score(row["text"], found.get(url, "")) for url, row in gold.items()]
        means = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
        print(f"{name:<18} {len(scores):>6} {means[0]:>10.3f} {means[1]:>8.3f} {means[2]:>8.3f}")
    gold = _gold(folder / f"{SNIPPET_SET}.gold.jsonl.zst")
    found = dict(_texts(folder / f"{SNIPPET_SET}.warc.gz"))
    right = sum(snippet in found.get(url, "") for url, row in gold.items() for snippet in row["with"])
    wrong = sum(snippet in found.get(url, "") for url, row in gold.items() for snippet in row["without"])
    wanted = sum(len(row["with"]) for row in gold.values())
    precision, recall = right / (right + wrong), right / wanted
    f1 = 2 * precision * recall / (precision + recall)
    print(f"{SNIPPET_SET:<18} {len(gold):>6} {precision:>10.3f} {recall:>8.3f} {f1:>8.3f}   (snippets)")


def _gold(path: Path) -> dict[str, dict[str, Any]]:
    with pa.input_stream(path, compression="zstd") as stream:
        rows = [json.loads(line) for line in stream.read().split(b"\n") if line.strip()]
    return {row["url"]: row for row in rows}


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    for batch in documents(io.BytesIO(path.read_bytes()), 0, DocumentsSettings(), Tally()):
        yield from zip(batch.column("url").to_pylist(), batch.column("text").to_pylist(), strict=True)


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    # Words by Unicode, so that a language without spaces has them; the gold of one set marks its paragraphs.
    words = [word for word in segments(PARAGRAPH_TAG.sub("\n", text)) if word[0].isalnum()]
    return Counter(tuple(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1)))


def _score(gold: str, found: str) -> tuple[float, float, float]:
    expected, got = _ngrams(gold), _ngrams(found)
    shared = (expected & got).total()
    precision, recall = shared / max(got.total(), 1), shared / max(expected.total(), 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if shared else 0.0
