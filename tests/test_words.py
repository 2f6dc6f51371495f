"""Word boundaries of UAX 29."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import uniseg.wordbreak
from hypothesis import given
from hypothesis import strategies as st
from reference import uax29
from reference.strategies import BY_CLASS, buffers, mixed_text, texts

from corpus_dagster.text import unicode, words

CONFORMANCE_TEST = Path("/usr/share/unicode/auxiliary/WordBreakTest.txt")

VECTORS = [
    "",
    "a",
    "can't| |stop",
    "rock'n|'| |roll",
    "'|quoted|'",
    "a|'",
    "a|'|'|b",
    "3.14|,| |1,000.50|.",
    "3|.|a",
    "a|.|3",
    "a.b.c|.",
    "x|:|1",
    "x:y",
    "1|:",
    "1;2|;",
    "under_score_9",
    "_a_",
    "a|-|b",
    "e|-|mail| |me|@|example.org",
    "\r\n|\n|\r|\r\n|\u0085|\u2028",
    "a|\r\n|b",
    "two|  |spaces",
    "a|\u00a0|\u00a0|b",
    "a|\t|\t|b",
    " |\u00a0| ",
    " \u0301| |a",
    "\u0301|a",
    "\n|\u0301|a",
    "e\u0301te\u0301",
    "a\u00adb",
    "a\u0301'\u0301b\u0301",
    "a\u0301|'\u0301| |b",
    "\u65e5|\u672c|\u8a9e",
    "\u3072|\u3089",
    "\u30ab\u30bf\u30ab\u30ca_a",
    "\u30ab|1",
    "\ud55c\uad6d\uc5b4| |\ub9d0",
    "\u05d0\u05f3|.",
    "\u05d0'",
    "\u05d0'\u05d0",
    "\u05d0'a",
    "\u05d0'|1",
    '\u05d0"\u05d1',
    '\u05d0|"|a',
    '\u05d0|"',
    'a|"|b',
    "\U0001f1e9\U0001f1ea|\U0001f1eb\U0001f1f7|\U0001f1ec",
    "\U0001f1e9\u0301\U0001f1ea|\U0001f1eb",
    "a|\U0001f1e9\U0001f1ea|b",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467|\U0001f600",
    "\U0001f44d\U0001f3fd|!",
    "a\u200d\U0001f600",
    "a|:\u200d\U0001f600",
    "a\u200d|\u65e5",
    "\u200d\U0001f600",
    "a:\u24c2",
    "a\u202fb",
    "\u0e44|\u0e17|\u0e22",
    "\0|\0|a",
]
"""Text with its boundaries at `|`, by hand from the rules."""


@pytest.mark.parametrize("marked", VECTORS)
def test_boundaries_by_hand(marked) -> None:
    expected = marked.split("|") if marked else []
    assert words.segments("".join(expected)) == expected


def test_unicodes_conformance_vectors() -> None:
    if not CONFORMANCE_TEST.is_file():
        pytest.skip(f"no conformance test at {CONFORMANCE_TEST}")
    lines = CONFORMANCE_TEST.read_text(encoding="utf-8").splitlines()
    if f"-{unicode.UNICODE_VERSION}." not in lines[0]:
        pytest.skip(f"{CONFORMANCE_TEST} is of another Unicode version")
    cases = [line.split("#")[0].strip(" \t\u00f7") for line in lines]
    cases = [
        ["".join(chr(int(code, 16)) for code in part.replace("\u00d7", " ").split()) for part in case.split("\u00f7")]
        for case in cases
        if case
    ]
    assert len(cases) > 1000
    assert [case for case in cases if words.segments("".join(case)) != case] == []


def test_every_triple_of_classes_agrees_with_the_rules() -> None:
    members = [group[0] for group in BY_CLASS.values()] + ["\U0001f600", "\u24c2"]
    for triple in product(members, repeat=3):
        text = "".join(triple)
        assert words.segments(text) == uax29.segments(text), ascii(text)


@given(st.lists(st.sampled_from(sorted(BY_CLASS)).flatmap(lambda c: st.sampled_from(BY_CLASS[c]))).map("".join))
def test_sequences_of_classes_agree_with_the_rules(text) -> None:
    assert words.segments(text) == uax29.segments(text)


@given(texts)
def test_random_text_agrees_with_the_rules(text) -> None:
    assert words.segments(text) == uax29.segments(text)


def _alike_in_uniseg() -> list[str]:
    """Characters whose properties are the same in uniseg's Unicode version."""
    spelled = {name.replace("_", "").lower(): name for name in unicode.WORD_BREAK_CLASSES}
    return [
        c
        for name, members in BY_CLASS.items()
        for c in members
        if spelled.get(uniseg.wordbreak.word_break(c).value.replace("_", "").lower()) == name
        and uniseg.wordbreak.extended_pictographic(c) == uax29.is_pictographic(c)
    ]


ALIKE = _alike_in_uniseg()


@given(st.lists(st.sampled_from(ALIKE), max_size=30).map("".join))
def test_agrees_with_uniseg(text) -> None:
    assert words.segments(text) == list(uniseg.wordbreak.words(text))


@pytest.mark.parametrize(
    ("text", "count", "tokens"),
    [
        ("It's 5 o'clock... don't e-mail john.doe@x.org (50%)!", 9, 18),
        ("state-of-the-art U.S. $3.50 #1 http://a.b/c?d=e", 12, 24),
        ("Hello\u2026world \u2014 \u201cquoted\u201d text", 4, 8),
        ("na\u00efve caf\u00e9 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", 7, 7),
        ("", 0, 0),
        (" \n\t\u00a0\u2028 ", 0, 0),
        ("\x1c", 0, 1),  # white space to Python, not to Unicode
        (" \u0301", 0, 1),
    ],
)
def test_counts(text, count, tokens) -> None:
    assert words.count_words(*buffers([text])).tolist() == [count]
    assert words.count_tokens(*buffers([text])).tolist() == [tokens]


@given(st.lists(mixed_text, max_size=8))
def test_counts_are_those_of_the_segments(column) -> None:
    expected = [uax29.segments(text) for text in column]
    flags = [[uax29.flag(s[0], unicode.ALNUM) for s in segments] for segments in expected]
    seen = [[not all(uax29.flag(c, unicode.WHITE_SPACE) for c in s) for s in segments] for segments in expected]
    assert words.count_words(*buffers(column)).tolist() == [sum(row) for row in flags]
    assert words.count_tokens(*buffers(column)).tolist() == [sum(row) for row in seen]


@given(st.lists(mixed_text, min_size=1, max_size=8))
def test_documents_are_segmented_apart(column) -> None:
    found = words.segment(*buffers(column))
    for i, text in enumerate(column):
        ends = found.ends[found.offsets[i] : found.offsets[i + 1]]
        sizes = [len(s.encode()) for s in words.segments(text)]
        assert ends.tolist() == np.cumsum(sizes, dtype=np.int64).tolist()


def test_a_column_larger_than_a_block_is_counted_whole() -> None:
    column = ["word " * 300_000, "", "one two", "x" * 2_000_000]
    assert words.count_words(*buffers(column)).tolist() == [300_000, 0, 2, 1]


@pytest.mark.parametrize("unit", ["a\u0301", "\u0301", "a:", "1,", ":", '\u05d0"', "\U0001f1e9", "\u200d", " ", "\n"])
@pytest.mark.parametrize("head", ["", "a", "a:", "1,"])
def test_hostile_runs_take_linear_time(unit, head) -> None:
    column = [head + unit * (2_000_000 // len(unit.encode()))]
    offsets, data = buffers(column)
    words.segment(*buffers(["warm"]))
    began = time.perf_counter()
    words.segment(offsets, data)
    # About 0.02 s; a quadratic scan of two million characters would take minutes.
    assert time.perf_counter() - began < 2


def test_a_document_too_large_for_its_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 2147483647"):
        words.count_words(np.array([0, 2**31]), np.empty(0, np.uint8))
