"""Word boundaries of Unicode Standard Annex 29 (default rules WB1 to WB999, Unicode 15.0), in linear time.

Cuts text into segments and says which of them are words. What a rule counts as a word besides is not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, blocks, frozen
from corpus_dagster.text.unicode import (
    ALNUM,
    CONTINUATION,
    PICTOGRAPHIC,
    UNICODE_VERSION,
    WHITE_SPACE,
    WORD_BREAK_CLASSES,
    WORD_BREAK_MASK,
    properties,
)

TOKENIZER = "uax29"
TOKENIZER_VERSION = UNICODE_VERSION

WORD = np.uint8(1)
"""The segment's first character is alphanumeric: a "UAX-29 word"."""
TOKEN = np.uint8(2)
"""The segment has a character that is not white space: a token of BFF."""

_LARGEST_DOCUMENT = 2**31 - 1
"""Bytes of one document that int32 segment ends can address."""


@dataclass(frozen=True)
class Segments:
    """All segments of a column, document by document; a document's segments cover it without a gap.

    `offsets` int64[n + 1]: the segments of document i are `offsets[i]` to `offsets[i + 1]`;
    `ends` int32[m]: end of each in bytes from its document's start; `kinds` uint8[m]: flags WORD and TOKEN.
    """

    offsets: Buffer
    ends: Buffer
    kinds: Buffer


def segment(offsets: Buffer, data: Buffer, classes: Buffer | None = None) -> Segments:
    """The segments of n texts.

    Args:
        offsets: int64[n + 1], ascending positions in `data`.
        data: uint8, UTF-8.
        classes: `unicode.properties(data)` where the caller has them already.

    Raises:
        ValueError: a document is larger than 2 GB.
    """
    _check_sizes(offsets)
    if classes is None:
        classes = properties(data)
    size = int(offsets[-1] - offsets[0])
    segment_offsets = np.zeros(len(offsets), np.int64)
    ends = np.empty(size, np.int32)
    kinds = np.empty(size, np.uint8)
    _segment(frozen(offsets), frozen(classes), segment_offsets, ends, kinds)
    count = int(segment_offsets[-1])
    return Segments(segment_offsets, ends[:count], kinds[:count])


def count_words(offsets: Buffer, data: Buffer) -> Buffer:
    """UAX-29 words of each text, int32[n]: segments whose first character is alphanumeric."""
    return _count(offsets, data, WORD)


def count_tokens(offsets: Buffer, data: Buffer) -> Buffer:
    """Tokens of each text, int32[n]: segments that are not white space throughout."""
    return _count(offsets, data, TOKEN)


def segments(text: str) -> list[str]:
    """The segments of one text; joined they give it back."""
    # A lone surrogate, which no Arrow string holds, is encoded as it is and counts as Other.
    data = np.frombuffer(text.encode("utf-8"), np.uint8)
    ends = segment(np.array([0, len(data)], np.int64), data).ends
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    return [data[a:b].tobytes().decode("utf-8") for a, b in zip(starts, ends, strict=True)]


def _count(offsets: Buffer, data: Buffer, kind: np.uint8) -> Buffer:
    _check_sizes(offsets)
    counts = np.zeros(len(offsets) - 1, np.int32)
    for first, last in blocks(offsets):
        start, end = int(offsets[first]), int(offsets[last])
        found = segment(offsets[first : last + 1] - start, data[start:end])
        running = np.zeros(len(found.kinds) + 1, np.int64)
        np.cumsum((found.kinds & kind) != 0, out=running[1:])
        counts[first:last] = np.diff(running[found.offsets])
    return counts


def _check_sizes(offsets: Buffer) -> None:
    largest = int(np.diff(offsets).max(initial=0))
    if largest > _LARGEST_DOCUMENT:
        raise ValueError(f"a document of {largest} bytes; expected at most {_LARGEST_DOCUMENT}")


# The rules as an automaton that reads each character once. Its state is the class of the last character that
# counts (WB4 skips Extend, Format and ZWJ), or one of the states below where more must be remembered.
#
# WB6, WB7b and WB12 look ahead: whether "can't" breaks before its apostrophe is known only at the t.
# Instead, the automaton notes the position (DEFER); the next character that counts confirms that there is
# no break (JOIN) or brings it back (BREAK). So no text takes more than one pass.

_BREAK, _JOIN, _DEFER, _IGNORE = range(4)
_ACTION_BITS = 2
_ACTION_MASK = np.uint8((1 << _ACTION_BITS) - 1)

_START = len(WORD_BREAK_CLASSES)
"""Before the first character."""
_LETTER_MID = _START + 1
"""A letter, then a character that joins it to a further letter."""
_NUMBER_MID = _START + 2
"""A digit, then a character that joins it to a further digit."""
_HEBREW_QUOTE = _START + 3
"""A Hebrew letter, then a double quote."""
_FLAG_HALF = _START + 4
"""An even number of regional indicators so far; the class itself stands for an odd number."""
_STATES = _START + 5


def _transitions() -> Buffer:
    """Action and next state, `state << 2 | action`, uint8[32 * states], by `state << 5 | class`."""
    of = {name: i for i, name in enumerate(WORD_BREAK_CLASSES)}
    letters = (of["ALetter"], of["Hebrew_Letter"])
    digit, katakana, connector = of["Numeric"], of["Katakana"], of["ExtendNumLet"]
    hebrew, single, double = of["Hebrew_Letter"], of["Single_Quote"], of["Double_Quote"]
    flag, space = of["Regional_Indicator"], of["WSegSpace"]
    breaks = (of["CR"], of["LF"], of["Newline"], _START)
    skipped = (of["Extend"], of["Format"], of["ZWJ"])

    table = np.zeros((_STATES, 32), np.uint8)
    for state in range(_STATES):
        for kind in range(_START):
            table[state, kind] = kind << _ACTION_BITS | _BREAK  # WB1, WB3a, WB3b, WB999

    def rule(left: tuple[int, ...], right: tuple[int, ...], action: int = _JOIN, to: int | None = None) -> None:
        for state in left:
            for kind in right:
                table[state, kind] = (kind if to is None else to) << _ACTION_BITS | action

    for state in range(_STATES):  # WB4
        if state not in breaks:
            # A space followed by a mark no longer joins the next space (WB3d comes before WB4).
            after = of["Other"] if state == space else state
            rule((state,), skipped, _IGNORE, after)
        else:
            # Nothing to attach to: the mark stands for itself.
            rule((state,), skipped, _BREAK, of["Other"])
    rule((of["CR"],), (of["LF"],))  # WB3
    rule((space,), (space,))  # WB3d
    rule(letters, letters)  # WB5
    rule(letters, (of["MidLetter"], of["MidNumLet"], single), _DEFER, _LETTER_MID)  # WB6
    rule((_LETTER_MID,), letters)  # WB7
    rule((hebrew,), (single,), _JOIN, _LETTER_MID)  # WB7a
    rule((hebrew,), (double,), _DEFER, _HEBREW_QUOTE)  # WB7b
    rule((_HEBREW_QUOTE,), (hebrew,))  # WB7c
    rule((digit,), (digit,))  # WB8
    rule(letters, (digit,))  # WB9
    rule((digit,), letters)  # WB10
    rule((_NUMBER_MID,), (digit,))  # WB11
    rule((digit,), (of["MidNum"], of["MidNumLet"], single), _DEFER, _NUMBER_MID)  # WB12
    rule((katakana,), (katakana,))  # WB13
    rule((*letters, digit, katakana, connector), (connector,))  # WB13a
    rule((connector,), (*letters, digit, katakana))  # WB13b
    rule((flag,), (flag,), _JOIN, _FLAG_HALF)  # WB15, WB16
    return frozen(table.reshape(-1))


_TRANSITIONS = _transitions()
_ZWJ = np.uint16(WORD_BREAK_CLASSES.index("ZWJ"))


@njit(cache=True, nogil=True)
def word_bounds(classes, start, end, ends, kinds, at):
    """Segment the text of bytes [start, end); return the position after its last segment in `ends`.

    Args:
        classes: `unicode.properties` of the bytes.
        start: first byte of the text in `classes`.
        end: byte after its last one.
        ends: int32 scratch; gets each segment's end from `at` on, in bytes from `start`.
        kinds: uint8 scratch alike; gets the flags WORD and TOKEN. Both need `end - start` places at most.
        at: first place to write to.
    """
    state = np.int64(_START)
    begin = start
    pending = np.int64(-1)
    after_zwj = False
    for i in range(start, end):
        word = classes[i]
        if word == CONTINUATION:
            continue
        kind = word & WORD_BREAK_MASK
        step = _TRANSITIONS[(state << 5) | kind]
        action = step & _ACTION_MASK
        state = np.int64(step >> _ACTION_BITS)
        if action == _BREAK:
            if pending >= 0:
                ends[at] = pending - start
                kinds[at] = _kind(classes, begin, pending)
                at += 1
                begin = pending
                pending = -1
            # WB3c keeps an emoji after a joiner in its sequence.
            if i > begin and not (after_zwj and word & PICTOGRAPHIC):
                ends[at] = i - start
                kinds[at] = _kind(classes, begin, i)
                at += 1
                begin = i
        elif action == _JOIN:
            pending = -1
        elif action == _DEFER:
            pending = i
        after_zwj = kind == _ZWJ
    if pending >= 0:
        ends[at] = pending - start
        kinds[at] = _kind(classes, begin, pending)
        at += 1
        begin = pending
    if end > begin:
        ends[at] = end - start
        kinds[at] = _kind(classes, begin, end)
        at += 1
    return at


@njit(cache=True, nogil=True)
def _kind(classes, begin, end):
    """The flags of the segment [begin, end)."""
    if classes[begin] & ALNUM:
        return np.uint8(WORD | TOKEN)
    for i in range(begin, end):
        if classes[i] != CONTINUATION and not classes[i] & WHITE_SPACE:
            return TOKEN
    return np.uint8(0)


@njit(cache=True, nogil=True)
def _segment(offsets, classes, segment_offsets, ends, kinds):
    """Segment all documents; `classes[offsets[i]:offsets[i + 1]]` is the text of document i."""
    at = 0
    for document in range(len(offsets) - 1):
        at = word_bounds(classes, offsets[document], offsets[document + 1], ends, kinds, at)
        segment_offsets[document + 1] = at
