"""Bloom deduplication: decisions are those of an exact set, the filter keeps its promised rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import bloom as reference
from reference.columns import after, assigned, column, rows

from corpus_dagster.dedup.bloom import (
    Annotation,
    BloomFilter,
    BloomSettings,
    annotate,
    count_ngrams,
    text_hashes,
)

# A false positive of this rate in some hundred n-grams would be a failure of the hashes.
EXACT = BloomSettings(false_positive_rate=1e-9)


def run(texts: list[str], bloom_settings: BloomSettings, bloom: BloomFilter | None = None) -> Annotation:
    text = column(texts)
    if bloom is None:
        bloom = BloomFilter.create(int(count_ngrams(*text, bloom_settings).sum()), bloom_settings)
    return annotate(*text, bloom, bloom_settings)


def decisions(annotation: Annotation) -> list[reference.Decision]:
    found = rows(annotation.spans)
    return [
        reference.Decision(int(n), int(s), bool(d), r)
        for n, s, d, r in zip(annotation.ngrams, annotation.seen, annotation.document, found, strict=True)
    ]


def tokens(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{i}" for i in range(count))


A, B, C = tokens("a", 15), tokens("b", 5), tokens("c", 20)


def test_worked_vectors() -> None:
    changed = A.rsplit(" ", 1)[0] + " other"
    texts = [f"{A}\n{B}", f"{A}\n{B}", f"{A}\n{C}", changed]
    found = run(texts, EXACT)
    assert found.ngrams.tolist() == [3, 3, 11, 3]
    assert found.seen.tolist() == [0, 3, 3, 2]
    assert found.document.tolist() == [False, True, False, False]
    assert after(texts, found.spans) == [texts[0], f"\n{B}", f"\n{C}", changed]
    assert found.removed_bytes.tolist() == [0, len(A), len(A), 0]


def test_a_paragraph_repeated_within_a_document_is_removed_but_not_within_a_paragraph() -> None:
    texts = [f"{A}\n{A}", f"{C} {C}"]
    found = run(texts, EXACT)
    assert (found.seen.tolist(), found.ngrams.tolist()) == ([3, 0], [6, 28])
    assert after(texts, found.spans) == [A, texts[1]]
    assert not found.document.any()


small = st.builds(
    lambda sizes, threshold: BloomSettings(min(sizes), max(sizes), threshold, 1e-9),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([0.0, 0.5, 2 / 3, 0.8, 1.0]),
)
text = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "a b c", " ", "\n", "\n", "\r\n", "\x1c", "é", "don't", ".", "日本"]),
        assigned,
    ),
    max_size=16,
).map(" ".join)


@settings(deadline=None, max_examples=400)
@given(st.lists(text, max_size=6), small)
def test_decisions_are_those_of_an_exact_set(texts: list[str], bloom_settings: BloomSettings) -> None:
    expected = reference.annotate(texts, set(), bloom_settings)
    assert decisions(run(texts, bloom_settings)) == expected
    assert count_ngrams(*column(texts), bloom_settings).tolist() == [d.ngrams for d in expected]


@settings(deadline=None)
@given(st.lists(text, max_size=6), st.integers(0, 6), small)
def test_batches_do_not_change_decisions(texts: list[str], cut: int, bloom_settings: BloomSettings) -> None:
    total = int(count_ngrams(*column(texts), bloom_settings).sum())
    whole, parts = (BloomFilter.create(total, bloom_settings) for _ in range(2))
    at_once = run(texts, bloom_settings, whole)
    in_parts = [run(part, bloom_settings, parts) for part in (texts[:cut], texts[cut:])]
    assert decisions(at_once) == [d for part in in_parts for d in decisions(part)]
    assert np.array_equal(whole.bits, parts.bits)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_the_false_positive_rate_of_a_full_filter_is_the_configured_one(rate: float) -> None:
    bloom_settings = BloomSettings(false_positive_rate=rate)
    count, queries = 50_000, 400_000
    full = BloomFilter.create(count, bloom_settings)
    assert run([tokens("x", count + 12)], bloom_settings, full).ngrams.tolist() == [count]
    found = run([tokens("y", queries + 12)], bloom_settings, full)
    # Within a tenth, and for the rarest within four standard deviations of as many trials.
    spread = max(0.1, 4 / np.sqrt(rate * queries))
    assert found.seen[0] / queries == pytest.approx(rate, rel=spread)


def test_the_expected_and_the_measured_rate_agree_when_the_filter_is_full() -> None:
    bloom_settings = BloomSettings()
    bloom = BloomFilter.create(50_000, bloom_settings)
    assert bloom.measured_false_positive_rate == 0
    assert bloom.expected_false_positive_rate == pytest.approx(0.01, rel=0.01)
    run([tokens("x", 50_012)], bloom_settings, bloom)
    assert bloom.measured_false_positive_rate == pytest.approx(bloom.expected_false_positive_rate, rel=0.05)


def test_a_filter_held_small_says_that_its_rate_is_higher() -> None:
    bloom = BloomFilter.create(1_000_000, BloomSettings(max_filter_bytes=1 << 16))
    assert bloom.bits.nbytes == 1 << 16
    assert bloom.hashes == 1
    assert bloom.expected_false_positive_rate > 0.8


def test_the_same_seed_gives_the_same_filter_and_another_seed_another() -> None:
    filters = []
    for seed in (7, 7, 8):
        bloom_settings = replace(EXACT, seed=seed)
        bloom = BloomFilter.create(20, bloom_settings)
        run([A, C], bloom_settings, bloom)
        filters.append(bloom.bits)
    assert np.array_equal(filters[0], filters[1])
    assert not np.array_equal(filters[0], filters[2])


def test_the_bits_of_a_filter_are_the_same_on_every_machine_and_version() -> None:
    bloom = BloomFilter.create(11, BloomSettings())
    run([f"{A}\n{C}"], BloomSettings(), bloom)
    assert bloom.bits.tolist() == FROZEN_BITS


FROZEN_BITS = [6822359830943084196, 3359960401073]


@pytest.mark.parametrize(
    "changed",
    [
        {"ngram_min": 0},
        {"ngram_min": 14},
        {"false_positive_rate": 0.0},
        {"false_positive_rate": 1.0},
        {"max_filter_bytes": 1 << 40},
        {"seed": -1},
    ],
)
def test_settings_without_a_meaning_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        BloomSettings(**changed)  # pyright: ignore[reportArgumentType]


def test_text_hashes_are_the_digests_of_the_utf8_bytes() -> None:
    # The first value is XXH3-128 of no bytes, as published with the algorithm's test vectors.
    hashes = text_hashes(["", "é", b"\xc3\xa9"])
    assert hashes[0].hex() == "99aa06d3014798d86001c324468d497f"
    assert hashes[1] == hashes[2]
    assert [len(h) for h in hashes] == [16, 16, 16]
