r"""Web addresses inside text: names under a known top-level domain, then IPv4 addresses, as deletions.

The meaning is that of DCLM's URL removal (its two patterns, applied in turn, in Python's `re` dialect); only
the spans are found here, in linear time, and nothing is deleted.

    1. \s{0,10}(?:((https?|ftp)://))?[-a-zA-Z0-9@:%._\+~#=]{1,256}\.(TLD)\b([-a-zA-Z0-9()@:%_\+.~#?&//=]*)
    2. \s{0,10}\b((https?|ftp)://)?(?:[0-2]?[0-9]{1,2}\.){3}[0-2]?[0-9]{1,2}[-a-zA-Z0-9()@:%_\+.~#?&//=]*

The second runs over what the first leaves. Two differences from the published program, both deliberate: that
program applies the first pattern only to texts that *begin* with the name of a top-level domain, because it
asks `match` where `search` was meant (`published_guard=True` does the same); and its list writes
internationalised names in their own script, where ours has their ASCII form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen
from corpus_dagster.text.spans import Spans, append_span, compose, delete, grown
from corpus_dagster.text.unicode import BLOCK_BITS, SPACE, WORD_CHARACTER, decode, tables

MAX_LEADING_SPACES = 10
"""White space taken along before an address, at most."""
MAX_NAME_CHARACTERS = 256
"""Characters before the dot of the top-level domain, at most."""

_NAME = 1
_TAIL = 2
_DIGIT = 4
_LABEL = 8
_WORD = 16


def _ascii_classes() -> Buffer:
    digits, lower, upper = "0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    members = {
        _NAME: digits + lower + upper + "-@:%._+~#=",
        _TAIL: digits + lower + upper + "-()@:%_+.~#?&/=",
        _DIGIT: digits,
        _LABEL: digits + lower + "-",
        _WORD: digits + lower + upper + "_",
    }
    classes = np.zeros(256, np.uint8)
    for flag, characters in members.items():
        classes[np.frombuffer(characters.encode(), np.uint8)] |= flag
    return classes


_CLASSES = _ascii_classes()
"""What an ASCII character may be in the two patterns; compiled into the kernels."""

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


@dataclass(frozen=True, eq=False)
class _Names:
    """A hash table of names: each of the 2^k `slots` (int32) holds 1 + a position in `offsets`, or 0."""

    slots: Buffer
    offsets: Buffer
    data: Buffer
    longest: int


@cache
def top_level_domains() -> tuple[str, ...]:
    """The top-level domains that ship with the project: lower case, ASCII, sorted."""
    text = (files("corpus_dagster") / "data" / "tlds.txt").read_text(encoding="ascii")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def names_digest() -> str:
    """SHA-256 of the shipped list, for the fingerprint of what it decides."""
    return hashlib.sha256("\n".join(top_level_domains()).encode()).hexdigest()


def find(
    offsets: Buffer,
    data: Buffer,
    *,
    tlds: Iterable[str] | None = None,
    published_guard: bool = False,
) -> Spans:
    """Spans of the web addresses in each text, with the white space before them.

    Args:
        offsets: int64[n + 1] into `data`.
        data: uint8 UTF-8 bytes.
        tlds: top-level domains, matched case-sensitively; default `top_level_domains()`.
        published_guard: look for names only in texts that begin with a top-level domain, as the published
            program does; IPv4 addresses are looked for in every text.

    Raises:
        ValueError: a top-level domain is not lower-case ASCII letters, digits and inner hyphens.
    """
    offsets, data = frozen(offsets), frozen(data)
    names = _table(top_level_domains() if tlds is None else tuple(sorted(set(tlds))))
    index, values = tables()
    by_name = Spans.filled(
        *_find_names(
            offsets,
            data,
            index,
            values,
            names.slots,
            names.offsets,
            names.data,
            names.longest,
            published_guard,
        )
    )
    by_number = Spans.filled(*_find_ipv4(*delete(offsets, data, by_name), index, values))
    return compose(by_name, by_number)


@cache
def _table(names: tuple[str, ...]) -> _Names:
    for name in names:
        plain = name.isascii() and name.replace("-", "a").isalnum() and name == name.lower()
        if not plain or name.startswith("-") or name.endswith("-"):
            raise ValueError(
                f"top-level domain {name!r}: expected lower-case ASCII letters, digits and inner hyphens "
                "(internationalised names in their xn-- form, without the dot)"
            )
    encoded = [name.encode() for name in names]
    offsets = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    # At most a quarter full: nearly every lookup of a word that is no name ends at its first slot.
    size = 1 << (4 * len(names)).bit_length()
    slots = np.zeros(size, np.int32)
    for position, name in enumerate(encoded):
        code = int(_FNV_OFFSET)
        for byte in name:
            code = (code ^ byte) * int(_FNV_PRIME) % 2**64
        slot = (code ^ (code >> 32)) % size
        while slots[slot]:
            slot = (slot + 1) % size
        slots[slot] = position + 1
    data = np.frombuffer(b"".join(encoded), np.uint8)
    return _Names(frozen(slots), frozen(offsets), frozen(data), max(map(len, encoded), default=0))


@njit(cache=True, nogil=True)
def _is_name(data, start, end, code, slots, name_offsets, name_data):
    """Whether data[start:end], whose FNV-1a code is `code`, is in the table."""
    mask = np.uint64(len(slots) - 1)
    slot = (code ^ (code >> np.uint64(32))) & mask
    while slots[slot]:
        first = name_offsets[slots[slot] - 1]
        last = name_offsets[slots[slot]]
        if last - first == end - start:
            same = True
            for k in range(end - start):
                if name_data[first + k] != data[start + k]:
                    same = False
                    break
            if same:
                return True
        slot = (slot + np.uint64(1)) & mask
    return False


@njit(cache=True, nogil=True)
def _flags_at(data, i, index, values):
    """Property word of the character that begins at byte i."""
    code_point, _ = decode(data, i)
    block = np.int64(index[code_point >> BLOCK_BITS])
    return values[(block << BLOCK_BITS) | (code_point & ((1 << BLOCK_BITS) - 1))]


@njit(cache=True, nogil=True)
def _before(data, i, floor):
    """First byte of the character that ends before byte i."""
    i -= 1
    while i > floor and data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit(cache=True, nogil=True)
def _is_word_at(data, i, end, index, values):
    """Whether a word character begins at byte i."""
    if i >= end:
        return False
    if data[i] < 0x80:
        return _CLASSES[data[i]] & _WORD != 0
    return _flags_at(data, i, index, values) & WORD_CHARACTER != 0


@njit(cache=True, nogil=True)
def _take_spaces(data, i, floor, index, values):
    """Start of the white space, at most ten characters of it, that ends before byte i."""
    for _ in range(MAX_LEADING_SPACES):
        if i <= floor:
            break
        previous = _before(data, i, floor)
        if _flags_at(data, previous, index, values) & SPACE == 0:
            break
        i = previous
    return i


@njit(cache=True, nogil=True)
def _take_scheme(data, i, floor):
    """Start of `http://`, `https://` or `ftp://` that ends before byte i, or i."""
    if i - floor < 6 or data[i - 1] != 47 or data[i - 2] != 47 or data[i - 3] != 58:
        return i
    j = i - 3
    if data[j - 1] == 115:  # https
        j -= 1
    if j - floor >= 4 and data[j - 4] == 104 and data[j - 3] == 116 and data[j - 2] == 116:
        return j - 4 if data[j - 1] == 112 else i
    if j == i - 3 and data[j - 3] == 102 and data[j - 2] == 116 and data[j - 1] == 112:
        return j - 3
    return i


@njit(cache=True, nogil=True)
def _take_tail(data, i, end):
    """End of the run of address characters from byte i."""
    while i < end and _CLASSES[data[i]] & _TAIL:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _has_top_level_domain(data, start, end, index, values, slots, name_offsets, name_data, longest):
    r"""Whether a listed name begins at byte `start` and ends at a word boundary."""
    code = _FNV_OFFSET
    limit = min(end, start + longest)
    i = start
    while i < limit and _CLASSES[data[i]] & _LABEL:
        code = (code ^ np.uint64(data[i])) * _FNV_PRIME
        i += 1
        # Names end in a word character, so the boundary is a character after them that is none.
        if not _is_word_at(data, i, end, index, values) and _is_name(
            data, start, i, code, slots, name_offsets, name_data
        ):
            return True
    return False


@njit(cache=True, nogil=True)
def _begins_with_name(data, start, end, slots, name_offsets, name_data, longest):
    code = _FNV_OFFSET
    for i in range(start, min(end, start + longest)):
        code = (code ^ np.uint64(data[i])) * _FNV_PRIME
        if _is_name(data, start, i + 1, code, slots, name_offsets, name_data):
            return True
    return False


@njit(cache=True, nogil=True)
def _find_names(offsets, data, index, values, slots, name_offsets, name_data, longest, guard):
    span_offsets = np.zeros(len(offsets), np.int64)
    starts = np.empty(64, np.int64)
    ends = np.empty(64, np.int64)
    for document in range(len(offsets) - 1):
        base, end = offsets[document], offsets[document + 1]
        count = -1
        while count < 0:
            first = span_offsets[document]
            count = _find_names_in(
                data,
                base,
                end,
                index,
                values,
                slots,
                name_offsets,
                name_data,
                longest,
                guard,
                starts,
                ends,
                first,
            )
            if count < 0:
                starts, ends = grown(starts), grown(ends)
        span_offsets[document + 1] = count
    return span_offsets, starts, ends


@njit(cache=True, nogil=True)
def _find_names_in(data, base, end, index, values, slots, name_offsets, name_data, longest, guard, starts, ends, first):
    """The first pattern in one document: spans from position `first` on; their end, or -1 for lack of room.

    Every character of a name, of a top-level domain and of a scheme may also stand in the tail, and the tail
    is greedy. So a match that holds a dot always ends where the run of tail characters round that dot ends,
    whichever name matched; and it begins at the earliest place from which the run's first dot with a listed
    name behind it can be reached.
    """
    if guard and not _begins_with_name(data, base, end, slots, name_offsets, name_data, longest):
        return first
    count = first
    floor = base
    dot = base
    while dot < end:
        if data[dot] != 46 or not _has_top_level_domain(
            data, dot + 1, end, index, values, slots, name_offsets, name_data, longest
        ):
            dot += 1
            continue
        reach = max(floor, dot - MAX_NAME_CHARACTERS)
        start = dot
        while start > reach and _CLASSES[data[start - 1]] & _NAME:
            start -= 1
        if start == dot:
            dot += 1
            continue
        if start == floor or not _CLASSES[data[start - 1]] & _NAME:
            start = _take_spaces(data, _take_scheme(data, start, floor), floor, index, values)
        floor = dot = _take_tail(data, dot, end)
        count = append_span(starts, ends, first, count, start - base, floor - base)
        if count < 0:
            return count
    return count


@njit(cache=True, nogil=True)
def _is_ipv4(data, start, end):
    """Whether three groups of one to three digits and a dot, and one more digit, begin at byte `start`."""
    i = start
    for _ in range(3):
        first = i
        while i < end and i - first < 4 and _CLASSES[data[i]] & _DIGIT:
            i += 1
        # Of three digits the first is the optional [0-2].
        if i == first or i - first > 3 or (i - first == 3 and data[first] > 50):
            return False
        if i == end or data[i] != 46:
            return False
        i += 1
    return i < end and _CLASSES[data[i]] & _DIGIT != 0


@njit(cache=True, nogil=True)
def _find_ipv4(offsets, data, index, values):
    span_offsets = np.zeros(len(offsets), np.int64)
    starts = np.empty(64, np.int64)
    ends = np.empty(64, np.int64)
    for document in range(len(offsets) - 1):
        base, end = offsets[document], offsets[document + 1]
        count = -1
        while count < 0:
            first = span_offsets[document]
            count = _find_ipv4_in(data, base, end, index, values, starts, ends, first)
            if count < 0:
                starts, ends = grown(starts), grown(ends)
        span_offsets[document + 1] = count
    return span_offsets, starts, ends


@njit(cache=True, nogil=True)
def _find_ipv4_in(data, base, end, index, values, starts, ends, first):
    """The second pattern in one document; an address begins at a word boundary, or at a scheme that does."""
    count = first
    floor = base
    i = base
    while i < end:
        if not _CLASSES[data[i]] & _DIGIT:
            i += 1
            continue
        digits = i
        while i < end and _CLASSES[data[i]] & _DIGIT:
            i += 1
        if i == end or data[i] != 46 or i - digits > 3:
            continue
        if digits > base and _is_word_at(data, _before(data, digits, base), end, index, values):
            continue
        if not _is_ipv4(data, digits, end):
            continue
        start = _take_scheme(data, digits, floor)
        if start > base and _is_word_at(data, _before(data, start, base), end, index, values):
            start = digits
        start = _take_spaces(data, start, floor, index, values)
        floor = i = _take_tail(data, digits, end)
        count = append_span(starts, ends, first, count, start - base, floor - base)
        if count < 0:
            return count
    return count
