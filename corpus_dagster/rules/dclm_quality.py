"""What DCLM-Baseline's quality rules count in a document, in one pass over its bytes.

Counts only, so that no precision is lost: a recipe divides and compares. Dialect `dclm`: the words of the
word-count rule are fastText's tokens, those of the other rules are Python's `str.split()`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

from corpus_dagster.schemas import Column
from corpus_dagster.text.arrow import Buffer, blocks, frozen
from corpus_dagster.text.unicode import ALNUM, ALPHA, CONTINUATION, SPACE, properties

DIALECT = "dclm"

COLUMNS = (
    Column("fasttext_words", pa.int32(), "fastText tokens that begin with a letter or digit"),
    Column("words", pa.int32(), "words by Unicode white space"),
    Column("word_chars", pa.int32(), "characters of these words, punctuation included"),
    Column("symbols", pa.int32(), "occurrences of #, ..., . . . and …, each counted by itself, summed"),
    Column("lines", pa.int32(), "lines that are not blank"),
    Column("bullet_lines", pa.int32(), "of these, lines that begin with ●, •, * or -"),
    Column("ellipsis_lines", pa.int32(), "of these, lines that end with ..., . . . or …"),
    Column("non_alpha_words", pa.int32(), "words without any letter"),
    Column("stop_words", pa.int32(), "occurrences of the, be, to, of, and, that, have, with, in any case"),
)
"""The columns of `measure`, in the order of the kernel's output."""

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def measure(offsets: Buffer, data: Buffer) -> dict[str, Buffer]:
    """Count for each of n texts.

    Args:
        offsets: int64[n + 1], ascending positions in `data`.
        data: uint8, UTF-8.

    Returns:
        int32[n] under the name of each of COLUMNS.
    """
    counts = np.zeros((len(COLUMNS), len(offsets) - 1), np.int32)
    for first, last in blocks(offsets):
        start, end = int(offsets[first]), int(offsets[last])
        text = data[start:end]
        _measure(
            frozen(offsets[first : last + 1] - start),
            frozen(text),
            frozen(properties(text)),
            counts[:, first:last],
        )
    return {column.name: counts[i] for i, column in enumerate(COLUMNS)}


def count_fasttext_words(offsets: Buffer, data: Buffer) -> Buffer:
    """The column `fasttext_words` of `measure` alone, int32[n]: for words counted again after an edit."""
    counts = np.zeros(len(offsets) - 1, np.int32)
    for first, last in blocks(offsets):
        start, end = int(offsets[first]), int(offsets[last])
        text = data[start:end]
        _count_fasttext_words(
            frozen(offsets[first : last + 1] - start), frozen(text), frozen(properties(text)), counts[first:last]
        )
    return counts


@njit(cache=True, nogil=True)
def _count_fasttext_words(offsets, data, classes, out):
    """Kernel of `count_fasttext_words`; `classes` are the `unicode.properties` of `data`."""
    for document in range(len(offsets) - 1):
        in_token = False
        words = 0
        for i in range(offsets[document], offsets[document + 1]):
            byte = data[i]
            if byte == _SPACE or _TAB <= byte <= _CARRIAGE_RETURN or byte == 0:
                in_token = False
            elif not in_token:
                in_token = True
                words += (classes[i] & ALNUM) != 0
        out[document] = words


_LOWER_CASE = 0x20
"""The bit that makes an ASCII letter lower-case, and makes no other byte a letter."""
_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))
_SHORTEST_STOP_WORD = min(map(len, STOP_WORDS))
_STOP_WORDS = np.array(sorted(int.from_bytes(word.encode(), "big") for word in STOP_WORDS), np.int64)
"""No character outside ASCII becomes one of their letters in lower case, so bytes suffice."""

_SPACE, _NEWLINE, _HASH, _STAR, _HYPHEN, _DOT = (np.uint8(ord(c)) for c in " \n#*-.")
_CARRIAGE_RETURN, _TAB = np.uint8(0x0D), np.uint8(0x09)
_ELLIPSIS, _BULLET, _BLACK_CIRCLE = (int.from_bytes(c.encode(), "big") for c in "…•●")


@njit(cache=True, nogil=True)
def _three_bytes(data, i, end):
    """The bytes i to i + 3 as one number, 0 at the end: a character of three bytes where one begins at i."""
    if i + 2 >= end:
        return 0
    return (np.int64(data[i]) << 16) | (np.int64(data[i + 1]) << 8) | np.int64(data[i + 2])


@njit(cache=True, nogil=True)
def _is_stop_word(data, start, end):
    key = np.int64(0)
    for i in range(start, end):
        key = (key << 8) | np.int64(data[i] | _LOWER_CASE)
    found = False
    for stop_word in _STOP_WORDS:
        found |= key == stop_word
    return found


@njit(cache=True, nogil=True)
def _ends_with_ellipsis(data, start, end):
    """Whether the stripped line [start, end) ends with one of the three forms."""
    if end - start >= 3:
        if _three_bytes(data, end - 3, end) == _ELLIPSIS:
            return True
        if data[end - 1] == _DOT:
            if data[end - 2] == _DOT and data[end - 3] == _DOT:
                return True
            if end - start >= 5 and data[end - 2] == _SPACE and data[end - 4] == _SPACE:
                return data[end - 3] == _DOT and data[end - 5] == _DOT
    return False


@njit(cache=True, nogil=True)
def _measure(offsets, data, classes, out):
    """Kernel of `measure`; `classes` are the `unicode.properties` of `data`, `out` is int32[columns, n]."""
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        fasttext_words = words = word_chars = symbols = 0
        lines = bullet_lines = ellipsis_lines = alpha_words = stop_words = 0
        in_token = in_word = False
        alpha = False
        word_start = line_end = start
        line_start = np.int64(-1)
        dots = spaced_dots = 0
        # One step past the end closes the last word and line.
        for i in range(start, end + 1):
            closing = i == end
            if not closing:
                kind = classes[i]
                if kind & ALPHA and in_word and in_token:
                    word_chars += 1
                    alpha = True
                    continue
                if kind == CONTINUATION:
                    continue
                byte = data[i]
            else:
                kind, byte = SPACE, _NEWLINE

            if kind & SPACE:
                # fastText splits at ASCII white space alone: another space belongs to a token.
                in_token = byte != _SPACE and not _TAB <= byte <= _CARRIAGE_RETURN
                if in_word:
                    in_word = False
                    line_end = i
                    alpha_words += alpha
                    if _SHORTEST_STOP_WORD <= i - word_start <= _LONGEST_STOP_WORD:
                        stop_words += _is_stop_word(data, word_start, i)
                if byte == _NEWLINE:
                    if line_start >= 0:
                        lines += 1
                        lead = data[line_start]
                        sign = _three_bytes(data, line_start, line_end)
                        bullet_lines += lead in (_STAR, _HYPHEN) or sign in (_BULLET, _BLACK_CIRCLE)
                        ellipsis_lines += _ends_with_ellipsis(data, line_start, line_end)
                    line_start = -1
                continue

            if not in_word:
                in_word = True
                alpha = False
                words += 1
                word_start = i
                if line_start < 0:
                    line_start = i
            word_chars += 1
            alpha |= (kind & ALPHA) != 0
            if byte == 0:
                in_token = False
            elif not in_token:
                in_token = True
                fasttext_words += (kind & ALNUM) != 0
            if byte == _DOT:
                # Occurrences that do not overlap: every third dot of a run.
                dots = dots + 1 if i > start and data[i - 1] == _DOT else 1
                if dots == 3:
                    symbols += 1
                    dots = 0
                linked = i > start + 1 and data[i - 1] == _SPACE and data[i - 2] == _DOT
                spaced_dots = spaced_dots + 1 if linked else 1
                if spaced_dots == 3:
                    symbols += 1
                    spaced_dots = 0
            elif byte == _HASH or (byte == 0xE2 and _three_bytes(data, i, end) == _ELLIPSIS):
                symbols += 1

        out[0, document] = fasttext_words
        out[1, document] = words
        out[2, document] = word_chars
        out[3, document] = symbols
        out[4, document] = lines
        out[5, document] = bullet_lines
        out[6, document] = ellipsis_lines
        out[7, document] = words - alpha_words
        out[8, document] = stop_words
