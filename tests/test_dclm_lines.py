"""Line rules: the spans are those of the seven edits run literally with Python's `re` and `str`."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.columns import after, assigned, column, rows
from reference.dclm_lines import run

from corpus_dagster.rules import dclm_lines
from corpus_dagster.rules.dclm_lines import COUNTED, LABELS, LineSettings, find

PIECES = (
    *("\n", "\n", "\n", "\n\n", "a b\n", " \n", "\r", "\x1c", "\x85", "\u2028"),
    *(" ", "  ", "\t", "\u00a0", "\u2003", "\u3000"),
    *("items in cart", "Items In Cart", " ITEMS IN CART", "ıtemſ İn cart", "3 items in cart"),
    *("read more...", "Read More…", "Read more!!!", "READ MORE", "\u00a0read more日本語", "read more.."),
    *("sign-in", "Sign-In", "SIGN-IN\u2003", "ſİgn-ın", "sign-"),
    *("3 likes", "1,234.5K views", "•• 12 m shares", "7k\u00a0BOO\u212aMAR\u212aS!", "12  downloads\u0301"),
    *("3 liKes", "² likes", "٣٤ quotes", "١,٢B\u2003FOLLOWERS ", "5\u212a likes", "4 likes_", "4 İlikes"),
    *("a", "B", "C D", "É", "ǅ", "ß", "7", "12", "²", "五", "Ⅷ", "word ", "two words", "x " * 10),
    *("UPPER lower", "ABC def", "\u0301", "😀", ".", ",", "-"),
)
text = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from("\n \n"), assigned), max_size=16).map("".join)
limits = st.one_of(
    st.just(LineSettings()),
    st.builds(
        LineSettings,
        st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        st.sampled_from([0.2, 0.999999, 1.0]),
        st.integers(0, 3),
        st.sampled_from([0, 1, 3, 10]),
    ),
)


@settings(deadline=None, max_examples=1500)
@given(st.lists(text, max_size=4), limits)
@example(["A B\nC\n\nlower case\n 7 \n3 likes\nend"], LineSettings())
@example(["x\n\n\ny", "x\n\ny", "", "\n", " ", "a b"], LineSettings())
@example(["keep this\nitems in cart  items in cart\nSign-in Sign-in now here"], LineSettings())
@example(["items in cart  x y\nw z\n read more... "], LineSettings(min_words=0))
def test_spans_are_those_of_the_seven_edits(texts: list[str], line_settings: LineSettings) -> None:
    spans, emptied = find(*column(texts), line_settings)
    references = [run(t, line_settings) for t in texts]
    assert after(texts, spans) == [marked.text for marked, _ in references]
    assert emptied.tolist() == [empty for _, empty in references]
    assert rows(spans) == [marked.rows() for marked, _ in references]


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("SIGN UP now", "uppercase"),
        ("20240101", "numeric"),
        ("1,204 Followers", "counter"),
        ("Menu", "line_length"),
        ("items in cart", "items_in_cart"),
        ("Read more >>", "read_more"),
        ("Sign-in  ", "sign_in"),
    ],
)
def test_a_line_dropped_in_the_middle_goes_with_its_newline_under_its_rule(line: str, label: str) -> None:
    spans, emptied = find(*column([f"first line\n{line}\nlast line"]), LineSettings(min_words=1 + (line == "Menu")))
    before = len("first line\n")
    assert rows(spans) == [[(before, before + len(line.encode()) + 1, LABELS.index(label))]]
    assert not emptied[0]


def test_a_line_of_exactly_half_upper_case_stays_and_one_just_over_goes() -> None:
    texts = ["ABab and\nkept line", "AB ab\nkept line", "ABCDE abc\nkept line"]
    assert after(texts, find(*column(texts))[0]) == [texts[0], texts[1], "kept line"]


def test_phrases_stay_in_longer_lines() -> None:
    ten = "one two three four five six seven items in cart"
    texts = [ten, "zero " + ten]
    assert after(texts, find(*column(texts))[0]) == ["one two three four five six seven", texts[1]]


def test_a_blank_document_is_emptied_and_fully_deleted() -> None:
    texts = ["", " \n\t\n", "MENU\nHOME\n12"]
    spans, emptied = find(*column(texts))
    assert emptied.all()
    assert after(texts, spans) == ["", "", ""]


def test_results_do_not_depend_on_the_other_documents() -> None:
    texts = ["Menu\nsome words\n\n", "x" * 5000, "\n".join(["ITEM", "two words"] * 200), "3 likes"]
    together = rows(find(*column(texts))[0])
    assert together == [rows(find(*column([t]))[0])[0] for t in texts]


def test_decimal_digits_are_those_that_a_regular_expression_matches() -> None:
    digits = {int(zero) + k for zero in dclm_lines._DECIMAL_ZEROS for k in range(10)}
    known = {c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) == "Nd"}
    unassigned = {c for c in digits - known if unicodedata.category(chr(c)) == "Cn"}
    assert digits - unassigned == known
    assert len(digits) == 680  # Nd in DerivedGeneralCategory-15.0.0.txt


@pytest.mark.parametrize(
    ("line", "drops"),
    [
        ("٣ likes", True),
        ("🯹 likes", True),
        ("² likes", False),  # a digit, but not a decimal one
        ("\u19da likes", False),  # alike, and next to the decimal digits of its script
        ("1\u19da likes", False),
        ("likes", False),
        ("3likes", False),
        ("3 LI\u212aES.", True),
        ("3 lıkes", False),
        ("of 3 likes", False),
    ],
)
def test_counter_lines_are_those_of_the_published_pattern(line: str, drops: bool) -> None:
    text = f"first line\n{line}\nlast line"
    line_settings = LineSettings(min_words=0)
    assert after([text], find(*column([text]), line_settings)[0]) == [run(text, line_settings)[0].text]
    assert (run(text, line_settings)[0].text == "first line\nlast line") is drops


def test_every_counted_word_makes_a_counter_line() -> None:
    texts = [f"keep me\n{n} {word}!\nme too" for n, word in enumerate(COUNTED)]
    spans, _ = find(*column(texts))
    assert set(after(texts, spans)) == {"keep me\nme too"}
