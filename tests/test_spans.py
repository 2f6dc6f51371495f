"""Deletions: applying, composing and counting them agree with doing it character by character."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.columns import Row, column, rows, strings

from corpus_dagster.text.spans import (
    Spans,
    compose,
    delete,
    deleted_bytes,
    kept_bytes,
)

TEXT = "abcdefghijkl"
# The first example compiles the kernels.
unhurried = settings(deadline=None)


def spans_of(found: list[list[Row]], *, labelled: bool = True) -> Spans:
    flat = [row for document in found for row in document]
    offsets = np.zeros(len(found) + 1, np.int64)
    np.cumsum([len(document) for document in found], out=offsets[1:])
    starts, ends, labels = (np.array(v) for v in zip(*flat, strict=True)) if flat else (np.zeros(0, int),) * 3
    return Spans(offsets, starts.astype(np.int64), ends.astype(np.int64), labels.astype(np.int8) if labelled else None)


def runs(marks: list[int | None]) -> list[Row]:
    """Maximal runs of one label."""
    found: list[Row] = []
    for position, mark in enumerate(marks):
        if mark is None:
            continue
        if found and found[-1][1] == position and found[-1][2] == mark:
            found[-1] = (found[-1][0], position + 1, mark)
        else:
            found.append((position, position + 1, mark))
    return found


marks_of = st.lists(st.sampled_from([None, None, 0, 1]), max_size=12)


@st.composite
def edited(draw: st.DrawFn) -> tuple[list[str], list[list[int | None]], list[list[int | None]]]:
    first = draw(st.lists(marks_of, max_size=5))
    second = [
        draw(st.lists(st.sampled_from([None, 2, 0]), min_size=left, max_size=left))
        for left in (marks.count(None) for marks in first)
    ]
    return [TEXT[: len(marks)] for marks in first], first, second


@unhurried
@given(edited(), st.booleans())
def test_composition_does_what_the_two_do_in_turn(case, labelled: bool) -> None:
    texts, first_marks, second_marks = case
    if not labelled:
        first_marks = [[None if m is None else 0 for m in marks] for marks in first_marks]
        second_marks = [[None if m is None else 0 for m in marks] for marks in second_marks]
    first = spans_of([runs(m) for m in first_marks], labelled=labelled)
    second = spans_of([runs(m) for m in second_marks], labelled=labelled)
    both = compose(first, second)

    text = column(texts)
    in_turn = delete(*delete(*text, first), second)
    at_once = delete(*text, both)
    assert strings(*in_turn) == strings(*at_once)
    assert strings(*at_once) == [
        "".join(
            b
            for b, mark in zip([b for b, m in zip(t, one, strict=True) if m is None], two, strict=True)
            if mark is None
        )
        for t, one, two in zip(texts, first_marks, second_marks, strict=True)
    ]

    expected = []
    for one, two in zip(first_marks, second_marks, strict=True):
        later = iter(two)
        expected.append(runs([next(later) if mark is None else mark for mark in one]))
    assert rows(both) == expected


@unhurried
@given(edited())
def test_counts_of_bytes_are_those_of_the_text(case) -> None:
    texts, marks, _ = case
    spans = spans_of([runs(m) for m in marks])
    text = column(texts)
    assert kept_bytes(text[0], spans).tolist() == [len(t) for t in strings(*delete(*text, spans))]
    assert (deleted_bytes(spans) + kept_bytes(text[0], spans)).tolist() == [len(t) for t in texts]
    assert spans.touched.tolist() == [any(m is not None for m in row) for row in marks]


@unhurried
@given(edited(), st.data())
def test_taking_documents_keeps_their_spans(case, data: st.DataObject) -> None:
    _, marks, _ = case
    present = [runs(m) for m in marks]
    positions = data.draw(st.lists(st.integers(0, len(present) - 1)) if present else st.just([]))
    taken = spans_of(present).take(np.array(positions, np.int64))
    assert rows(taken) == [present[p] for p in positions]


def test_spans_of_neighbouring_documents_never_merge() -> None:
    whole = spans_of([[(0, 3, 0)], [(0, 3, 0)]])
    nothing_left = compose(whole, Spans.none(2, labelled=True))
    assert rows(nothing_left) == [[(0, 3, 0)], [(0, 3, 0)]]
    halves = compose(spans_of([[(1, 3, 0)], []]), spans_of([[], [(0, 2, 0)]]))
    assert rows(halves) == [[(1, 3, 0)], [(0, 2, 0)]]


def test_spans_of_another_number_of_documents_are_refused() -> None:
    with pytest.raises(ValueError, match="spans of 2 documents for 1 documents"):
        delete(*column(["a"]), Spans.none(2))


def test_mixing_labelled_and_unlabelled_spans_is_refused() -> None:
    with pytest.raises(ValueError, match="has labels and the other has none"):
        compose(Spans.none(1, labelled=True), Spans.none(1))


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        Spans(np.array([0, 2]), np.array([1]), np.array([2]))


def test_shifting_moves_labels_and_labels_what_has_none() -> None:
    spans = spans_of([[(0, 1, 0), (2, 3, 2)]])
    assert rows(spans.shifted(5)) == [[(0, 1, 5), (2, 3, 7)]]
    unlabelled = spans_of([[(0, 1, 0)]], labelled=False)
    assert rows(unlabelled.shifted(4)) == [[(0, 1, 4)]]
