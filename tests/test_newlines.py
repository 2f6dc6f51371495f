"""Runs of newlines: capped exactly as a regular expression would."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.columns import after, column

from corpus_dagster.rules.newlines import find


@settings(deadline=None)
@given(st.lists(st.text("\n\n\n\r é", max_size=20), max_size=4), st.integers(0, 4))
def test_longer_runs_are_cut_to_the_cap(texts: list[str], cap: int) -> None:
    expected = [re.sub(rf"\n{{{cap + 1},}}", "\n" * cap, text) for text in texts]
    assert after(texts, find(*column(texts), cap)) == expected


def test_many_runs_outgrow_the_first_scratch_space() -> None:
    text = "a\n\n\n\n" * 1000
    assert after([text], find(*column([text]))) == ["a\n\n" * 1000]


def test_a_negative_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 or more"):
        find(*column([""]), -1)
