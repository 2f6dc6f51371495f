"""Web addresses in text: the spans are those that Python's `re` finds, in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.columns import after, assigned, column, rows
from reference.url_removal import remove

from corpus_dagster.rules.url_removal import find, top_level_domains

FEW = ("co", "com", "de", "museum", "org", "uk", "xn--abc", "xn--p1ai")
PIECES = (
    *(".", ".", ".com", ".co", ".de", "com", ".xn--p1ai", ".xn--abc-d", ".uk", ".museum", "xn"),
    *("http://", "https://", "ftp://", "://", "//", "s://", "xhttps://", "ſ"),
    *("a", "b-", "A1", "_", "@", "%", "~", "=", "(", ")", "?q=1", "&", "/"),
    *("1.2.3.4", "10.", "255.", "256.", "300.", "12", "7", "1234", "1.1.1."),
    *(" ", "  ", "\n", "\t", "\x1c", "\x85", "\u00a0", "\u2003", " " * 9, " " * 11),
    *("é", "ß", "д", "中", "²", "५", "\u0301", "😀", "K", ",", "!", "x" * 255, "y.z" * 60),
)
text = st.lists(st.one_of(st.sampled_from(PIECES), assigned), max_size=14).map("".join)


@settings(deadline=None, max_examples=1000)
@given(st.lists(text, max_size=4), st.booleans())
@example(["see http://example.com/a(b)c. Then " + "a" * 300 + ".com/x"], False)
@example(["com is where a.com was", "a.com is not at the start", "1.2.3.4 stays gone"], True)
@example(["a.com 1.b.com2.3.4", "1. x.com2.3.4"], False)
def test_spans_are_those_of_the_regular_expressions(texts: list[str], guard: bool) -> None:
    spans = find(*column(texts), tlds=FEW, published_guard=guard)
    references = [remove(t, FEW, published_guard=guard) for t in texts]
    assert after(texts, spans) == [r.text for r in references]
    assert rows(spans) == [r.rows() for r in references]


@pytest.mark.parametrize(
    ("before", "left"),
    [
        ("Visit  https://www.example.co.uk/path?q=1&r=(2)#top today.", "Visit today."),
        ("mail john.doe@x.org!", "mail!"),
        ("at 192.168.0.1:8080/x or 999.1.1.1", "at or 999.1.1.1"),
        ("End of a sentence.Then another. e.g. this", "End of a sentence.Then another. e.g. this"),
        ("example.COM and example.comé stay", "example.COM and example.comé stay"),
        ("http://пример.рф stays, http://xn--e1afmkfd.xn--p1ai goes", "http://пример.рф stays, goes"),
        ("x\u00a0\u2003\n\nexample.com", "x"),
    ],
)
def test_addresses_go_and_prose_stays(before: str, left: str) -> None:
    assert after([before], find(*column([before]))) == [left]


@pytest.mark.parametrize(
    ("address", "goes"),
    [
        ("1.2.3.4", True),
        ("299.299.299.999", True),
        ("300.1.1.1", False),
        ("1.300.1.1", False),
        ("1.2.3.", False),
        ("1.2.3", False),
        ("0001.2.3.4", False),
        ("5.0001.2.3.4", False),
        ("v1.2.3.4", False),
        ("ftp://1.2.3.4/x", True),
        ("xftp://1.2.3.4/x", False),
        ("é1.2.3.4", False),
        ("-1.2.3.4", False),
    ],
)
def test_numbers_that_are_addresses_go_whole(address: str, goes: bool) -> None:
    text = f"at {address} there"
    left = after([text], find(*column([text])))[0]
    assert left == remove(text, FEW).text
    assert (left == "at there") is goes


def test_the_second_pattern_runs_over_what_the_first_leaves() -> None:
    # Taking out "x.com" joins "1." and nothing else; taking out the name in the middle makes an address.
    texts = ["12. a.com\u20acb", "1.2.é x.com3.4"]
    assert after(texts, find(*column(texts))) == [remove(t, top_level_domains()).text for t in texts]


def test_the_shipped_list_is_sorted_lower_case_and_holds_the_usual_names() -> None:
    names = top_level_domains()
    assert list(names) == sorted(set(names))
    assert {"com", "org", "uk", "museum", "xn--p1ai", "ck"} <= set(names)
    assert all(name == name.lower() and name.isascii() for name in names)


def test_the_whole_list_matches_as_an_alternation_would() -> None:
    names = top_level_domains()
    texts = [f"see a.{name} and b.{name}x, c.{name}-d" for name in names]
    alternation = {text: remove(text, names).text for text in texts[::97]}
    spans = find(*column(texts))
    assert [t for t, s in zip(after(texts, spans), texts, strict=True) if s in alternation] == list(
        alternation.values()
    )
    assert spans.touched.all()


@pytest.mark.parametrize("name", ["Com", ".com", "a b", "-a", "a-", "рф", ""])
def test_a_malformed_top_level_domain_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected lower-case ASCII"):
        find(*column(["a"]), tlds=[name])


@pytest.mark.parametrize(
    "unit",
    ["a", ".", "a.", ".com", ".co1", "1.", "1.1.1.", " ", "http://", "a.comé", ".xn--", "é"],
)
def test_ten_megabytes_of_one_kind_of_character_take_seconds(unit: str) -> None:
    find(*column(["a.com 1.2.3.4"]))
    text = unit * (10_000_000 // len(unit.encode()))
    started = time.perf_counter()
    find(*column([text]))
    # About 0.1 s. Python's `re` may look at 256 characters and more from each place.
    assert time.perf_counter() - started < 5
