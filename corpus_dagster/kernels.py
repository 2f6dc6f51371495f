"""Compile every text kernel once, so that the first run of a new machine starts warm.

Numba keeps compiled kernels beside the modules (or in NUMBA_CACHE_DIR) and compiles again when a module changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from corpus_dagster.dedup.bloom import BloomFilter, annotate
from corpus_dagster.recipes import model
from corpus_dagster.rules.base import Batch, Texts
from corpus_dagster.text import htmlscan
from corpus_dagster.text.words import count_tokens, count_words

TEXT = "The tide comes in at https://example.com/x and\n\n\nthe boats go out again to the sea."


def compile_all() -> Iterator[tuple[str, float]]:
    """Run each kernel on a line of text; yields names and seconds."""
    texts = Texts.of(pa.array([TEXT, ""], pa.string()))
    url = pl.Series(["https://example.com/", ""], dtype=pl.String)

    def timed(name: str, run: object) -> tuple[str, float]:
        started = time.perf_counter()
        assert callable(run)
        run()
        return name, time.perf_counter() - started

    yield timed("html scan", lambda: htmlscan.measure(b"<p class=x>text</p>"))
    yield timed("words", lambda: (count_words(texts.offsets, texts.data), count_tokens(texts.offsets, texts.data)))
    for recipe in model.shipped().values():
        yield timed(recipe.name, lambda recipe=recipe: recipe.program.run(Batch(texts, url, url)))
        method = recipe.duplicates.settings()
        seen = BloomFilter.create(100, method)
        yield timed("bloom", lambda seen=seen, method=method: annotate(texts.offsets, texts.data, seen, method))
