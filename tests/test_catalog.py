"""The catalogue of crawls and the choice of a crawl's files."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_dagster import catalog, sample
from corpus_dagster.catalog import CatalogError, Crawl

PATHS = [f"crawl-data/CC-MAIN-2024-10/segments/1.{i % 9}/warc/{i:05d}.warc.gz" for i in range(1000)]


def collinfo(*ids: str) -> bytes:
    return json.dumps([{"id": name, "name": name, "cdx-api": "https://index.example/" + name} for name in ids]).encode()


def listing(*lines: str) -> bytes:
    return gzip.compress("\n".join(lines).encode())


def test_the_shipped_list_holds_all_main_crawls_in_order() -> None:
    crawls = catalog.load()
    assert len(crawls) == 128
    assert crawls[0] == Crawl("CC-MAIN-2008-2009", 1798158091)
    assert crawls[3] == Crawl("CC-MAIN-2013-20", 1796098643)
    assert crawls[-1] == Crawl("CC-MAIN-2026-39", None)
    weekly = [crawl.id for crawl in crawls[3:]]
    assert weekly == sorted(weekly)


def test_a_private_catalogue_replaces_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    path.write_text("# ours\n\ncrawl\tpages\nintranet-2\t\nintranet-1\t17\n")
    assert catalog.load(path) == (Crawl("intranet-2", None), Crawl("intranet-1", 17))
    assert catalog.for_source("https://data.commoncrawl.org", path) == catalog.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crawl\tpages\na\t1\n\na\t2\n", "line 4: a stands in line 2"),
        ("# c\ncrawl\tpages\na\tmany\n", "line 3: pages of a"),
        ("crawl\tpages\na\t-1\n", "line 2: pages of a"),
        ("crawl\tpages\na/b\t1\n", "line 2: 'a/b' is no name"),
        ("crawl\tpages\n..\t1\n", "line 2: '..' is no name"),
        ("crawl\tpages\na\n", "line 2: expected 2 cells"),
        ("crawl pages\na 1\n", "line 1: expected the header"),
        ("# nothing\n", "found no line but comments"),
    ],
)
def test_a_wrong_catalogue_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.tsv"
    path.write_text(text)
    with pytest.raises(CatalogError) as error:
        catalog.load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_catalogue_that_cannot_be_read_is_a_catalogue_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        catalog.load(tmp_path / "missing.tsv")
    (tmp_path / "latin.tsv").write_bytes(b"crawl\tpages\n\xff\t1\n")
    with pytest.raises(CatalogError, match="UTF-8"):
        catalog.load(tmp_path / "latin.tsv")


def test_written_catalogues_are_read_back(tmp_path: Path) -> None:
    catalog.write(catalog.load(), tmp_path / "copy.tsv")
    assert catalog.load(tmp_path / "copy.tsv") == catalog.load()


def test_the_sample_offers_its_two_crawls_whatever_the_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    path.write_text("crawl\tpages\na\t1\n")
    assert [crawl.id for crawl in catalog.for_source("sample", path)] == list(sample.CRAWLS)


@pytest.mark.parametrize("uri", ["https://data.commoncrawl.org", "s3://commoncrawl"])
def test_remote_sources_offer_the_shipped_list(uri: str) -> None:
    assert catalog.for_source(uri) == catalog.load()


def test_a_folder_offers_the_crawls_that_stand_in_it(tmp_path: Path) -> None:
    for name in ("CC-MAIN-2024-10", "CC-MAIN-2012", "CC-MAIN-2008-2009", "mine"):
        (tmp_path / "crawl-data" / name).mkdir(parents=True)
        (tmp_path / "crawl-data" / name / "warc.paths.gz").touch()
    (tmp_path / "crawl-data" / "unfinished").mkdir()
    expected = ["mine", "CC-MAIN-2008-2009", "CC-MAIN-2012", "CC-MAIN-2024-10"]
    assert [crawl.id for crawl in catalog.for_source(str(tmp_path))] == expected
    assert [crawl.id for crawl in catalog.for_source(tmp_path.as_uri())] == expected


def test_a_folder_without_crawls_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"expected crawl-data/<crawl>/warc\.paths\.gz"):
        catalog.for_source(str(tmp_path))


def test_refresh_adds_what_is_missing_in_its_place_and_drops_nothing() -> None:
    known = (Crawl("CC-MAIN-2012", 5), Crawl("private", 1), Crawl("CC-MAIN-2014-10", 7), Crawl("CC-MAIN-2014-23"))
    published = collinfo("CC-MAIN-2015-06", "CC-MAIN-2014-35", "CC-MAIN-2014-15", "CC-MAIN-2012", "CC-NEWS")
    merged = catalog.refresh(published, known)
    assert [crawl.id for crawl in merged] == [
        "CC-MAIN-2012", "private", "CC-MAIN-2014-10", "CC-MAIN-2014-15", "CC-MAIN-2014-23", "CC-MAIN-2014-35",
        "CC-MAIN-2015-06",
    ]  # fmt: skip
    assert set(known) <= set(merged)
    assert catalog.refresh(published, merged) == merged
    assert catalog.missing(known, published) == ["CC-MAIN-2014-15", "CC-MAIN-2014-35", "CC-MAIN-2015-06"]


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", '[{"name": "x"}]', '[{"id": 3}]', '[{"id": "../x"}]', "[7]"])
def test_anything_but_a_list_of_crawls_is_refused(text: str) -> None:
    with pytest.raises(CatalogError, match="collinfo"):
        catalog.refresh(text, ())


def test_paths_come_in_the_order_of_the_listing() -> None:
    assert catalog.parse_paths(listing(*PATHS, "")) == PATHS
    assert catalog.parse_paths(listing("b/1", "") + listing("a/2")) == ["b/1", "a/2"]
    assert catalog.paths_listing("CC-MAIN-2024-10") == "crawl-data/CC-MAIN-2024-10/warc.paths.gz"
    assert catalog.paths_listing("CC-MAIN-2024-10", "wet") == "crawl-data/CC-MAIN-2024-10/wet.paths.gz"


def test_a_folder_may_hold_extracted_text_only(tmp_path: Path) -> None:
    (tmp_path / "crawl-data" / "private").mkdir(parents=True)
    (tmp_path / "crawl-data" / "private" / "wet.paths.gz").write_bytes(listing("a.wet.gz"))
    assert catalog.for_source(str(tmp_path)) == (Crawl("private"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"crawl-data/a.warc.gz\n", "no sound gzip"),
        (b"", "empty"),
        (listing(""), "empty"),
        (listing(*PATHS)[:-30], "ends within"),
        (listing("a/1", "/etc/passwd"), "line 2 .* is absolute"),
        (listing("a/../../b"), "line 1 .* element"),
        (listing("a//b"), "line 1 .* element"),
        (listing("a/./b"), "line 1 .* element"),
        (listing("https://other.example/a"), "line 1 .* scheme"),
        (listing("file:a"), "line 1 .* scheme"),
        (listing("C:\\a"), "line 1 .* scheme"),
        (listing("a\\b"), "line 1 .* backslash"),
        (listing("a\x00b"), "line 1 .* printed"),
        (listing("a/1", "a/2", "a/1"), "line 3 .* stands in line 1"),
        (gzip.compress(b"\xff\xfe"), "UTF-8"),
    ],
)
def test_bad_listings_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        catalog.parse_paths(data)


def test_a_listing_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_LISTING", 10_000)
    with pytest.raises(CatalogError, match="more than 10000 bytes"):
        catalog.parse_paths(gzip.compress(b"a\n" * 100_000))


def test_everything_is_chosen_by_default() -> None:
    assert catalog.choose(PATHS) == list(enumerate(PATHS))


def test_choices_are_spread_and_fixed() -> None:
    assert [shard for shard, _ in catalog.choose(PATHS, max_files=5)] == [76, 168, 313, 509, 996]
    assert len(catalog.choose(PATHS, 0.07)) == 70
    assert len(catalog.choose(PATHS[:4], 0.01)) == 1


@given(
    st.lists(st.text(min_size=1, max_size=8), unique=True, min_size=1, max_size=60),
    *[st.floats(min_value=1e-6, max_value=1)] * 2,
    *[st.none() | st.integers(1, 70)] * 2,
)
def test_a_larger_choice_holds_the_smaller(
    paths: list[str], share: float, other_share: float, most: int | None, other_most: int | None
) -> None:
    small = catalog.choose(paths, min(share, other_share), min(most or 99, other_most or 99))
    large = catalog.choose(paths, max(share, other_share), max(most or 99, other_most or 99))
    assert set(small) <= set(large)
    assert large == sorted(large)
    assert all(paths[shard] == path for shard, path in large)
    assert len(small) >= 1


@given(st.randoms())
def test_the_order_of_the_listing_does_not_change_which_paths_are_chosen(shuffle: random.Random) -> None:
    shuffled = list(PATHS)
    shuffle.shuffle(shuffled)
    assert {path for _, path in catalog.choose(PATHS, 0.1)} == {path for _, path in catalog.choose(shuffled, 0.1)}


@pytest.mark.parametrize(("share", "most"), [(0.0, None), (-1.0, None), (1.01, None), (float("nan"), None), (1.0, 0)])
def test_shares_out_of_range_are_refused(share: float, most: int | None) -> None:
    with pytest.raises(CatalogError):
        catalog.choose(PATHS, share, most)
