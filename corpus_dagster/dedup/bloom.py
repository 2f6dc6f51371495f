r"""Paragraph and document deduplication by a Bloom filter of n-grams: BFF, mode `old-both`.

Annotates only: spans of duplicated paragraphs and flags of duplicated documents. Which documents share a
filter, and in which order they come, is the caller's decision and part of the result.

Meaning, after the tool of Groeneveld et al. in DCLM's version: tokens are UAX-29 segments that are not white
space; paragraphs are the text cut before each "\n". A paragraph whose n-grams were in the filter before it,
to a share above the threshold, is removed; the n-grams of any other go into the filter at once. A document
whose n-grams were in the filter to a share above the threshold is removed as a whole, although its kept
paragraphs stay in the filter. Unlike the tool, hashes are fixed by a seed and documents are taken in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xxhash
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen
from corpus_dagster.text.spans import Spans, append_span, deleted_bytes, grown
from corpus_dagster.text.unicode import classify, tables
from corpus_dagster.text.words import TOKEN, word_bounds

MAX_FILTER_BYTES = 1 << 33
"""8 GiB: bit positions are scaled from 56 bits of hash in 64-bit arithmetic, exact up to 2^36 bits."""

_WORD_BITS = 64


@dataclass(frozen=True)
class BloomSettings:
    """What the method does; the defaults are those of DCLM-Baseline.

    Attributes:
        ngram_min: tokens of the shortest n-gram; a paragraph with fewer is never removed nor remembered.
        ngram_max: tokens of an n-gram; a paragraph with fewer, but `ngram_min`, counts as one short n-gram.
        threshold: a paragraph or document with a larger share of n-grams seen before is removed.
        false_positive_rate: of a filter that holds all the n-grams it was made for.
        max_filter_bytes: the largest filter; with more n-grams its false-positive rate rises.
        seed: of the hash functions.
    """

    ngram_min: int = 13
    ngram_max: int = 13
    threshold: float = 0.8
    false_positive_rate: float = 0.01
    max_filter_bytes: int = 1 << 30
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.ngram_min <= self.ngram_max:
            raise ValueError(
                f"ngram_min {self.ngram_min}, ngram_max {self.ngram_max}; expected 1 <= minimum <= maximum"
            )
        if not 0 < self.false_positive_rate < 1:
            raise ValueError(f"false_positive_rate is {self.false_positive_rate}; expected a value inside (0, 1)")
        if not _WORD_BITS // 8 <= self.max_filter_bytes <= MAX_FILTER_BYTES:
            raise ValueError(f"max_filter_bytes is {self.max_filter_bytes}; expected 8 to {MAX_FILTER_BYTES}")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed is {self.seed}; expected an unsigned 64-bit number")


@dataclass(frozen=True, eq=False)
class BloomFilter:
    """A set of n-grams that may say yes wrongly and never no wrongly. `annotate` writes into it.

    Attributes:
        bits: uint64[ceil(size / 64)], the filter itself.
        size: bits in use, m.
        hashes: bit positions of an n-gram, k.
        expected_ngrams: what the filter was made for, n.
    """

    bits: Buffer
    size: int
    hashes: int
    expected_ngrams: int

    @classmethod
    def create(cls, expected_ngrams: int, settings: BloomSettings) -> BloomFilter:
        """An empty filter for so many n-grams.

        Bloom 1970, in the usual form: m = ceil(-n ln p / (ln 2)^2) bits, not rounded to a power of two, or as
        many as `max_filter_bytes` allows; k = (m / n) ln 2 to the nearest whole number, at least 1. For
        p = 0.01 that is 7.
        """
        wanted = math.ceil(-expected_ngrams * math.log(settings.false_positive_rate) / math.log(2) ** 2)
        size = max(_WORD_BITS, min(wanted, 8 * settings.max_filter_bytes))
        hashes = max(1, round(min(size, wanted) / max(1, expected_ngrams) * math.log(2)))
        bits = np.zeros(-(-size // _WORD_BITS), np.uint64)
        return cls(bits, size, hashes, expected_ngrams)

    @property
    def expected_false_positive_rate(self) -> float:
        """Of the filter with all its n-grams: (1 - exp(-k n / m))^k."""
        return (1 - math.exp(-self.hashes * self.expected_ngrams / self.size)) ** self.hashes

    @property
    def bits_set(self) -> int:
        """Bits that are set."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    @property
    def fill(self) -> float:
        """Share of the bits that are set."""
        return self.bits_set / self.size

    @property
    def measured_false_positive_rate(self) -> float:
        """Of the filter as it is: fill^k, what the chance is that k positions are all set."""
        return self.fill**self.hashes


@dataclass(frozen=True, eq=False)
class Annotation:
    """What deduplication found in n documents.

    Attributes:
        ngrams: int64[n], n-grams of each document.
        seen: int64[n], n-grams that the filter held before their paragraph.
        document: bool[n], the whole document is a duplicate.
        spans: duplicated paragraphs, each with the newline before it; neighbours are one span.
        removed_bytes: int64[n], bytes in those spans.
    """

    ngrams: Buffer
    seen: Buffer
    document: Buffer
    spans: Spans
    removed_bytes: Buffer


def count_ngrams(offsets: Buffer, data: Buffer, settings: BloomSettings) -> Buffer:
    """int64[n]: n-grams of each document, the sum of which a filter is made for."""
    counts = np.zeros(len(offsets) - 1, np.int64)
    _count_ngrams(frozen(offsets), frozen(data), *tables(), settings.ngram_min, settings.ngram_max, counts)
    return counts


def annotate(offsets: Buffer, data: Buffer, bloom: BloomFilter, settings: BloomSettings) -> Annotation:
    """Find duplicates among documents and the filter's content, document by document, in order.

    Kept paragraphs are added to `bloom`. Annotating a column in pieces, with one filter, gives the same as
    annotating it at once.

    Args:
        offsets: int64[n + 1] into `data`.
        data: uint8 UTF-8 bytes.
        bloom: holds the n-grams of earlier documents; changed.
        settings: those the filter was made with.
    """
    documents = len(offsets) - 1
    ngrams = np.zeros(documents, np.int64)
    seen = np.zeros(documents, np.int64)
    duplicate = np.zeros(documents, np.bool_)
    found = _annotate(
        frozen(offsets),
        frozen(data),
        *tables(),
        settings.ngram_min,
        settings.ngram_max,
        float(settings.threshold),
        np.uint64(settings.seed),
        bloom.bits,
        np.uint64(bloom.size),
        bloom.hashes,
        ngrams,
        seen,
        duplicate,
    )
    spans = Spans.filled(*found)
    return Annotation(ngrams, seen, duplicate, spans, deleted_bytes(spans))


def text_hashes(texts: Iterable[str | bytes]) -> list[bytes]:
    """128-bit XXH3 of each text's UTF-8 bytes, 16 bytes each in big-endian order."""
    return [xxhash.xxh3_128_digest(text.encode() if isinstance(text, str) else text) for text in texts]


_NEWLINE = 10
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio, odd: sets apart lengths and the two hashes of an n-gram."""
_BASE = np.uint64(0xD6E8FEB86659FD93)
"""Base of the rolling hash; odd, so that no token's bits are lost under its powers."""


@njit(cache=True, nogil=True)
def _mix(x):
    """Bijective 64-bit mixing: the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    x ^= x >> np.uint64(30)
    x *= _MIX_1
    x ^= x >> np.uint64(27)
    x *= _MIX_2
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _hash_token(data, begin, end, seed):
    """64-bit hash of the bytes [begin, end), eight at a time."""
    code = seed + np.uint64(end - begin) * _GOLDEN
    block = np.uint64(0)
    shift = np.uint64(0)
    for i in range(begin, end):
        block |= np.uint64(data[i]) << shift
        shift += np.uint64(8)
        if shift == np.uint64(64):
            code = _mix(code ^ block)
            block = shift = np.uint64(0)
    return _mix(code ^ block)


@njit(cache=True, nogil=True)
def _paragraph_end(data, begin, end):
    """Where the paragraph that begins at `begin` ends: before the next newline after its first byte."""
    i = begin + 1
    while i < end and data[i] != _NEWLINE:
        i += 1
    return min(i, end)


@njit(cache=True, nogil=True)
def _longest_paragraph(offsets, data):
    longest = 0
    for document in range(len(offsets) - 1):
        begin = offsets[document]
        while begin < offsets[document + 1]:
            end = _paragraph_end(data, begin, offsets[document + 1])
            longest = max(longest, end - begin)
            begin = end
    return longest


@njit(cache=True, nogil=True)
def _segment(data, begin, end, index, values, classes, ends, kinds):
    """Segments of one paragraph, into `ends` and `kinds`; their number."""
    classify(data[begin:end], index, values, classes)
    return word_bounds(classes, np.int64(0), end - begin, ends, kinds, np.int64(0))


@njit(cache=True, nogil=True)
def _number_of_ngrams(tokens, ngram_min, ngram_max):
    if tokens < ngram_min:
        return 0
    return max(1, tokens - ngram_max + 1)


@njit(cache=True, nogil=True)
def _count_ngrams(offsets, data, index, values, ngram_min, ngram_max, counts):
    longest = _longest_paragraph(offsets, data)
    classes = np.empty(longest, np.uint16)
    ends = np.empty(longest, np.int32)
    kinds = np.empty(longest, np.uint8)
    for document in range(len(offsets) - 1):
        begin = offsets[document]
        while begin < offsets[document + 1]:
            end = _paragraph_end(data, begin, offsets[document + 1])
            segments = _segment(data, begin, end, index, values, classes, ends, kinds)
            tokens = 0
            for segment in range(segments):
                tokens += kinds[segment] & TOKEN != 0
            counts[document] += _number_of_ngrams(tokens, ngram_min, ngram_max)
            begin = end


@njit(cache=True, nogil=True)
def _hash_ngrams(data, begin, ends, kinds, segments, ngram_min, ngram_max, seed, tokens, ngrams):
    """Hashes of the n-grams of one paragraph, into `ngrams`; their number. `tokens` is scratch."""
    count = 0
    start = begin
    for segment in range(segments):
        end = begin + ends[segment]
        if kinds[segment] & TOKEN:
            tokens[count] = _hash_token(data, start, end, seed)
            count += 1
        start = end
    total = _number_of_ngrams(count, ngram_min, ngram_max)
    size = min(count, ngram_max)
    # code = sum of token[j] * BASE^(size - 1 - j) over the window, modulo 2^64.
    code = np.uint64(0)
    leaving = np.uint64(1)
    for j in range(size):
        code = code * _BASE + tokens[j]
        leaving *= _BASE
    salt = np.uint64(size) * _GOLDEN
    for ngram in range(total):
        if ngram > 0:
            code = code * _BASE + tokens[ngram + size - 1] - tokens[ngram - 1] * leaving
        ngrams[ngram] = _mix(code + salt)
    return total


@njit(cache=True, nogil=True)
def _position(code, size):
    """floor(size * code / 2^64), from the upper 56 bits of the code: uniform over [0, size), size <= 2^36."""
    upper = code >> np.uint64(36)
    lower = (code >> np.uint64(8)) & np.uint64(0xFFFFFFF)
    return (upper * size + (lower * size >> np.uint64(28))) >> np.uint64(28)


@njit(cache=True, nogil=True)
def _contains(bits, size, hashes, code):
    # Double hashing (Kirsch and Mitzenmacher 2006): position i is that of code + i * step.
    step = _mix(code ^ _GOLDEN) | np.uint64(1)
    for _ in range(hashes):
        position = _position(code, size)
        if not (bits[position >> np.uint64(6)] >> (position & np.uint64(63))) & np.uint64(1):
            return False
        code += step
    return True


@njit(cache=True, nogil=True)
def _insert(bits, size, hashes, code):
    step = _mix(code ^ _GOLDEN) | np.uint64(1)
    for _ in range(hashes):
        position = _position(code, size)
        bits[position >> np.uint64(6)] |= np.uint64(1) << (position & np.uint64(63))
        code += step


@njit(cache=True, nogil=True)
def _is_duplicate(seen, total, threshold):
    """A share strictly above the threshold; nothing of nothing is no duplicate."""
    return total > 0 and seen / total > threshold


@njit(cache=True, nogil=True)
def _visit(ngrams, total, threshold, bits, size, hashes):
    """N-grams of a paragraph in the filter; inserts them all unless the paragraph is a duplicate."""
    seen = 0
    for k in range(total):
        seen += _contains(bits, size, hashes, ngrams[k])
    if not _is_duplicate(seen, total, threshold):
        for k in range(total):
            _insert(bits, size, hashes, ngrams[k])
    return seen


@njit(cache=True, nogil=True)
def _annotate(
    offsets,
    data,
    index,
    values,
    ngram_min,
    ngram_max,
    threshold,
    seed,
    bits,
    size,
    hashes,
    ngrams,
    seen,
    duplicate,
):
    longest = _longest_paragraph(offsets, data)
    classes = np.empty(longest, np.uint16)
    segment_ends = np.empty(longest, np.int32)
    kinds = np.empty(longest, np.uint8)
    tokens = np.empty(longest, np.uint64)
    codes = np.empty(longest, np.uint64)
    span_offsets = np.zeros(len(offsets), np.int64)
    starts = np.empty(64, np.int64)
    ends = np.empty(64, np.int64)
    for document in range(len(offsets) - 1):
        base = begin = offsets[document]
        first = count = span_offsets[document]
        while begin < offsets[document + 1]:
            end = _paragraph_end(data, begin, offsets[document + 1])
            segments = _segment(data, begin, end, index, values, classes, segment_ends, kinds)
            total = _hash_ngrams(data, begin, segment_ends, kinds, segments, ngram_min, ngram_max, seed, tokens, codes)
            found = _visit(codes, total, threshold, bits, size, hashes)
            ngrams[document] += total
            seen[document] += found
            if _is_duplicate(found, total, threshold):
                if count == len(starts):
                    starts, ends = grown(starts), grown(ends)
                count = append_span(starts, ends, first, count, begin - base, end - base)
            begin = end
        duplicate[document] = _is_duplicate(seen[document], ngrams[document], threshold)
        span_offsets[document + 1] = count
    return span_offsets, starts, ends
