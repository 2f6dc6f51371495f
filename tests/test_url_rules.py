"""URL rules, against a slow reference over random URLs and against cases chosen by hand."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_dagster.rules.base import Batch, Texts
from corpus_dagster.rules.url import UrlMatches, WordList


def words(folder: Path, *entries: str, name: str = "list.txt") -> tuple[WordList, ...]:
    (folder / name).write_text("\n".join(entries) + "\n", "utf-8")
    return (WordList.model_validate(name, context={"folder": folder}),)


def matches(measure: UrlMatches, urls: list[str]) -> list[int]:
    hosts = [url.split("/")[2].lower() if url.count("/") >= 2 else "" for url in urls]
    texts = Texts.of(pa.array([""] * len(urls), pa.string()))
    batch = Batch(texts, pl.Series(urls, dtype=pl.String), pl.Series(hosts, dtype=pl.String))
    return measure.measure(batch)["matches"].tolist()


def test_a_host_matches_exactly_and_without_its_www(tmp_path: Path) -> None:
    measure = UrlMatches("hosts", "host", words(tmp_path, "bad.test", "www.worse.test"))
    urls = [
        "http://bad.test/",
        "http://www.bad.test/x",
        "http://sub.bad.test/",
        "http://notbad.test/",
        "http://worse.test/",
    ]
    assert matches(measure, urls) == [1, 1, 0, 0, 1]


def test_with_parents_an_entry_bans_its_sub_domains(tmp_path: Path) -> None:
    measure = UrlMatches("hosts", "host", words(tmp_path, "bad.test"), parents=True)
    assert matches(measure, ["http://a.b.bad.test/", "http://notbad.test/", "http://bad.test/", "garbage"]) == [
        1,
        0,
        1,
        0,
    ]


def test_substrings_are_found_where_ignored_characters_hide_them(tmp_path: Path) -> None:
    measure = UrlMatches("strict", "substring", words(tmp_path, "badword"), ignored="-.")
    urls = ["http://x.test/bad-word", "http://b.ad.word.test/", "http://x.test/BADWORDS", "http://x.test/bad_word"]
    assert matches(measure, urls) == [1, 1, 1, 0]


def test_words_count_once_each_and_only_between_boundaries(tmp_path: Path) -> None:
    measure = UrlMatches("soft", "word", words(tmp_path, "live", "cam", "two words"))
    urls = [
        "http://x.test/live/live-live",
        "http://cam.test/live",
        "http://x.test/lively-camera",
        "http://x.test/live_cam",
    ]
    assert matches(measure, urls) == [1, 2, 0, 0]


def test_entries_of_several_words_match_across_separators_only_as_written(tmp_path: Path) -> None:
    measure = UrlMatches("hard", "word", words(tmp_path, "live-cam"))
    assert matches(measure, ["http://x.test/live-cam/", "http://x.test/live-cams/", "http://x.test/live/cam"]) == [
        1,
        0,
        0,
    ]


URLS = st.text(alphabet="abAB.-_/09é ", max_size=40).map(lambda tail: f"http://x.test/{tail}")
ENTRIES = st.lists(st.text(alphabet="abé09", min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(URLS, min_size=1, max_size=10), ENTRIES)
def test_words_agree_with_a_regular_expression(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str], entries: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    entries = sorted({entry.lower() for entry in entries})
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, entries), key=len, reverse=True))})\b")
    expected = [len(set(pattern.findall(url.lower()))) for url in urls]
    assert matches(UrlMatches("w", "word", words(folder, *entries)), urls) == expected


@settings(max_examples=150, deadline=None)
@given(st.lists(URLS, min_size=1, max_size=10), ENTRIES)
def test_substrings_agree_with_a_plain_search(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str], entries: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    found = matches(UrlMatches("s", "substring", words(folder, *entries), ignored="-."), urls)
    plain = [url.lower().replace("-", "").replace(".", "") for url in urls]
    assert [count > 0 for count in found] == [any(e.lower() in url for e in entries) for url in plain]
