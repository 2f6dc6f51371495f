r"""Line rules of RefinedWeb, as DCLM applies them to the whole text: seven edits in turn, as deletions.

Each edit cuts the text at "\n", drops lines or deletes phrases, and joins what is left; all but the
line-length edit then strip the text. Source: the line-wise corrections of RefinedWeb (Penedo et al. 2023) as
DCLM reads them. Only spans are found here; whether a document lost too much is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen
from corpus_dagster.text.spans import Spans, append_labelled, compose, delete, grown
from corpus_dagster.text.unicode import (
    CONTINUATION,
    DIGIT,
    SPACE,
    UPPER,
    WORD_CHARACTER,
    classify,
    decode,
    tables,
)

LABELS = (
    "uppercase",
    "numeric",
    "counter",
    "line_length",
    "items_in_cart",
    "read_more",
    "sign_in",
    "strip",
)
"""Names of the span labels, by number: the seven edits in their order, and what is stripped after them."""

_UPPERCASE, _NUMERIC, _COUNTER, _LINE_LENGTH, _ITEMS_IN_CART, _READ_MORE, _SIGN_IN, _STRIP = np.arange(len(LABELS))
_LARGEST_DOCUMENT = 2**31 - 1
"""Bytes that the int32 positions of lines can address."""
_KEPT = np.int64(-1)
"""NumPy integers, not Python's: Numba compiles a kernel again for each literal that it is called with."""

COUNTED = (
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
)
"""What a counter line counts."""


@dataclass(frozen=True)
class LineSettings:
    """Limits of the line rules; the defaults are those of DCLM-Baseline.

    Attributes:
        max_uppercase: a line with a larger share of upper-case characters is dropped.
        max_numeric: a line with a larger share of digits is dropped; just below 1 means "all digits".
        min_words: a line of fewer words, as `str.split` cuts them, is dropped unless it is empty.
        short_line_words: phrases are deleted only from lines of at most so many words.
    """

    max_uppercase: float = 0.5
    max_numeric: float = 0.999999
    min_words: int = 2
    short_line_words: int = 10


def find(offsets: Buffer, data: Buffer, settings: LineSettings | None = None) -> tuple[Spans, Buffer]:
    r"""Spans that the seven edits delete, and which documents they leave empty.

    A dropped line is deleted with the newline after it, or with the one before where it is the last. The
    phrases match as with Python's `re.IGNORECASE`, which takes "ı" and "İ" for i and "ſ" for s.

    Args:
        offsets: int64[n + 1] into `data`.
        data: uint8 UTF-8 bytes.
        settings: limits; default those of DCLM-Baseline.

    Returns:
        Spans labelled by position in LABELS, and bool[n]: nothing is left, for which the original drops the
        document.

    Raises:
        ValueError: a document is larger than 2 GB.
    """
    if len(offsets) > 1 and (largest := int(np.diff(offsets).max())) > _LARGEST_DOCUMENT:
        raise ValueError(f"a document of {largest} bytes; expected at most {_LARGEST_DOCUMENT}")
    settings = settings or LineSettings()
    limits = (
        float(settings.max_uppercase),
        float(settings.max_numeric),
        settings.min_words,
        settings.short_line_words,
    )
    offsets, data = frozen(offsets), frozen(data)
    # The phrase "items in cart" may stand within a line. Its edit is the last of the first pass, so that in
    # each of the two passes a line is one piece of text.
    *found, _ = _edit(offsets, data, *tables(), *limits, _UPPERCASE, _READ_MORE)
    first = Spans.filled(*found)
    *found, emptied = _edit(*delete(offsets, data, first), *tables(), *limits, _READ_MORE, _STRIP)
    return compose(first, Spans.filled(*found)), emptied


_DECIMAL_ZEROS = np.array(
    [
        *(0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6),
        *(0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80),
        *(0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0),
        *(0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650),
        *(0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16A60, 0x16AC0, 0x16B50),
        *(0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E950, 0x1FBF0),
    ],
    np.int32,
)
r"""Zeros of Unicode 15.0's decimal digits: `\d` is these and the nine after each. DIGIT is wider ("²")."""


_WORDS_OF_RULES = (*COUNTED, "items in cart", "read more", "sign-in")
_LETTERS = np.frombuffer("".join(_WORDS_OF_RULES).encode(), np.uint8)
_WORD_BOUNDS = np.cumsum([0, *map(len, _WORDS_OF_RULES)])
"""The words and phrases to look for: word w is `_LETTERS[_WORD_BOUNDS[w]:_WORD_BOUNDS[w + 1]]`."""
_ITEMS_IN_CART_WORD, _READ_MORE_WORD, _SIGN_IN_WORD = np.arange(len(COUNTED), len(_WORDS_OF_RULES))
_READ_MORE_BYTES = len("read more")

# A line is a row of int32: where it lies in the document, and what was counted in it.
_START, _END, _BREAK, _CHARS, _UPPER, _DIGITS, _WORDS = range(7)
_LINE_FIELDS = 7
"""_BREAK is the newline after the line; characters stripped since may lie before it."""


@njit(cache=True, nogil=True)
def _mark(marks, start, end, label):
    for i in range(start, end):
        marks[i] = label


@njit(cache=True, nogil=True)
def _drop(lines, first, last, dropped, marks, label):
    """Take the lines flagged in `dropped` out of [first, last), and their newlines; the new `last`."""
    kept = first
    for k in range(first, last):
        if dropped[k]:
            _mark(marks, np.int64(lines[k, _START]), np.int64(lines[k, _END]), label)
            if k < last - 1:
                marks[lines[k, _BREAK]] = label
            elif kept > first:
                marks[lines[kept - 1, _BREAK]] = label
        else:
            for field in range(_LINE_FIELDS):
                lines[kept, field] = lines[k, field]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _strip(lines, first, last, classes, marks):
    """Strip the text of white space on both sides; the lines left are [first, last)."""
    while first < last:
        begin = start = np.int64(lines[first, _START])
        end = np.int64(lines[first, _END])
        while start < end and (classes[start] & SPACE or classes[start] == CONTINUATION):
            lines[first, _CHARS] -= classes[start] != CONTINUATION
            start += 1
        _mark(marks, begin, start, _STRIP)
        lines[first, _START] = start
        if start < end:
            break
        if first < last - 1:
            marks[lines[first, _BREAK]] = _STRIP
        first += 1
    while first < last:
        start, stop = np.int64(lines[last - 1, _START]), np.int64(lines[last - 1, _END])
        end = i = stop
        while i > start:
            i -= 1
            if classes[i] & SPACE:
                end = i
                lines[last - 1, _CHARS] -= 1
            elif classes[i] != CONTINUATION:
                break
        _mark(marks, end, stop, _STRIP)
        lines[last - 1, _END] = end
        if start < end:
            break
        # The first line is not blank, so there is one before this.
        marks[lines[last - 2, _BREAK]] = _STRIP
        last -= 1
    return first, last


@njit(cache=True, nogil=True)
def _sizes(offsets, data):
    """Most bytes and most lines of any document."""
    longest = lines = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        newlines = 0
        for i in range(start, end):
            newlines += data[i] == 10
        longest = max(longest, end - start)
        lines = max(lines, newlines + 1)
    return longest, lines


@njit(cache=True, nogil=True)
def _split(lines, text):
    """Cut a text at its newlines; the number of lines."""
    count = 0
    begin = 0
    for i in range(len(text) + 1):
        if i == len(text) or text[i] == 10:
            lines[count, _START], lines[count, _END], lines[count, _BREAK] = begin, i, i
            count += 1
            begin = i + 1
    return count


@njit(cache=True, nogil=True)
def _count(lines, k, classes):
    """Fill in the counts of line k; `classes` are the property words of the document."""
    chars = upper = digits = words = 0
    in_word = False
    for i in range(lines[k, _START], lines[k, _END]):
        flags = classes[i]
        if flags == CONTINUATION:
            continue
        chars += 1
        upper += flags & UPPER != 0
        digits += flags & DIGIT != 0
        space = flags & SPACE != 0
        words += not in_word and not space
        in_word = not space
    lines[k, _CHARS], lines[k, _UPPER], lines[k, _DIGITS], lines[k, _WORDS] = chars, upper, digits, words


@njit(cache=True, nogil=True)
def _is_decimal(text, i, flags):
    r"""`\d`: a decimal digit begins at byte i; `flags` is the character's property word."""
    if text[i] < 0x80 or not flags & DIGIT:
        return flags & DIGIT != 0
    code_point, _ = decode(text, i)
    for zero in _DECIMAL_ZEROS:  # noqa: SIM110 - Numba knows no generators here
        if zero <= code_point < zero + 10:
            return True
    return False


@njit(cache=True, nogil=True)
def _folded(text, i, end, any_case):
    """ASCII letter that the character at byte i stands for, and its length; (0, 1) where it is another.

    `any_case` folds as `re.IGNORECASE` compares, otherwise as `str.lower` maps.
    """
    byte = text[i]
    if byte < 0x80:
        return (byte | 0x20 if 65 <= byte <= 90 else byte), 1
    if any_case and i + 1 < end:
        if byte == 0xC4 and (text[i + 1] == 0xB0 or text[i + 1] == 0xB1):
            return np.uint8(105), 2  # U+0130, U+0131: i
        if byte == 0xC5 and text[i + 1] == 0xBF:
            return np.uint8(115), 2  # U+017F: s
    if i + 2 < end and byte == 0xE2 and text[i + 1] == 0x84 and text[i + 2] == 0xAA:
        return np.uint8(107), 3  # U+212A: k
    return np.uint8(0), 1


@njit(cache=True, nogil=True)
def _match(text, i, end, word, any_case):
    """Byte after word number `word` where it stands at byte i, or -1."""
    for letter in range(_WORD_BOUNDS[word], _WORD_BOUNDS[word + 1]):
        if i >= end:
            return -1
        found, length = _folded(text, i, end, any_case)
        if found != _LETTERS[letter]:
            return -1
        i += length
    return i


@njit(cache=True, nogil=True)
def _is_counter(text, classes, start, end):
    r"""^\W*\d(?:,|\.|\d)*(?:K|k|M|m|B|b)?\s+(?:likes|...)\W*$ in the line in lower case.

    No two parts of it can begin with the same character, so there is nothing to try twice. Of the characters
    that `str.lower` maps to ASCII, U+212A can stand in a match and U+0130 cannot.
    """
    i = start
    while i < end and not classes[i] & WORD_CHARACTER:
        i += 1
    if i == end or not _is_decimal(text, i, classes[i]):
        return False
    while i < end and (
        classes[i] == CONTINUATION or text[i] == 44 or text[i] == 46 or _is_decimal(text, i, classes[i])
    ):
        i += 1
    if i == end:
        return False
    unit, length = _folded(text, i, end, False)
    if unit == 107 or unit == 109 or unit == 98:
        i += length
    spaces = i
    while i < end and (classes[i] & SPACE or (i > spaces and classes[i] == CONTINUATION)):
        i += 1
    if i == spaces:
        return False
    for word in range(_ITEMS_IN_CART_WORD):
        after_word = _match(text, i, end, word, False)
        if after_word >= 0:
            for k in range(after_word, end):  # noqa: SIM110
                if classes[k] & WORD_CHARACTER:
                    return False
            return True
    return False


@njit(cache=True, nogil=True)
def _space_before(classes, i, floor):
    """Where the white-space character before byte i begins, or i where there is none from `floor` on."""
    begin = i - 1
    while begin > floor and classes[begin] == CONTINUATION:
        begin -= 1
    return begin if begin >= floor and classes[begin] & SPACE else i


@njit(cache=True, nogil=True)
def _delete_items_in_cart(text, classes, start, end, marks):
    r"""`\s?items in cart`, anywhere in the line: delete each match; whether only white space is left."""
    floor = start
    i = start
    blank = True
    while i < end:
        stop = -1
        if text[i] | 0x20 == 105 or text[i] == 0xC4:  # what may stand for i, see `_folded`
            stop = _match(text, i, end, _ITEMS_IN_CART_WORD, True)
        if stop < 0:
            blank = blank and (classes[i] & SPACE or classes[i] == CONTINUATION)
            i += 1
        else:
            _mark(marks, _space_before(classes, i, floor), stop, _ITEMS_IN_CART)
            i = floor = stop
    return blank


@njit(cache=True, nogil=True)
def _delete_read_more(text, classes, lines, k, marks):
    r"""`\s?read more...$`, whose dots take any three characters: delete it; whether it was there."""
    start, end = np.int64(lines[k, _START]), np.int64(lines[k, _END])
    i = end
    for _ in range(3):
        i -= 1
        while i > start and classes[i] == CONTINUATION:
            i -= 1
    i -= _READ_MORE_BYTES
    if i < start or _match(text, i, end, _READ_MORE_WORD, True) < 0:
        return False
    begin = _space_before(classes, i, start)
    _mark(marks, begin, end, _READ_MORE)
    lines[k, _END] = begin
    return True


@njit(cache=True, nogil=True)
def _delete_sign_in(text, classes, lines, k, marks):
    r"""`^sign-in\s?`: delete it; whether it was there."""
    start, end = np.int64(lines[k, _START]), np.int64(lines[k, _END])
    stop = _match(text, start, end, _SIGN_IN_WORD, True)
    if stop < 0:
        return False
    if stop < end and classes[stop] & SPACE:
        stop += 1
        while stop < end and classes[stop] == CONTINUATION:
            stop += 1
    _mark(marks, start, stop, _SIGN_IN)
    lines[k, _START] = stop
    return True


@njit(cache=True, nogil=True)
def _emit(marks, length, starts, ends, labels, first):
    """Append the runs of one label in `marks` as spans from `first` on; their end, or -1 for lack of room."""
    count = first
    i = 0
    while i < length:
        label = marks[i]
        begin = i
        while i < length and marks[i] == label:
            i += 1
        if label != _KEPT:
            count = append_labelled(starts, ends, labels, first, count, begin, i, label)
            if count < 0:
                return count
    return count


@njit(cache=True, nogil=True)
def _edit(offsets, data, index, values, max_uppercase, max_numeric, min_words, short_line_words, from_edit, to_edit):
    """Spans of the edits [from_edit, to_edit), and which documents the last of them leaves empty.

    An edit's strip is left to the next edit; the last edit of all does its own.
    """
    longest, most_lines = _sizes(offsets, data)
    classes = np.empty(longest, np.uint16)
    marks = np.empty(longest, np.int8)
    lines = np.empty((most_lines, _LINE_FIELDS), np.int32)
    dropped = np.empty(most_lines, np.bool_)
    emptied = np.zeros(len(offsets) - 1, np.bool_)
    span_offsets = np.zeros(len(offsets), np.int64)
    starts = np.empty(64, np.int64)
    ends = np.empty(64, np.int64)
    labels = np.empty(64, np.int8)
    for document in range(len(offsets) - 1):
        text = data[offsets[document] : offsets[document + 1]]
        classify(text, index, values, classes)
        _mark(marks, np.int64(0), len(text), _KEPT)
        first = np.int64(0)
        last = _split(lines, text)
        for k in range(last):
            _count(lines, k, classes)
        for edit in range(from_edit, to_edit):
            if edit != _UPPERCASE and edit != _ITEMS_IN_CART:
                first, last = _strip(lines, first, last, classes, marks)
            _judge(
                text,
                classes,
                edit,
                max_uppercase,
                max_numeric,
                min_words,
                short_line_words,
                lines,
                first,
                last,
                marks,
                dropped,
            )
            last = _drop(lines, first, last, dropped, marks, edit)
        if to_edit == _STRIP:
            first, last = _strip(lines, first, last, classes, marks)
        emptied[document] = first == last
        count = _emit(marks, len(text), starts, ends, labels, span_offsets[document])
        while count < 0:
            starts, ends, labels = grown(starts), grown(ends), grown(labels)
            count = _emit(marks, len(text), starts, ends, labels, span_offsets[document])
        span_offsets[document + 1] = count
    return span_offsets, starts, ends, labels, emptied


@njit(cache=True, nogil=True)
def _judge(
    text,
    classes,
    edit,
    max_uppercase,
    max_numeric,
    min_words,
    short_line_words,
    lines,
    first,
    last,
    marks,
    dropped,
):
    """Which of the lines [first, last) the edit drops; phrases it deletes from the others."""
    for k in range(first, last):
        chars, words = lines[k, _CHARS], lines[k, _WORDS]
        start, end = np.int64(lines[k, _START]), np.int64(lines[k, _END])
        drop = False
        if chars == 0:
            pass
        elif edit == _UPPERCASE:
            drop = lines[k, _UPPER] / chars > max_uppercase
        elif edit == _NUMERIC:
            drop = lines[k, _DIGITS] / chars > max_numeric
        elif edit == _COUNTER:
            # A counter has a digit, and white space between two words.
            drop = lines[k, _DIGITS] > 0 and words > 1
            drop = drop and _is_counter(text, classes, start, end)
        elif edit == _LINE_LENGTH:
            drop = words < min_words
        elif words > short_line_words:
            pass
        elif edit == _ITEMS_IN_CART:
            drop = _delete_items_in_cart(text, classes, start, end, marks)
        elif (
            _delete_read_more(text, classes, lines, k, marks)
            if edit == _READ_MORE
            else _delete_sign_in(text, classes, lines, k, marks)
        ):
            _count(lines, k, classes)
            drop = lines[k, _WORDS] == 0
        dropped[k] = drop
