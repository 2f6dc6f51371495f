"""Reading archives: framing, damage, HTTP decoding."""

from __future__ import annotations

import gzip
import io
import random
import struct
import time
import tracemalloc
import zlib
from datetime import UTC, datetime

import brotli
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus_dagster import http
from corpus_dagster.warc import REASONS, Capture, Skipped, read_records

PAGE = b"<html><body><p>A page with some text.</p></body></html>"


def response(body: bytes = PAGE, headers: str = "Content-Type: text/html", status: str = "HTTP/1.1 200 OK") -> bytes:
    head = f"{status}\r\n{headers}\r\n\r\n" if headers else f"{status}\r\n\r\n"
    return head.encode("latin-1") + body


def record(number: int, block: bytes | None = None, *, kind: str = "response", eol: str = "\r\n",
           length: int | None = None, extra: str = "") -> bytes:  # fmt: skip
    block = response() if block is None else block
    lines = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{number}>",
        f"WARC-Target-URI: http://example.com/{number}",
        "WARC-Date: 2024-03-01T10:20:30Z",
        *([extra] if extra else []),
        f"Content-Length: {len(block) if length is None else length}",
    ]
    return eol.join([*lines, "", ""]).encode() + block + b"\r\n\r\n"


def arc_record(number: int, block: bytes | None = None) -> bytes:
    block = response() if block is None else block
    return f"http://example.com/{number} 1.2.3.4 20080430204825 text/html {len(block)}\n".encode() + block + b"\n"


ARC_VERSION = b"1 0 Crawl\nURL IP-address Archive-date Content-type Archive-length\n"
ARC_HEAD = b"filedesc://x.arc 0.0.0.0 20080430204825 text/plain %d\n" % len(ARC_VERSION) + ARC_VERSION + b"\n"


def read(data: bytes) -> list[Capture | Skipped]:
    return list(read_records(io.BytesIO(data)))


def summary(data: bytes) -> list[str]:
    return [i.url[-1] if isinstance(i, Capture) else i.reason for i in read(data)]


def one(block: bytes, **kwargs: str) -> Capture | Skipped:
    (item,) = read(record(0, block, **kwargs))  # pyright: ignore[reportArgumentType]
    return item


def body_of(block: bytes) -> bytes:
    item = one(block)
    assert isinstance(item, Capture), item
    return item.body


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


SOUND = [record(i) for i in range(5)]
MEMBERS = [gzip.compress(r, mtime=0) for r in SOUND]


def test_every_container_gives_the_same_captures() -> None:
    plain = b"".join(SOUND)
    containers = [
        plain,
        b"".join(MEMBERS),
        gzip.compress(plain),
        zstd(plain),
        b"".join(zstd(r) for r in SOUND),
    ]
    bodies = [[(i.url, i.body, i.date) for i in read(c) if isinstance(i, Capture)] for c in containers]
    assert len(bodies[0]) == 5
    assert all(b == bodies[0] for b in bodies)


def test_a_capture_holds_what_the_record_says() -> None:
    (item,) = read(record(7, extra="WARC-Truncated: length"))
    fetched = datetime(2024, 3, 1, 10, 20, 30, tzinfo=UTC)
    assert item == Capture(
        0, "urn:uuid:7", "http://example.com/7", fetched, 200, "text/html", "", PAGE, True, "response"
    )


def test_offsets_are_those_of_the_members() -> None:
    starts = [sum(map(len, MEMBERS[:i])) for i in range(5)]
    assert [i.offset for i in read(b"".join(MEMBERS))] == starts
    assert [i.offset for i in read(b"".join(SOUND))] == [sum(map(len, SOUND[:i])) for i in range(5)]


def test_bare_line_feeds_in_headers_are_read() -> None:
    assert summary(b"".join(record(i, eol="\n") for i in range(3))) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("warcinfo", "record_type:warcinfo"),
        ("request", "record_type:request"),
        ("metadata", "record_type:metadata"),
        ("revisit", "revisit"),
        ("continuation", "continuation"),
        ("conversion", "record_type:conversion"),
        ("resource", "record_type:resource"),
        ("banana", "record_type:unknown"),
    ],
)
def test_other_record_types_are_counted(kind: str, reason: str) -> None:
    assert summary(record(1, kind=kind)) == [reason]


def test_wet_text_and_web_resources_are_captures() -> None:
    (wet,) = read(record(1, "Grüße".encode(), kind="conversion", extra="Content-Type: text/plain"))
    (page,) = read(record(1, PAGE, kind="resource", extra="Content-Type: text/html; charset=utf-8"))
    assert isinstance(wet, Capture)
    assert (wet.kind, wet.body, wet.charset, wet.html) == ("conversion", "Grüße".encode(), "utf-8", False)
    assert isinstance(page, Capture)
    assert (page.kind, page.status, page.charset, page.html) == ("response", 0, "utf-8", True)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (response(status="HTTP/1.1 301 Moved"), "status:3xx"),
        (response(status="HTTP/1.1 404 Not Found"), "status:4xx"),
        (response(status="HTTP/1.0 503 Busy"), "status:5xx"),
        (response(status="HTTP/1.0 100 Continue"), "status:1xx"),
        (response(status="HTTP/1.0 999 No"), "status:other"),
        (response(headers="Content-Type: image/png"), "mime"),
        (response(b"%PDF-1.4 ..."), "not_text"),
        (response(b"\r\n \r\n"), "empty"),
        (
            response(b"\x00\x01garbage\x02", headers="Content-Type: text/html\r\nContent-Encoding: gzip"),
            "decode_error",
        ),
        (b"no status line\r\n\r\n<html>", "http_malformed"),
        (b"", "http_malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "http_malformed"),
    ],
)
def test_responses_without_a_page_are_counted(block: bytes, reason: str) -> None:
    item = one(block)
    assert isinstance(item, Skipped)
    assert item.reason == reason


def test_a_missing_media_type_is_found_by_crawler_or_content() -> None:
    by_content = one(response(b"\n<!DOCTYPE html><p>x", headers="X: y"))
    by_crawler = one(response(b"x", headers=""), extra="WARC-Identified-Payload-Type: application/xhtml+xml")
    neither = one(response(b"x", headers="Content-Type: application/octet-stream"))
    assert isinstance(by_content, Capture)
    assert by_content.mime == "text/html"
    assert isinstance(by_crawler, Capture)
    assert by_crawler.mime == "application/xhtml+xml"
    assert isinstance(neither, Skipped)
    assert neither.reason == "mime"


# Damage


def damaged(at: int, change: bytes) -> bytes:
    data = bytearray(b"".join(MEMBERS))
    start = sum(map(len, MEMBERS[:2])) + at
    data[start : start + len(change)] = change
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(damaged(60, b"\xff\xff\xff\xff"), id="content"),
        pytest.param(damaged(len(MEMBERS[2]) - 6, b"\x00\x00"), id="checksum"),
        pytest.param(damaged(0, b"\x00"), id="magic"),
        pytest.param(damaged(20, bytes(100)), id="zeros"),
        pytest.param(b"".join([*MEMBERS[:2], MEMBERS[2][:90], *MEMBERS[3:]]), id="cut"),
        pytest.param(b"".join([*MEMBERS[:2], b"garbage" * 50, *MEMBERS[3:]]), id="garbage"),
        pytest.param(b"".join([*MEMBERS[:2], gzip.compress(record(2, length=10**12)), *MEMBERS[3:]]), id="length"),
        pytest.param(b"".join([*MEMBERS[:2], gzip.compress(record(2, length=20)), *MEMBERS[3:]]), id="short-length"),
        pytest.param(b"".join([*MEMBERS[:2], gzip.compress(b"X" + SOUND[2]), *MEMBERS[3:]]), id="no-record"),
        pytest.param(b"".join([*SOUND[:2], record(2, length=20), *SOUND[3:]]), id="plain-short-length"),
        pytest.param(b"".join([*SOUND[:2], record(2, length=200), *SOUND[3:]]), id="plain-long-length"),
        pytest.param(b"".join([*SOUND[:2], record(2, length=10**12), *SOUND[3:]]), id="plain-huge-length"),
        pytest.param(b"".join([*SOUND[:2], b"X" + SOUND[2], *SOUND[3:]]), id="plain-no-record"),
        pytest.param(b"".join([*SOUND[:2], b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", *SOUND[3:]]), id="no-length"),
    ],
)
def test_damage_costs_one_record(data: bytes) -> None:
    assert summary(data) == ["0", "1", "damaged", "3", "4"]


def test_damage_is_told_with_its_offset() -> None:
    item = read(damaged(60, b"\xff\xff\xff\xff"))[2]
    assert isinstance(item, Skipped)
    assert item.offset == sum(map(len, MEMBERS[:2]))
    assert item.detail


def test_damaged_arc_goes_on_at_the_next_record() -> None:
    data = ARC_HEAD + arc_record(0) + b"\x00garbage line\nmore\n" + arc_record(2)
    assert summary(data) == ["record_type:warcinfo", "0", "damaged", "2"]
    assert summary(gzip.compress(ARC_HEAD) + gzip.compress(arc_record(1))) == ["record_type:warcinfo", "1"]


@pytest.mark.parametrize("keep", [1, 5, 40, 100])
def test_a_truncated_file_yields_what_is_whole(keep: int) -> None:
    assert summary(b"".join(MEMBERS[:3]) + MEMBERS[3][:keep]) == ["0", "1", "2", "truncated_file"]


def test_a_truncated_plain_file_yields_what_is_whole() -> None:
    assert summary(b"".join(SOUND[:3]) + SOUND[3][:-30]) == ["0", "1", "2", "truncated_file"]


def test_padding_and_empty_members_are_no_damage() -> None:
    data = MEMBERS[0] + gzip.compress(b"") + b"\x00" * 512 + MEMBERS[1] + b"\x00" * 100
    assert summary(data) == ["0", "1"]


def test_damage_in_zstd_ends_the_file_and_is_counted() -> None:
    pages = [record(i, response(random.Random(i).randbytes(20_000).hex().encode())) for i in range(5)]
    data = bytearray(b"".join(zstd(p) for p in pages))
    data[sum(len(zstd(p)) for p in pages[:3])] ^= 0x55
    found = summary(bytes(data))
    assert found[:2] == ["0", "1"]
    assert found[-1] == "damaged"


def test_other_files_are_one_damage() -> None:
    assert summary(b"<html>" * 100) == ["damaged"]
    assert summary(b"") == []


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1500), st.booleans(), st.integers(0, 300))
def test_no_bytes_make_the_reader_raise(noise: bytes, at: int, compressed: bool, cut: int) -> None:
    data = b"".join(MEMBERS if compressed else SOUND)
    mixed = data[:at] + noise + data[at + cut :]
    for item in read(mixed):
        assert isinstance(item, Capture) or item.reason in REASONS


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["", "gzip", "deflate", "br", "zstd", "gzip, br"]), st.booleans())
def test_no_http_message_makes_the_reader_raise(noise: bytes, encoding: str, chunked: bool) -> None:
    headers = f"Content-Type: text/html\r\nContent-Encoding: {encoding}" + "\r\nTransfer-Encoding: chunked" * chunked
    for block in (noise, response(noise, headers), b"HTTP/1.1 200 OK" + noise):
        assert len(read(record(1, block))) == 1


def test_memory_does_not_grow_with_the_file() -> None:
    rng = random.Random(0)
    noise = rng.randbytes(3 << 20).hex().encode()
    member = gzip.compress(record(1, response(noise)), 1)

    class Repeated(io.RawIOBase):
        """A file of 2 GB of page bytes, made while it is read."""

        def __init__(self) -> None:
            self.position = 0

        def readable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.position = offset
            return offset

        def read(self, size: int = -1) -> bytes:
            at = self.position % len(member)
            part = member[at : at + size] if self.position < 60 * len(member) else b""
            self.position += len(part)
            return part

    tracemalloc.start()
    assert sum(isinstance(i, Capture) for i in read_records(Repeated())) == 60  # pyright: ignore[reportArgumentType]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120 << 20


def test_a_huge_record_is_cut_and_the_next_is_found() -> None:
    huge = response(b"<p>" + b"x" * (http.MAX_BODY + 5_000_000))
    for container in (lambda r: r, gzip.compress):
        first, second = read(container(record(1, huge)) + container(record(2)))
        assert isinstance(first, Capture)
        assert first.truncated
        assert len(first.body) <= http.MAX_BODY
        assert isinstance(second, Capture)


# HTTP


def chunked(body: bytes, size: int = 7, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in parts) + end


def raw_deflate(body: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(body) + encoder.flush()


@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("gzip", gzip.compress(PAGE)),
        ("x-gzip", gzip.compress(PAGE)),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", raw_deflate(PAGE)),
        ("br", brotli.compress(PAGE)),
        ("zstd", zstd(PAGE)),
        ("gzip, br", brotli.compress(gzip.compress(PAGE))),
        ("identity", PAGE),
        ("utf-8", PAGE),
        ("gzip", PAGE),
        ("br", PAGE),
    ],
)
def test_content_encodings_are_undone_and_wrong_ones_ignored(encoding: str, payload: bytes) -> None:
    assert body_of(response(payload, f"Content-Type: text/html\r\nContent-Encoding: {encoding}")) == PAGE


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (chunked(PAGE), PAGE),
        (chunked(PAGE, end=b"0\r\nTrailer: x\r\n\r\n"), PAGE),
        (PAGE, PAGE),
        (b"cafe and more text <p>", b"cafe and more text <p>"),
        (b"5\r\n" + PAGE, b"5\r\n" + PAGE),
        (chunked(PAGE)[:-20], None),
    ],
)
def test_chunks_are_joined_and_wrongly_declared_ones_kept(payload: bytes, expected: bytes | None) -> None:
    found = body_of(response(payload, "Content-Type: text/html\r\nTransfer-Encoding: chunked"))
    assert found == expected if expected is not None else PAGE.startswith(found[:20])


def test_gzip_inside_chunks_is_undone() -> None:
    block = response(
        chunked(gzip.compress(PAGE)),
        "Content-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked",
    )
    assert body_of(block) == PAGE


def test_an_encoding_that_ends_early_gives_what_came_through() -> None:
    body = random.Random(1).randbytes(50_000).hex().encode()
    item = one(response(b"".join([gzip.compress(body)[:20_000]]), "Content-Type: text/html\r\nContent-Encoding: gzip"))
    assert isinstance(item, Capture)
    assert item.truncated
    assert body.startswith(item.body)
    assert len(item.body) > 1000


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstd)],
)
def test_a_decompression_bomb_is_cut(encoding: str, compress: object) -> None:
    bomb = compress(b"<p>" + b"a" * (60 << 20))  # pyright: ignore[reportCallIssue]
    item = one(response(bomb, f"Content-Type: text/html\r\nContent-Encoding: {encoding}"))
    assert isinstance(item, Capture)
    assert item.truncated
    assert len(item.body) == http.MAX_BODY


def test_headers_are_read_leniently() -> None:
    block = (
        b"ICY 200\nContent-Type : Text/HTML ; Charset='Latin1'\n folded\nbroken line\n: x\n"
        b"Content-Type: image/png\n\n" + PAGE
    )
    item = one(block)
    assert isinstance(item, Capture)
    assert (item.mime, item.charset, item.body) == ("text/html", "Latin1", PAGE)


# Input made to cost much

SLOW = 5.0
"""Seconds that none of these may take; before there were bounds they took hours."""


@pytest.mark.parametrize(
    "start",
    [
        b"<!---->" * 40 + b"x",
        b"<!---->" * 580 + b"x",
        b"<!--" * 1000,
        b"<!-- -->" * 200 + b" " * 2000 + b"<!",
        b"<?xml>" * 600,
        b"<?xml" * 800,
    ],
)
def test_first_bytes_that_look_like_markup_cost_little(start: bytes) -> None:
    started = time.perf_counter()
    assert isinstance(one(response(start, headers="")), Skipped)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "start",
    [
        b"<p>x",
        b"\xef\xbb\xbf \r\n<!-- a --><!---->\n<!DOCTYPE HTML>",
        b'<?xml version="1.0"?><!-- a > b -->\f<html>',
        b"<!-- " + b"long " * 700 + b"--><head>",
    ],
)
def test_markup_without_a_media_type_is_recognised(start: bytes) -> None:
    item = one(response(start, headers=""))
    assert isinstance(item, Capture), item
    assert item.mime == "text/html"


HOSTILE_HEADERS = {
    "space in the charset": "Content-Type: text/html; charset=" + " " * 60_000 + ";",
    "charsets": "Content-Type: text/html; " + "charset =" * 6_000 + ";",
    "media type": "Content-Type: " + "a" * 60_000,
    "folded lines": "A: b\r\n" + " x\r\n" * 15_000 + "Content-Type: text/html",
    "encodings": "Content-Encoding: " + ", ," * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_http_headers_cost_little(name: str) -> None:
    started = time.perf_counter()
    read(record(0, response(headers=HOSTILE_HEADERS[name])))
    assert time.perf_counter() - started < 1.0


def test_first_lines_that_look_like_arc_cost_little() -> None:
    lines = [
        b"a:" + b" x 200804302048" * 500 + b" " + b"9" * 500_000 + b"\n",
        (b"http://a/" + b" x 200804302048" * 500 + b"\n") * 60,
        (b"http://a/ 1.2.3.4 20080430204825 " + b"9" * 8_000 + b" \n") * 60,
        b"a" * 1_000_000 + b":\n",
    ]
    for line in lines:
        started = time.perf_counter()
        found = summary(b"damage\n" + line + b"\n" + record(7))
        assert (set(found[:-1]), found[-1]) == ({"damaged"}, "7")
        assert time.perf_counter() - started < SLOW


@pytest.mark.parametrize("end", [b"texthtml 12x", b"texthtml12", b"text/html", b"text/html 9999999999999999999999"])
def test_an_arc_line_without_a_length_is_damage(end: bytes) -> None:
    line = b"http://example.com/ 1.2.3.4 20080430204825 " + end + b"\n"
    assert summary(line + response() + b"\n" + arc_record(7)) == ["damaged", "7"]


def test_an_arc_line_may_hold_spaces() -> None:
    line = b"http://example.com/a b 1.2.3.4 20080430204825 text/html %d\n" % len(response())
    (item,) = read(line + response() + b"\n")
    assert isinstance(item, Capture)
    assert (item.url, item.date) == ("http://example.com/a b", datetime(2008, 4, 30, 20, 48, 25, tzinfo=UTC))


class Counted(io.BytesIO):
    """Counts the bytes that are read of it."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def false_header(length: int) -> bytes:
    return b"\nWARC/1.0\r\nContent-Length: %d\r\n\r\nx" % length


@pytest.mark.parametrize("length", [10_000_000, 40_000_000, 10**15])
@pytest.mark.parametrize("container", ["plain", "long member", "member"])
def test_false_headers_are_read_a_bounded_number_of_times(length: int, container: str) -> None:
    headers = false_header(length) * (20_000 if container == "member" else 60_000)
    data = b"".join(SOUND) + headers + b"." * (4_000_000 if container == "member" else 30_000_000)
    data += b"".join(SOUND)
    stream = Counted(data if container == "plain" else gzip.compress(data, 1))
    started = time.perf_counter()
    items = list(read_records(stream))
    assert time.perf_counter() - started < 3 * SLOW
    assert stream.total < 5 * len(data) + (64 << 20)
    assert sum(isinstance(i, Capture) for i in items) >= 5


def test_first_lines_without_headers_cost_little() -> None:
    started = time.perf_counter()
    items = read(b"WARC/1.0\r\n" * 100_000 + b"\n" + record(7))
    assert time.perf_counter() - started < SLOW
    assert isinstance(items[-1], Capture)


def test_overlapping_members_are_read_a_bounded_number_of_times() -> None:
    """Thousand members that begin in one stored block and share all that follow, up to a fault at the end."""

    def stored(size: int) -> bytes:
        return b"\x00" + struct.pack("<HH", size, size ^ 0xFFFF)

    line = b"WARC/1.0\r\nContent-Length: 99\r\n\r\n"
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    size = (len(head) + 5 + len(line)) * 1000
    block = b""
    while len(block) < size:
        block += head + stored(size - len(block) - len(head) - 5) + line
    data = block + (stored(60_000) + b"." * 60_000) * 150 + b"\x07"
    stream = Counted(data + gzip.compress(record(7)))
    started = time.perf_counter()
    items = list(read_records(stream))
    assert time.perf_counter() - started < 2 * SLOW
    assert stream.total < 5 * len(data) + (64 << 20)
    assert isinstance(items[-1], Capture)


def test_one_wrong_length_in_a_large_file_costs_one_record() -> None:
    wrong = record(1, length=10**14)
    filler = [record(9, b"x" * 1_000_000) for _ in range(40)]
    items = read(b"".join([record(0), *filler, wrong, *filler, wrong, record(2), *filler, wrong, record(3)]))
    assert [i.url[-1] if isinstance(i, Capture) else i.reason for i in items if isinstance(i, Capture) or
            i.reason != "http_malformed"] == ["0", "damaged", "damaged", "2", "damaged", "3"]  # fmt: skip


def test_line_ends_that_were_changed_in_a_whole_file_cost_little() -> None:
    """As a transfer in text mode does: every length is wrong, and each record is found again."""
    whole = b"".join(record(i % 10, response(b"<p>line\r\n" * 2_000)) for i in range(500))
    stream = Counted(whole.replace(b"\r\n", b"\n"))
    items = list(read_records(stream))
    assert len(items) >= 500
    assert stream.total < 5 * len(whole)
