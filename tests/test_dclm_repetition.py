"""DCLM's repetition signals."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import dclm
from reference.strategies import buffers, repetitive_text, texts

from corpus_dagster.rules import dclm_repetition

NAMES = [column.name for column in dclm_repetition.COLUMNS]

T1 = " ".join(["one two three four five six"] * 3)
T2 = "Alpha beta gamma.\nAlpha beta gamma.\n\nDelta.\nAlpha beta gamma.\n"
T3 = "a b c d e a b c d e f g h"
T4 = "p q r\n\np q r\n\nx y z"
T5 = "The cat isn't here. The cat isn't here, it's gone - the cat isn't here."


def measure(column: list[str]) -> list[dict[str, float]]:
    found = dclm_repetition.measure(*buffers(column))
    assert list(found) == NAMES
    assert all(values.dtype == np.float64 and len(values) == len(column) for values in found.values())
    return [{name: float(values[i]) for name, values in found.items()} for i in range(len(column))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (T1, {"top_2_gram": 0.4091, "top_4_gram": 0.7273} | {f"duplicate_{n}_gram": 1.0 for n in (5, 7, 10)}),
        (
            T2,
            {
                "duplicate_lines": 0.75,
                "duplicate_line_chars": 0.8947,
                "top_3_gram": 0.8936,
                "top_4_gram": 0.0,
                "duplicate_5_gram": 0.0,
            },
        ),
        (T3, {"top_2_gram": 0.3077, "duplicate_5_gram": 0.7692}),
        (T4, {"duplicate_lines": 0.6667, "duplicate_line_chars": 0.6667, "duplicate_10_gram": 0.0}),
        (T5, {"top_3_gram": 0.6792, "duplicate_5_gram": 0.0}),
    ],
    ids=["T1", "T2", "T3", "T4", "T5"],
)
def test_values_measured_with_the_original(text, expected) -> None:
    found = measure([text])[0]
    assert {name: round(found[name], 4) for name in expected} == expected


@given(st.one_of(texts, repetitive_text))
def test_random_text_agrees_with_python_bit_for_bit(text) -> None:
    assert measure([text]) == [dclm.repetition(text)]


@given(st.lists(repetitive_text, max_size=8))
def test_documents_do_not_touch_each_other(column) -> None:
    assert measure(column) == [dclm.repetition(text) for text in column]


@given(st.text("ab \n", max_size=60))
def test_texts_over_a_small_alphabet_agree_with_python(text) -> None:
    assert measure([text]) == [dclm.repetition(text)]


@pytest.mark.parametrize("text", ["", "\n", " \n\n \u2028 ", "\n" * 1000])
def test_without_any_segment_lines_and_paragraphs_are_all_duplicates(text) -> None:
    segments = [name for name in NAMES if "line" in name or "paragraph" in name]
    assert measure([text]) == [dict.fromkeys(NAMES, 0.0) | dict.fromkeys(segments, 1.0)]


@pytest.mark.parametrize("text", ["a", "\n\n a \n", "one line of several words", "!", "\0"])
def test_a_single_segment_has_no_repetition(text) -> None:
    assert measure([text]) == [dict.fromkeys(NAMES, 0.0)]


def test_paragraphs_are_cut_at_two_newlines_from_the_left() -> None:
    assert measure(["a\n\n\na"])[0]["duplicate_paragraphs"] == 1.0
    assert measure(["a\n\na\n \na"])[0]["duplicate_paragraphs"] == 0.0
    assert measure(["a\n\nb\n\n\n\na"])[0]["duplicate_paragraphs"] == 2 / 3


def test_among_equally_frequent_ngrams_the_longest_counts() -> None:
    assert measure(["a b. a b. long er, long er"])[0]["top_2_gram"] == 6 * 2 / 16


def test_overlapping_occurrences_of_the_top_ngram_may_exceed_the_text() -> None:
    assert measure(["a a a a"])[0]["top_2_gram"] == 2 * 3 / 4


def test_punctuation_between_words_does_not_matter_to_ngrams() -> None:
    assert measure(["a-b (c) d, e! a b c d e"])[0]["duplicate_5_gram"] == 1.0


def test_words_that_join_to_the_same_letters_are_different_ngrams() -> None:
    assert measure(["ab c a bc"])[0]["top_2_gram"] == 0.0


def test_a_megabyte_on_one_line_among_small_texts() -> None:
    words = [f"w{i * 7919 % 5003}" for i in range(170_000)]
    line = " ".join(words)
    assert len(line) > 900_000
    assert measure(["a", line, T1]) == [dclm.repetition(text) for text in ("a", line, T1)]


def test_a_column_of_many_blocks_gives_the_same_as_its_parts() -> None:
    column = [f"{T5} {i % 13}\n{T2} {'x ' * (i % 400)}" for i in range(6000)]
    offsets, data = buffers(column)
    assert len(data) > 2 * (1 << 20)
    whole = dclm_repetition.measure(offsets, data)
    for first in range(0, len(column), 2500):
        part = dclm_repetition.measure(*buffers(column[first : first + 2500]))
        assert all(np.array_equal(part[name], whole[name][first : first + 2500]) for name in NAMES)


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many hashes each call of the kernel gives up."""
    counts: list[int] = []
    kernel = dclm_repetition._measure
    monkeypatch.setattr(dclm_repetition, "_measure", lambda *arguments: counts.append(kernel(*arguments)))
    return counts


def test_results_do_not_depend_on_how_often_a_hash_was_given_up(monkeypatch, given_up) -> None:
    column = [" ".join(f"w{i * 31 % k}" for i in range(3000)) + "\n" + T2 * 20 for k in (300, 1000, 2000)]
    expected = measure(column)
    assert given_up == [0]
    monkeypatch.setattr(dclm_repetition, "_PROBES_PER_ENTRY", 0)
    monkeypatch.setattr(dclm_repetition, "_PROBES_AT_LEAST", 0)
    assert measure(column) == expected == [dclm.repetition(text) for text in column]
    assert given_up[1] == len(column) * (dclm_repetition._ATTEMPTS - 1)


@pytest.mark.parametrize(
    "unit", ["a ", "ab\n", "a\n\n", "\n", " ", "\u6f22", "a b c d e f g h i j k l ", "\u0301", "x"]
)
def test_hostile_text_takes_linear_time(unit) -> None:
    offsets, data = buffers([unit * (1_000_000 // len(unit))])
    measure(["warm"])
    began = time.perf_counter()
    dclm_repetition.measure(offsets, data)
    # At most 0.2 s here.
    assert time.perf_counter() - began < 3


def test_a_page_built_against_the_hash_is_measured_with_another(given_up) -> None:
    """Bigrams picked so that the first hash sends them all to one spot of the table."""
    vocabulary, wanted, table_bits, spot = 2600, 3000, 15, 64

    # The words stand in order first, so that the number of word i is i.
    numbers = np.arange(vocabulary).astype(np.uint64)
    first, second = np.meshgrid(numbers[0::2], numbers[1::2], indexing="ij")
    value = (first << np.uint64(32) | second) + dclm_repetition._SALT
    value = (value ^ value >> np.uint64(30)) * dclm_repetition._MIX_1
    value = (value ^ value >> np.uint64(27)) * dclm_repetition._MIX_2
    value ^= value >> np.uint64(31)
    rows, columns = np.nonzero((value & np.uint64((1 << table_bits) - 1)) < spot)
    assert len(rows) >= wanted
    pairs = [k for i, j in zip(rows[:wanted], columns[:wanted], strict=True) for k in (2 * i, 2 * j + 1)]
    text = " ".join(f"w{k}" for k in [*range(vocabulary), *pairs])
    found = measure([text])
    assert given_up == [1]
    assert found == [dclm.repetition(text)]


def test_ordinary_text_needs_one_hash(given_up) -> None:
    lines = "\n".join(f"line {i} of {i * i}" for i in range(20_000))
    measure([T1, T5 * 200, lines, "a " * 100_000, "\n" * 1000])
    assert set(given_up) == {0}
