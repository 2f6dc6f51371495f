"""The list of a crawl's files: which listing, which source, and WET files all the way to documents."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import curation
import dagster as dg
import pytest

from corpus_dagster import catalog, definitions
from corpus_dagster.lake import Dataset, Lake
from corpus_dagster.settings import Settings
from corpus_dagster.source import Source
from corpus_dagster.stages import documents, warc_files
from resources import LakeResource, PoolResource, SourceResource
from resources.warehouse import WarehouseResource

CRAWL = "PRIVATE-1"
TEXTS = [
    "The committee will meet again next week to discuss the results of the survey.",
    "Der Ausschuss trifft sich nächste Woche wieder, um zu besprechen, was er weiß.",
]


def conversion(number: int, text: str) -> bytes:
    body = text.encode()
    head = (
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Target-URI: https://example.com/{number}\r\nWARC-Date: 2024-03-01T10:20:30Z\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + body + b"\r\n\r\n", mtime=0)


def info() -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Record-ID: <urn:uuid:9>\r\nContent-Length: {4}\r\n\r\n"
    return gzip.compress(head.encode() + b"a: b\r\n\r\n", mtime=0)


def place(root: Path, files: dict[str, bytes], kind: str = "wet") -> None:
    """Write a crawl with a listing of the given kind."""
    below = root / "crawl-data" / CRAWL
    below.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (below / name).write_bytes(data)
    listing = "".join(f"crawl-data/{CRAWL}/{name}\n" for name in files)
    (below / f"{kind}.paths.gz").write_bytes(gzip.compress(listing.encode(), mtime=0))


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """A crawl with one file of extracted text and two files of pages."""
    root = tmp_path / "source"
    place(root, {"a.warc.wet.gz": info() + b"".join(conversion(n, text) for n, text in enumerate(TEXTS))})
    place(root, {"a.warc.gz": info(), "b.warc.gz": info()}, "warc")
    return root


def listed(lake: Path, source: Source, kind: catalog.ArchiveKind = "warc") -> Dataset:
    around = curation.context(Lake.at(lake))
    return warc_files.run(around, source, CRAWL, share=1, max_files=None, kind=kind).dataset


def test_extracted_text_is_an_input_of_its_own(crawl: Path, tmp_path: Path) -> None:
    pages = listed(tmp_path / "lake", Source.at(crawl))
    wet = listed(tmp_path / "lake", Source.at(crawl), "wet")
    assert pages.read(0)["path"].to_pylist() == [f"crawl-data/{CRAWL}/{name}.warc.gz" for name in "ab"]
    assert wet.read(0)["path"].to_pylist() == [f"crawl-data/{CRAWL}/a.warc.wet.gz"]
    assert wet.fingerprint != pages.fingerprint
    made = documents.run(curation.context(Lake.at(tmp_path / "lake")), Source.at(crawl), CRAWL).dataset
    rows = made.read(0)
    assert rows["text"].to_pylist() == TEXTS
    assert rows["language"].to_pylist() == ["en", "de"]
    assert set(rows["extractor"].to_pylist()) == {"wet"}
    assert rows["url"].to_pylist() == ["https://example.com/0", "https://example.com/1"]
    assert made.totals["skipped"] == {"record_type:warcinfo": 1}


@pytest.mark.parametrize(("config", "files"), [({}, 2), ({"archive": "wet"}, 1)])
def test_run_config_chooses_the_listing(crawl: Path, tmp_path: Path, config: dict[str, Any], files: int) -> None:
    defs = definitions.build_definitions(Settings(source=str(crawl)))
    result = dg.materialize(
        list(defs.assets or []),  # pyright: ignore[reportArgumentType]
        selection=dg.AssetSelection.assets(dg.AssetKey("warc_files")),
        partition_key=CRAWL,
        resources={
            "lake": LakeResource(uri=str(tmp_path / "lake")),
            "source": SourceResource(uri=str(crawl)),
            "pool": PoolResource(workers=1),
            "warehouse": WarehouseResource(folder=str(tmp_path / "warehouse")),
        },
        run_config={"ops": {"warc_files": {"config": config}}},
    )
    assert result.success
    assert Lake.at(tmp_path / "lake").require("warc_files", CRAWL).rows() == files


def test_run_config_takes_no_other_kind_of_archive(crawl: Path) -> None:
    defs = definitions.build_definitions(Settings(source=str(crawl)))
    job = defs.resolve_job_def(definitions.JOB)
    with pytest.raises(dg.DagsterInvalidConfigError, match="archive"):
        dg.validate_run_config(job, {"ops": {"warc_files": {"config": {"archive": "wat"}}}})


def test_the_place_of_a_folder_changes_nothing(crawl: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(crawl, moved)
    here, there = (listed(tmp_path / name, Source.at(root)) for name, root in (("a", crawl), ("b", moved)))
    assert (here.fingerprint, here.digest) == (there.fingerprint, there.digest)
    (moved / "crawl-data" / CRAWL / "b.warc.gz").write_bytes(info() * 2)
    assert listed(tmp_path / "b", Source.at(moved)).fingerprint != here.fingerprint


def test_remote_sources_of_equal_paths_are_told_apart(
    crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = (crawl / "crawl-data" / CRAWL / "warc.paths.gz").read_bytes()
    monkeypatch.setattr(Source, "read", lambda self, path: listing)
    uris = ["https://one.example/x", "https://two.example/x", "https://user:pw@two.example/x"]
    first, second, same = (listed(tmp_path / "lake", Source.at(uri)).fingerprint for uri in uris)
    assert first != second
    assert second == same, "who asks is no part of what is read"


@pytest.mark.shared
def test_common_crawls_own_extracted_text_is_read(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "warc" / "commoncrawl" / "whirlwind-python__whirlwind.warc.wet.gz").read_bytes()
    place(tmp_path / "source", {"whirlwind.warc.wet.gz": data})
    source = Source.at(tmp_path / "source")
    listed(tmp_path / "lake", source, "wet")
    made = documents.run(curation.context(Lake.at(tmp_path / "lake")), source, CRAWL).dataset
    (row,) = made.read(0).to_pylist()
    assert row["extractor"] == "wet"
    assert row["url"].startswith("https://an.wikipedia.org/")
    assert row["words"] > 50
