"""Counts of DCLM's quality rules."""

from __future__ import annotations

import time

import fasttext
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import dclm
from reference.strategies import buffers, texts, web_text

from corpus_dagster.rules import dclm_quality
from corpus_dagster.text import unicode

NAMES = [column.name for column in dclm_quality.COLUMNS]


def measure(column: list[str]) -> list[dict[str, int]]:
    found = dclm_quality.measure(*buffers(column))
    assert list(found) == NAMES
    assert all(values.dtype == np.int32 and len(values) == len(column) for values in found.values())
    return [{name: int(values[i]) for name, values in found.items()} for i in range(len(column))]


@given(texts)
def test_random_text_agrees_with_python(text) -> None:
    assert measure([text]) == [dclm.quality(text)]


@given(st.lists(texts, max_size=10))
def test_documents_do_not_touch_each_other(column) -> None:
    assert measure(column) == [dclm.quality(text) for text in column]


@given(web_text)
def test_words_are_those_of_the_interpreter(text) -> None:
    # No Unicode version since 6.3 has changed which characters are white space.
    found = measure([text])[0]
    assert (found["words"], found["word_chars"]) == (len(text.split()), sum(map(len, text.split())))


@given(texts)
def test_fasttext_words_are_fasttexts_tokens(text) -> None:
    # fastText also gives one token "</s>" per newline; its "<" is not alphanumeric.
    tokens = fasttext.tokenize(text)
    words = unicode.code_point_properties()
    expected = sum(bool(words[ord(token[0])] & unicode.ALNUM) for token in tokens)
    assert measure([text])[0]["fasttext_words"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n \n\t\u00a0\u2028", {}),
        ("\0", {"words": 1, "word_chars": 1, "lines": 1, "non_alpha_words": 1}),
        ("a\0b", {"fasttext_words": 2, "words": 1, "word_chars": 3, "lines": 1}),
        # An unbreakable space separates words for Python but not for fastText.
        ("a\u00a0b", {"fasttext_words": 1, "words": 2, "word_chars": 2, "lines": 1}),
        ("\u00a0b", {"words": 1, "word_chars": 1, "lines": 1}),
        (
            "# ## x",
            {
                "fasttext_words": 1,
                "words": 3,
                "word_chars": 4,
                "symbols": 3,
                "lines": 1,
                "non_alpha_words": 2,
            },
        ),
        (
            "The cat, THE dog and\nthat (the) be",
            {"fasttext_words": 7, "words": 8, "word_chars": 27, "lines": 2, "stop_words": 5},
        ),
        (
            "- one\n * two\n\u2022\n\u25cf x\n+ y",
            {
                "fasttext_words": 4,
                "words": 9,
                "word_chars": 13,
                "lines": 5,
                "bullet_lines": 4,
                "non_alpha_words": 5,
            },
        ),
        (
            "a...\nb. . . \nc\u2026\nd. .\n...",
            {
                "fasttext_words": 4,
                "words": 8,
                "word_chars": 16,
                "symbols": 4,
                "lines": 5,
                "ellipsis_lines": 4,
                "non_alpha_words": 4,
            },
        ),
    ],
    ids=ascii,
)
def test_counts_by_hand(text, expected) -> None:
    assert measure([text]) == [dict.fromkeys(NAMES, 0) | expected]


@pytest.mark.parametrize("length", range(1, 14))
@pytest.mark.parametrize("unit", [".", ". ", ". .", "..."])
def test_runs_of_dots_are_counted_without_overlap(unit, length) -> None:
    text = unit * length
    expected = text.count("...") + text.count(". . .")
    assert measure([text])[0]["symbols"] == expected


@given(st.text("A. #\u2026\n", max_size=40))
def test_symbols_are_the_sum_of_str_count(text) -> None:
    assert measure([text])[0]["symbols"] == sum(map(text.count, ("#", "...", ". . .", "\u2026")))


def test_texts_of_a_megabyte_on_one_line_and_of_newlines_alone() -> None:
    line = "word, " * 180_000 + "end..."
    found = measure([line, "\n" * 1_000_000, "a"])
    assert found[0] == dclm.quality(line)
    assert found[1] == dict.fromkeys(NAMES, 0)
    assert found[2] == dclm.quality("a")


def test_a_column_of_many_blocks_gives_the_same_as_its_parts() -> None:
    column = [f"the {i} of\n* {'.' * (i % 9)} \u6f22\u5b57 {'x' * (i % 700)}" for i in range(6000)]
    offsets, data = buffers(column)
    assert len(data) > 2 * (1 << 20)
    whole = dclm_quality.measure(offsets, data)
    for first in range(0, len(column), 2500):
        part = dclm_quality.measure(*buffers(column[first : first + 2500]))
        assert all(np.array_equal(part[name], whole[name][first : first + 2500]) for name in NAMES)


def test_hostile_text_takes_linear_time() -> None:
    measure(["warm"])
    for unit in (".", ". ", "#", "\n", " ", "\u2026", "\0", "\u00a0", "the "):
        offsets, data = buffers([unit * 1_000_000])
        began = time.perf_counter()
        dclm_quality.measure(offsets, data)
        assert time.perf_counter() - began < 2


@given(st.lists(texts, max_size=5))
def test_counting_words_alone_gives_the_same_as_measuring_all(column) -> None:
    alone = dclm_quality.count_fasttext_words(*buffers(column))
    assert alone.tolist() == dclm_quality.measure(*buffers(column))["fasttext_words"].tolist()
