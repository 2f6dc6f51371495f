"""Texts that consist of certain characters only."""

from __future__ import annotations

import string
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference.strategies import buffers, texts

from corpus_dagster.language import LanguageIdentifier
from corpus_dagster.text.blank import WHITE_SPACE, consist_of

SIGNS = string.punctuation + " é漢𝔘"


def test_white_space_is_what_python_takes_for_it() -> None:
    assert "".join(c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()) == WHITE_SPACE


@given(st.lists(st.one_of(texts, st.text(alphabet=WHITE_SPACE), st.text(alphabet=SIGNS)), max_size=8))
def test_texts_of_given_characters_are_those_that_stripping_empties(batch: list[str]) -> None:
    for characters in (WHITE_SPACE, SIGNS):
        assert consist_of(*buffers(batch), characters).tolist() == [not t.strip(characters) for t in batch]


@given(st.lists(st.one_of(texts, st.text(alphabet=WHITE_SPACE)), max_size=8))
def test_blank_texts_have_no_language_and_others_do(batch: list[str]) -> None:
    first, score, second, second_score = LanguageIdentifier().identify_buffers(*buffers(batch), "space")
    for i, text in enumerate(batch):
        blank = not text.strip()
        assert (first[i] == "") == blank
        assert (score[i] == 0) == blank
        if blank:
            assert second[i] == ""
            assert second_score[i] == 0
    listed = LanguageIdentifier().identify(batch, "space")
    assert listed[0] == first.tolist()
    assert listed[2] == second.tolist()
    np.testing.assert_array_equal(listed[1], score)
    np.testing.assert_array_equal(listed[3], second_score)
