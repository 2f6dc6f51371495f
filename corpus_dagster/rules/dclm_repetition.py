"""DCLM-Baseline's repetition signals: repeated lines, paragraphs and n-grams, as shares of a document.

Dialect `dclm`: n-grams are of UAX-29 words, all copies of a repeated segment count, and an n-gram that occurs
once is no repetition. Every value is the original's quotient of integers, bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from corpus_dagster.schemas import Column
from corpus_dagster.text.arrow import Buffer, blocks, frozen
from corpus_dagster.text.unicode import CONTINUATION, SPACE, properties
from corpus_dagster.text.words import WORD, segment

DIALECT = "dclm"

TOP_SIZES = (2, 3, 4)
"""Sizes of n-grams whose most frequent one is measured."""
DUPLICATE_SIZES = (5, 6, 7, 8, 9, 10)
"""Sizes of n-grams whose repeated ones are measured together."""

COLUMNS = (
    Column("duplicate_lines", pa.float64(), "share of the non-blank lines that occur more than once"),
    Column("duplicate_paragraphs", pa.float64(), "share of the non-blank paragraphs that occur more than once"),
    Column(
        "duplicate_line_chars",
        pa.float64(),
        "share of the lines' characters in lines that occur more than once",
    ),
    Column("duplicate_paragraph_chars", pa.float64(), "the same share for paragraphs"),
    *(
        Column(f"top_{n}_gram", pa.float64(), f"share of the words' characters in the most frequent {n}-gram")
        for n in TOP_SIZES
    ),
    *(
        Column(f"duplicate_{n}_gram", pa.float64(), f"share of the words' characters in repeated {n}-grams")
        for n in DUPLICATE_SIZES
    ),
)
"""The columns of `measure`, in the order of the kernel's output."""

_LINES, _PARAGRAPHS, _LINE_CHARS, _PARAGRAPH_CHARS, _GRAMS = range(5)
_FIRST_SIZE, _LAST_SIZE = TOP_SIZES[0], DUPLICATE_SIZES[-1]
_LAST_TOP_SIZE = TOP_SIZES[-1]


def measure(offsets: Buffer, data: Buffer) -> dict[str, Buffer]:
    r"""Measure each of n texts.

    Lines are cut at `\n` and paragraphs at exactly `\n\n`, from left to right; each is stripped, and left
    out when empty. With one segment the shares are 0; with none they are 1: the original drops such a
    document. With fewer than n words the n-gram shares are 0. The share of a top n-gram can exceed 1,
    because overlapping occurrences count.

    Args:
        offsets: int64[n + 1], ascending positions in `data`.
        data: uint8, UTF-8.

    Returns:
        float64[n] under the name of each of COLUMNS.
    """
    shares = np.zeros((len(COLUMNS), len(offsets) - 1), np.float64)
    scratch = _scratch(0)
    for first, last in blocks(offsets):
        start, end = int(offsets[first]), int(offsets[last])
        text = frozen(data[start:end])
        inner = frozen(offsets[first : last + 1] - start)
        classes = frozen(properties(text))
        found = segment(inner, text, classes)
        # A newline is a segment, so a document has at most one line more than it has segments.
        entries = int(np.diff(found.offsets).max(initial=0)) + 1
        if entries > len(scratch.starts):
            scratch = _scratch(entries)
        _measure(
            inner,
            text,
            classes,
            found.offsets,
            found.ends,
            found.kinds,
            scratch,
            _PROBES_PER_ENTRY,
            _PROBES_AT_LEAST,
            shares[:, first:last],
        )
    return {column.name: shares[i] for i, column in enumerate(COLUMNS)}


class _Scratch(NamedTuple):
    """Arrays that the kernel works in, kept from block to block; entries are lines or words."""

    table: Buffer
    """int32[at least 2 * entries]: number + 1 of the entry in a slot, 0 where it is free."""
    keys: Buffer
    """uint64, by number: hash of a string, or the pair that names an n-gram."""
    starts: Buffer
    """int64, by number: first byte of a string."""
    sizes: Buffer
    """int64, by number: bytes of a string."""
    counts: Buffer
    """int32, by number: occurrences."""
    chars: Buffer
    """int64[entries + 1]: characters of each line by number, later of all words before each."""
    ids: Buffer
    """int32[entries + 1], by word: number of the n-gram that begins there."""
    positions: Buffer
    """int32: words at which a repeated n-gram begins, in order."""
    budget: Buffer
    """int64[1]: probes left."""


def _scratch(entries: int) -> _Scratch:
    """Room for documents with so many lines or words."""
    size = _table_size(entries)
    return _Scratch(
        table=np.empty(size, np.int32),
        keys=np.empty(entries, np.uint64),
        starts=np.empty(entries, np.int64),
        sizes=np.empty(entries, np.int64),
        counts=np.empty(entries, np.int32),
        chars=np.empty(entries + 1, np.int64),
        ids=np.empty(entries + 1, np.int32),
        positions=np.empty(entries, np.int32),
        budget=np.empty(1, np.int64),
    )


# Strings and n-grams get dense numbers from open-addressing tables: a string by comparing its bytes, an
# n-gram by the pair of numbers of its two (n-1)-grams, which name it exactly. Hashes only say where to look
# and never decide a result. They are fixed, so a page could be built to make them collide and cost
# quadratic time: each attempt has a budget of probes, and a document that spends it starts again with
# another hash.

_ATTEMPTS = 8
"""Hashes tried; the last one without a budget, since a result must come. Ordinary text needs one."""
_PROBES_PER_ENTRY = 64
"""Budget per segment over all tables of a document; half-full ones need about one for each of at most 12."""
_PROBES_AT_LEAST = 1024

_NEWLINE = np.uint8(ord("\n"))

_SALT = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
"""Constants of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose finaliser mixes each eight bytes."""

_8, _27, _30, _31, _32, _64 = (np.uint64(k) for k in (8, 27, 30, 31, 32, 64))
"""Numba makes a float of an unsigned and a signed integer, so bits are shifted by unsigned numbers."""


@njit(cache=True, nogil=True)
def _table_size(entries):
    """The smallest power of two that leaves the table at most half full."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def _mix(value):
    value = (value ^ (value >> _30)) * _MIX_1
    value = (value ^ (value >> _27)) * _MIX_2
    return value ^ (value >> _31)


@njit(cache=True, nogil=True)
def _hash(data, start, size, salt):
    """A 64-bit hash of `size` bytes."""
    value = salt + np.uint64(size)
    i = start
    end = start + size
    while i < end:
        chunk = np.uint64(0)
        shift = np.uint64(0)
        while i < end and shift < _64:
            chunk |= np.uint64(data[i]) << shift
            shift += _8
            i += 1
        value = _mix(value + salt ^ chunk)
    return value


@njit(cache=True, nogil=True)
def _number_of(data, start, size, salt, table, mask, keys, starts, sizes, count, budget):
    """The number of a string: that of an equal one, else `count`, or -1 when the budget is spent.

    `table` holds numbers + 1, 0 where free; `keys`, `starts` and `sizes` describe the strings with a number.
    """
    key = _hash(data, start, size, salt)
    slot = np.int64(key & np.uint64(mask))
    while True:
        number = table[slot] - 1
        if number < 0:
            table[slot] = count + 1
            keys[count] = key
            starts[count] = start
            sizes[count] = size
            return count
        if keys[number] == key and sizes[number] == size:
            other = starts[number]
            same = 0
            while same < size and data[other + same] == data[start + same]:
                same += 1
            if same == size:
                return number
            budget[0] -= same
        budget[0] -= 1
        if budget[0] < 0:
            return -1
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _segments(data, classes, start, end, newlines, salt, scratch):
    """Segments that are not blank, copies among them, characters of all, characters of the copies.

    The text [start, end) is cut wherever `newlines` (1 or 2) newlines stand together. The first number is -1
    when the budget is spent.
    """
    # Unpacked here: an array taken out of a tuple is a counted reference, too slow for an inner loop.
    table, keys, starts, sizes, counts, chars, _, _, budget = scratch
    # No more segments than lines.
    limit = 1
    for i in range(start, end):
        limit += data[i] == _NEWLINE
    size = _table_size(limit)
    table[:size] = 0
    total = total_chars = unique = 0
    i = start
    while i < end:
        # The first and last byte of what is not white space at an end, and the characters in between.
        first = last = np.int64(-1)
        length = trailing = 0
        while i < end:
            word = classes[i]
            if word == CONTINUATION:
                if trailing == 0:
                    last = i
            elif word & SPACE:
                if data[i] == _NEWLINE and (newlines == 1 or (i + 1 < end and data[i + 1] == _NEWLINE)):
                    break
                trailing += 1
            else:
                if first < 0:
                    first = i
                else:
                    length += trailing
                length += 1
                trailing = 0
                last = i
            i += 1
        i += newlines
        if first < 0:
            continue
        number = _number_of(data, first, last + 1 - first, salt, table, size - 1, keys, starts, sizes, unique, budget)
        if number < 0:
            return -1, 0, 0, 0
        if number == unique:
            unique += 1
            counts[number] = 0
            chars[number] = length
        counts[number] += 1
        total += 1
        total_chars += length
    copies = copied_chars = 0
    for number in range(unique):
        if counts[number] > 1:
            copies += counts[number]
            copied_chars += counts[number] * chars[number]
    return total, copies, total_chars, copied_chars


@njit(cache=True, nogil=True)
def _words(data, classes, start, ends, kinds, salt, scratch):
    """Number the words of a document; return how many there are, or -1 when the budget is spent.

    Fills `ids` with the number of each word, `counts` by number, and `chars` with the characters of the words
    before each, so that those of words i to j are `chars[j] - chars[i]`.
    """
    table, keys, starts, sizes, counts, chars, ids, _, budget = scratch
    limit = 0
    for kind in kinds:
        limit += kind & WORD
    size = _table_size(limit)
    table[:size] = 0
    words = unique = 0
    chars[0] = 0
    begin = start
    for k in range(len(ends)):
        end = start + ends[k]
        if kinds[k] & WORD:
            number = _number_of(data, begin, end - begin, salt, table, size - 1, keys, starts, sizes, unique, budget)
            if number < 0:
                return -1
            if number == unique:
                unique += 1
                counts[number] = 0
            counts[number] += 1
            ids[words] = number
            length = 0
            for i in range(begin, end):
                length += classes[i] != CONTINUATION
            chars[words + 1] = chars[words] + length
            words += 1
        begin = end
    return words


@njit(cache=True, nogil=True)
def _grams(words, salt, scratch, document, out):
    """Measure the n-grams of a document for which `_words` has filled the scratch arrays.

    An n-gram can repeat only where both its (n-1)-grams do, so each size looks at what is left of the one
    before: `positions` lists where a repeated (n-1)-gram begins; `ids` numbers it there and is -1 elsewhere.
    Returns False when the budget is spent.
    """
    table, keys, _, _, counts, chars, ids, positions, budget = scratch
    total = chars[words]
    candidates = 0
    for i in range(words):
        if counts[ids[i]] > 1:
            positions[candidates] = i
            candidates += 1
        else:
            ids[i] = -1
    ids[words] = -1
    for n in range(_FIRST_SIZE, _LAST_SIZE + 1):
        if candidates == 0:
            break
        size = _table_size(candidates)
        mask = size - 1
        table[:size] = 0
        unique = 0
        paired = 0
        for c in range(candidates):
            i = positions[c]
            follower = ids[i + 1]
            if follower < 0:
                ids[i] = -1
                continue
            key = (np.uint64(ids[i]) << _32) | np.uint64(follower)
            slot = np.int64(_mix(key + salt) & np.uint64(mask))
            while True:
                number = table[slot] - 1
                if number < 0:
                    number = unique
                    table[slot] = number + 1
                    keys[number] = key
                    counts[number] = 0
                    unique += 1
                    break
                if keys[number] == key:
                    break
                budget[0] -= 1
                if budget[0] < 0:
                    return False
                slot = (slot + 1) & mask
            counts[number] += 1
            ids[i] = number
            positions[paired] = i
            paired += 1
        candidates = 0
        most = longest = 0
        covered = 0
        covered_to = np.int64(0)
        for c in range(paired):
            i = positions[c]
            count = counts[ids[i]]
            if count < 2:
                ids[i] = -1
                continue
            positions[candidates] = i
            candidates += 1
            if n <= _LAST_TOP_SIZE:
                length = chars[i + n] - chars[i]
                if count > most:
                    most = count
                    longest = length
                elif count == most and length > longest:
                    longest = length
            else:
                covered += chars[i + n] - chars[max(np.int64(i), covered_to)]
                covered_to = np.int64(i + n)
        measured = longest * most if n <= _LAST_TOP_SIZE else covered
        out[_GRAMS + n - _FIRST_SIZE, document] = measured / total
    return True


@njit(cache=True, nogil=True)
def _measure(offsets, data, classes, segment_offsets, ends, kinds, scratch, probes_per_entry, probes_at_least, out):
    """Kernel of `measure`: fills `out`, float64[columns, n] of zeros; returns the hashes given up."""
    given_up = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        first, last = segment_offsets[document], segment_offsets[document + 1]
        attempt = 0
        done = False
        while not done:
            attempt += 1
            salt = _SALT * np.uint64(attempt)
            scratch.budget[0] = probes_per_entry * (last - first) + probes_at_least
            if attempt == _ATTEMPTS:
                scratch.budget[0] = np.iinfo(np.int64).max
            done = True
            for newlines in range(1, 3):
                total, copies, total_chars, copied_chars = _segments(data, classes, start, end, newlines, salt, scratch)
                if total < 0:
                    done = False
                    break
                out[_LINES + newlines - 1, document] = copies / total if total else 1.0
                out[_LINE_CHARS + newlines - 1, document] = copied_chars / total_chars if total else 1.0
            if done:
                words = _words(data, classes, start, ends[first:last], kinds[first:last], salt, scratch)
                done = words >= 0 and _grams(words, salt, scratch, document, out)
        given_up += attempt - 1
    return given_up
