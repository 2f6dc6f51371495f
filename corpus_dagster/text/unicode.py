"""Properties of characters under one fixed Unicode version, for kernels over UTF-8 bytes.

`properties` turns text into one uint16 per byte, once; every other kernel reads those instead of decoding.
The tables are package data, made by `corpus_dagster.text.build_tables`; they reach kernels as arguments, so a
cached kernel never holds an old table.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen

UNICODE_VERSION = "15.0.0"
TABLES = Path(__file__).parents[1] / "data" / "unicode-15.0.npz"

WORD_BREAK_CLASSES = (
    "Other",
    "ALetter",
    "Numeric",
    "Hebrew_Letter",
    "Katakana",
    "ExtendNumLet",
    "MidLetter",
    "MidNum",
    "MidNumLet",
    "Single_Quote",
    "Double_Quote",
    "Extend",
    "Format",
    "ZWJ",
    "WSegSpace",
    "CR",
    "LF",
    "Newline",
    "Regional_Indicator",
)
"""Values of the property Word_Break; the low five bits of a property word index this tuple."""

WORD_BREAK_MASK = np.uint16(0x1F)
CONTINUATION = np.uint16(0x1F)
"""The whole property word of a byte that does not begin a character; no flag is set in it."""

PICTOGRAPHIC = np.uint16(1 << 5)
"""Extended_Pictographic."""
ALPHA = np.uint16(1 << 6)
"""`str.isalpha`: general category L*."""
ALNUM = np.uint16(1 << 7)
"""`str.isalnum`: alphabetic, or any Numeric_Type."""
UPPER = np.uint16(1 << 8)
"""`str.isupper` of one character: Uppercase."""
DIGIT = np.uint16(1 << 9)
"""`str.isdigit`: Numeric_Type Decimal or Digit."""
SPACE = np.uint16(1 << 10)
"""`str.isspace`, hence `str.split` and `str.strip`: bidirectional class WS, B or S, or category Zs."""
WORD_CHARACTER = np.uint16(1 << 11)
r"""`\w` of `re`: `str.isalnum` or the underscore."""
WHITE_SPACE = np.uint16(1 << 12)
"""White_Space, which Rust's `char::is_whitespace` asks for; unlike SPACE without U+001C to U+001F."""

BLOCK_BITS = 7
"""Code points share a block of 128: the smallest tables, and ASCII is exactly block 0."""

_BLOCK_MASK = (1 << BLOCK_BITS) - 1
_REPLACEMENT = 0xFFFD


@cache
def tables() -> tuple[Buffer, Buffer]:
    """The two stages: the word of code point c is `values[index[c >> BLOCK_BITS] << BLOCK_BITS | c & 127]`.

    Returns:
        index uint16[8704] and values uint16[128 * blocks], both read-only.
    """
    with np.load(TABLES) as stored:
        return frozen(stored["index"]), frozen(stored["values"])


def code_point_properties() -> Buffer:
    """The property word of every code point, uint16[0x110000]: for tests and tools, not for kernels."""
    index, values = tables()
    return values.reshape(-1, 1 << BLOCK_BITS)[index].reshape(-1)


def properties(data: Buffer) -> Buffer:
    """The property word of the character that begins at each byte, uint16[len(data)].

    Bytes within a character hold CONTINUATION, so characters are counted by comparing with it. A byte that is
    not UTF-8, which Arrow strings never hold, counts as one U+FFFD.
    """
    words = np.empty(len(data), np.uint16)
    classify(frozen(data), *tables(), words)
    return words


@njit(cache=True, nogil=True)
def decode(data, i):
    """Code point and length in bytes of the character at byte i; (U+FFFD, 1) where that is not UTF-8."""
    lead = np.int32(data[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xC2 or lead > 0xF4:
        return np.int32(_REPLACEMENT), 1
    length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if i + length > len(data):
        return np.int32(_REPLACEMENT), 1
    code_point = lead & (0x7F >> length)
    for k in range(1, length):
        byte = np.int32(data[i + k])
        if byte & 0xC0 != 0x80:
            return np.int32(_REPLACEMENT), 1
        code_point = (code_point << 6) | (byte & 0x3F)
    too_short = (length == 3 and code_point < 0x800) or (length == 4 and code_point < 0x10000)
    if too_short or code_point > 0x10FFFF:
        return np.int32(_REPLACEMENT), 1
    return code_point, length


@njit(cache=True, nogil=True)
def classify(data, index, values, out):
    """Kernel of `properties`: `out[i]` for every byte of `data`; `index` and `values` are `tables()`."""
    i = 0
    n = len(data)
    while i < n:
        byte = data[i]
        if byte < 0x80:
            out[i] = values[byte]
            i += 1
        else:
            code_point, length = decode(data, i)
            block = np.int32(index[code_point >> BLOCK_BITS])
            out[i] = values[(block << BLOCK_BITS) | (code_point & _BLOCK_MASK)]
            for k in range(1, length):
                out[i + k] = CONTINUATION
            i += length
