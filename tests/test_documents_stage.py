"""From an archive file to rows and a receipt."""

from __future__ import annotations

import gzip
import io
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_dagster.extraction import ExtractionSettings
from corpus_dagster.extraction_sandbox import Sandbox
from corpus_dagster.lake import Build, Dataset, Lake
from corpus_dagster.schemas import DOCUMENTS
from corpus_dagster.source import Source
from corpus_dagster.stages import documents as stage
from corpus_dagster.stages.documents import DocumentsSettings, DocumentsTask, Tally, clean_url, host_of
from corpus_dagster.text.words import segments

TEXT = "The committee will meet again next week to discuss the results of the survey."


def page(
    body: str,
    *,
    url: str = "http://Example.com:80/a",
    status: int = 200,
    charset: str = "",
    kind: str = "response",
    mime: str = "text/html",
) -> bytes:
    content = f"{mime}; charset={charset}" if charset else mime
    http = f"HTTP/1.1 {status} X\r\nContent-Type: {content}\r\n\r\n".encode() + body.encode(charset or "utf-8")
    block = body.encode() if kind == "conversion" else http
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2024-03-01T10:20:30Z\r\nContent-Type: {mime}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)


def article(text: str = TEXT) -> str:
    return f"<html><head><title>T</title></head><body><article><p>{text}</p></article></body></html>"


MIXED = b"".join(
    [
        page("", kind="warcinfo"),
        page("GET / HTTP/1.1", kind="request"),
        page(article()),
        page("<p>gone", status=404),
        page("<script>var x = 1</script>"),
        page(
            article("Der Ausschuss trifft sich nächste Woche wieder, um zu besprechen, was er weiß."),
            charset="iso-8859-1",
        ),
        b"\x1f\x8b\x08broken",
        page("x = 1", mime="text/css"),
        page(f"  {TEXT}\r\n\r\nMore.  ", mime="text/plain", url="https://user@münchen.example./x"),
        page(TEXT, kind="conversion", mime="text/plain"),
        page("<div>" * 20_000 + TEXT),
    ]
)


def build_in(folder: Path, name: str = "lake") -> Build:
    settings = DocumentsSettings()
    return Lake.at(folder / name).begin(
        "documents", "TEST-1", identity=stage.identity(settings, {}), tables=stage.TABLES
    )


def write(folder: Path, data: bytes, settings: DocumentsSettings | None = None, name: str = "lake") -> Dataset:
    (folder / "file.warc.gz").write_bytes(data)
    build = build_in(folder, name)
    done = stage.write_documents(
        DocumentsTask(3, "file.warc.gz", build, Source.at(folder), settings or DocumentsSettings())
    )
    assert done.shards == (3,)
    return build.commit([3])


def test_rows_hold_what_was_fetched_and_found(tmp_path: Path) -> None:
    dataset = write(tmp_path, MIXED)
    rows = dataset.read(3).to_pylist()
    assert [r["doc_id"] for r in rows] == [(3 << 32) + i for i in range(5)]
    assert [r["extractor"] for r in rows] == ["main_content", "main_content", "text", "wet", "plain"]
    first, german, plain, wet, _ = rows
    assert (first["text"], first["url"], first["host"]) == (TEXT, "http://Example.com:80/a", "example.com")
    assert (first["record_id"], first["http_status"], first["mime"]) == ("urn:uuid:1", 200, "text/html")
    assert first["date"].isoformat() == "2024-03-01T10:20:30+00:00"
    assert (first["language"], first["charset_source"], first["truncated"]) == ("en", "detected", False)
    assert first["words"] == len([s for s in segments(TEXT) if s[0].isalnum()])
    assert first["text_bytes"] == len(TEXT)
    assert (german["language"], german["charset"], german["charset_source"]) == ("de", "cp1252", "header")
    assert (plain["text"], plain["host"]) == (f"{TEXT}\n\nMore.", "xn--mnchen-3ya.example")
    assert (wet["http_status"], wet["text"]) == (0, TEXT)


def test_every_record_is_a_document_or_counted(tmp_path: Path) -> None:
    totals = write(tmp_path, MIXED).totals
    assert totals["records"] == 11
    assert totals["skipped"] == {
        "damaged": 1,
        "mime": 1,
        "no_text": 1,
        "record_type:request": 1,
        "record_type:warcinfo": 1,
        "status:4xx": 1,
    }
    assert totals["records"] == totals["documents"] + sum(totals["skipped"].values())
    assert sum(totals["extractors"].values()) == sum(totals["charsets"].values()) == totals["documents"]
    (sample,) = totals["damage"]["samples"]
    assert (sample["shard"], sample["reason"]) == (3, "damaged")
    assert MIXED[sample["offset"] :].startswith(b"\x1f\x8b\x08broken")


def test_twice_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path, MIXED, name="a").digest == write(tmp_path, MIXED, name="b").digest


def test_batches_do_not_change_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> tuple[pa.Table, dict[str, object]]:
        tally = Tally()
        batches = list(stage.documents(io.BytesIO(MIXED * 3), 1, DocumentsSettings(), tally))
        return pa.Table.from_batches(batches, DOCUMENTS.arrow), tally.counters()

    whole = rows()
    monkeypatch.setattr(stage, "BATCH_ROWS", 2)
    assert rows() == whole
    monkeypatch.setattr(stage, "BATCH_BYTES", 1)
    assert rows() == whole


def test_an_empty_file_is_a_shard_without_rows(tmp_path: Path) -> None:
    dataset = write(tmp_path, b"")
    assert (dataset.rows(), dataset.totals["records"]) == (0, 0)


SLOW = page("<div>" * 2_000 + "<p>word</p>" * 60_000)
HASTY = DocumentsSettings(ExtractionSettings(max_cost=10**15, backstop_seconds=0.5))


class TriedError(Exception):
    """The page was extracted although a verdict on it is recorded."""


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A file whose second page was given up; from now on, trying a page in the child process raises `TriedError`."""
    dataset = write(tmp_path, page(article()) + SLOW, HASTY)

    def fail(*_: object) -> str:
        raise TriedError

    monkeypatch.setattr(Sandbox, "extract", fail)
    return dataset


def test_a_verdict_is_recorded_and_replayed(judged: Dataset, tmp_path: Path) -> None:
    assert judged.totals["verdicts"] == {"timeout": 1}
    rows = judged.read(3)
    assert rows["extractor"].to_pylist() == ["main_content", "plain"]
    notes = build_in(tmp_path).verdicts(stage.verdict_scope("file.warc.gz", HASTY.extraction))
    assert list(notes.values()) == ["timeout"]
    # Trying it again would raise: the verdict stands, so that the bytes stay the same, under any shard number.
    again = write(tmp_path, page(article()) + SLOW, HASTY)
    assert (again.read(3).equals(rows), again.totals["verdicts"]) == (True, {"timeout": 1})
    tally = Tally()
    with open(tmp_path / "file.warc.gz", "rb") as stream:
        moved = pa.Table.from_batches(stage.documents(stream, 8, HASTY, tally, notes))
    assert moved["text"].equals(rows["text"])


@pytest.mark.parametrize("change", ["page", "place", "record", "settings", "extractor", "path"])
def test_a_verdict_holds_for_its_page_and_extractor_only(
    judged: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    data, settings, path = page(article()) + SLOW, HASTY, "file.warc.gz"
    if change == "page":
        data = page(article()) + page("<div>" * 2_000 + "<p>wort</p>" * 60_000)
    elif change == "place":
        data = page(article()) * 2 + SLOW
    elif change == "record":
        data = page(article()) + gzip.compress(gzip.decompress(SLOW).replace(b"uuid:1>", b"uuid:2>"), mtime=0)
    elif change == "settings":
        settings = DocumentsSettings(replace(HASTY.extraction, backstop_seconds=60.0))
    elif change == "extractor":
        monkeypatch.setattr(stage, "EXTRACTOR_VERSION", "0.0.1")
    else:
        path = "crawl-data/other.warc.gz"
        (tmp_path / "crawl-data").mkdir()
    (tmp_path / path).write_bytes(data)
    with pytest.raises(TriedError):
        stage.write_documents(DocumentsTask(3, path, build_in(tmp_path), Source.at(tmp_path), settings))


def test_a_verdict_is_written_before_the_page_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def batch(*_: object) -> pa.RecordBatch:
        raise Killed

    monkeypatch.setattr(stage._Rows, "batch", batch)
    with pytest.raises(Killed):
        write(tmp_path, SLOW, HASTY)
    notes = build_in(tmp_path).verdicts(stage.verdict_scope("file.warc.gz", HASTY.extraction))
    assert list(notes.values()) == ["timeout"]


def test_settings_are_json_for_the_fingerprint() -> None:
    identity = stage.identity(DocumentsSettings(), {"warc_files/X": "d"})
    assert json.loads(json.dumps(identity.config)) == asdict(DocumentsSettings())
    other = stage.identity(DocumentsSettings(newlines="delete"), {"warc_files/X": "d"})
    assert identity.fingerprint("documents", "X", stage.TABLES) != other.fingerprint("documents", "X", stage.TABLES)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("HTTP://WWW.Example.COM:8080/x", "www.example.com"),
        ("https://user:pw@a.b./", "a.b"),
        ("http://[2001:DB8::1]:80/", "2001:db8::1"),
        ("http://[broken", ""),
        ("http:///x", ""),
        ("http://bücher.de/", "xn--bcher-kva.de"),
        ("http://a b/", ""),
        ("no url", ""),
        ("http://my_host.example/", "my_host.example"),
    ],
)
def test_hosts_are_lower_case_and_bare(url: str, host: str) -> None:
    assert host_of(url) == host


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_no_url_makes_it_raise(tail: str) -> None:
    for url in (tail, "http://" + tail, "http://a" + tail + "/"):
        assert host_of(url) == host_of(url).lower()
        clean_url(url).encode()


@pytest.mark.parametrize(
    "url",
    [
        "http://" + "e\u0316\u0301" * 20_000 + "/",
        "http://" + "é." * 30_000,
        "http://" + "é" * 60_000 + ":80/x",
        "http://" + "@" * 60_000,
        "http://" + "[" * 60_000 + "]",
        "http://" + "%41" * 20_000,
    ],
)
def test_hosts_of_any_length_cost_little(url: str) -> None:
    started = time.perf_counter()
    assert host_of(url) == ""
    assert time.perf_counter() - started < 0.1


def test_a_long_path_leaves_the_host_as_it_is() -> None:
    for tail in ("/", "?", "#"):
        assert host_of("http://a.example" + tail + "x/" * 30_000) == "a.example"
