"""Archive files to pages: WARC 1.0/1.1, WET and ARC; gzip, zstd or plain.

Framing (where a record begins and ends, what to do when it does not) is here, because damage must cost one
record and not a file; record headers are read by FastWARC and, for ARC, by warcio. Nothing is raised for what
a file holds: every record becomes a `Capture` or a `Skipped`, in file order, and memory does not grow with
the file.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import BinaryIO, Literal

from fastwarc.stream_io import ZstdReader
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecordLoader

from corpus_dagster.http import (
    MAX_BODY,
    MAX_HEADER,
    MalformedMessageError,
    charset_label,
    media_type,
    parse_response,
)

MAX_RECORD = MAX_BODY + MAX_HEADER
"""Bytes of one record that are held in memory; the rest of a longer one is read and dropped."""

READ_BYTES = 1 << 20
"""Bytes asked of the file at a time."""

INFLATE_BYTES = 16 * 1024
"""Compressed bytes given to zlib at a time."""

ZSTD_READ_BYTES = 16 * 1024
"""Bytes decompressed at a time from zstd: what comes before an error in the same piece is lost with it."""

MAX_FIRST_LINE = 8 * 1024
"""Longest first line of a record, in bytes. ARC puts the URL there; browsers and servers stop at 2 to 8 KiB."""

RESYNC_OVERLAP = MAX_FIRST_LINE + 1024
"""Bytes kept between two windows while searching for a record's first line: longer than any such line."""

HEAD_BYTES = 4 * 1024
"""Bytes looked at for a record's header before `MAX_HEADER` of them are: nearly every header is shorter."""

REREAD_FACTOR = 2
REREAD_SLACK = 32 << 20
"""After damage the bytes of a record that ended wrongly are searched again. Over a file this may be at most the slack,
three full records, and `REREAD_FACTOR` times what was read of it; otherwise a file full of false headers, each of them
naming a large body, would take time quadratic in its length."""

SNIFF_BYTES = 4096
"""First bytes of a body in which its markup must begin, after comments and an XML declaration."""

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
TEXT_TYPES = frozenset({"text/plain", "text/markdown"})

UNKNOWN_TYPES = frozenset({"", "unknown/unknown", "application/unknown", "*/*", "application/octet-stream", "no-type"})
"""Media types that say nothing; the type found by the crawler or by the first bytes takes their place."""

REASONS: dict[str, str] = {
    "record_type:warcinfo": "describes the file; ARC's `filedesc` as well",
    "record_type:request": "what the crawler asked",
    "record_type:metadata": "what the crawler noted",
    "record_type:resource": "stored without HTTP, and not a web page",
    "record_type:conversion": "made from another record, and not text",
    "record_type:unknown": "a type outside the standard",
    "revisit": "same content as an earlier record, which is not repeated",
    "continuation": "a later piece of a split record; its first piece cannot be completed in a stream",
    "not_http": "a response of another protocol, such as DNS",
    "http_malformed": "no HTTP status line, or a header block without end",
    "status:1xx": "HTTP status 100 to 199",
    "status:3xx": "HTTP status 300 to 399: redirects",
    "status:4xx": "HTTP status 400 to 499",
    "status:5xx": "HTTP status 500 to 599",
    "status:other": "HTTP status outside 100 to 599",
    "mime": "neither HTML, XHTML nor plain text by its media type",
    "not_text": "declared as text, but the first bytes are those of a binary format",
    "empty": "no body",
    "decode_error": "not one byte could be decoded by the declared content encoding",
    "damaged": "the archive is broken here; reading went on at the next sound record",
    "truncated_file": "the file ends inside this record",
}
"""Why a record is not a capture. The list is closed."""

_RECORD_TYPES = {
    int(WarcRecordType.warcinfo): "record_type:warcinfo",
    int(WarcRecordType.request): "record_type:request",
    int(WarcRecordType.metadata): "record_type:metadata",
    int(WarcRecordType.revisit): "revisit",
    int(WarcRecordType.continuation): "continuation",
}

_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18")
_BLANK = b"\r\n\x00 \t"
_BLANKS = re.compile(rb"[\r\n\x00 \t]*")
_WARC_LINE = rb"WARC/\d\.\d{1,4}[ \t]{0,64}\r?\n"
_WARC_START = re.compile(_WARC_LINE)
# What may be an ARC line: the rest of it is read by `_arc_length`, because one pattern for all would be quadratic.
_ARC_START = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]{0,31}:[^\n]{0,%d}\n" % MAX_FIRST_LINE)
_RECORD_START = re.compile(
    rb"(?<=\n)(?:" + _WARC_LINE + rb"|[A-Za-z][A-Za-z0-9+.\-]{0,31}:[^\n]{0,%d}\d\r?\n)" % MAX_FIRST_LINE
)
_ARC_DATE = re.compile(rb"(?<=[^ ]) \d{12,20}(?= |\Z)")
_ARC_LENGTH = re.compile(rb"-?\d{1,18}")
_MAX_ARC_TYPE = 320
# A header block never holds the first line of another record: the search for its end stops there.
_HEADER_END = re.compile(rb"\r?\n\r?\n|\nWARC/\d")
_CONTENT_LENGTH = re.compile(rb"\nContent-Length[ \t]{0,64}:[ \t]{0,64}(\d{1,18})[ \t]{0,64}\r?\n", re.IGNORECASE)
_BINARY = (
    *(
        b"%PDF-",
        b"%!PS",
        b"\x89PNG",
        b"GIF8",
        b"\xff\xd8\xff",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"BZh",
        b"Rar!",
        b"7z\xbc\xaf",
    ),
    *(b"\x7fELF", b"\xd0\xcf\x11\xe0", b"OggS", b"ID3", b"wOFF", b"wOF2", b"FWS", b"CWS"),
)
_HTML_SPACE = re.compile(rb"[\r\n\t\f ]*")
_HTML_TAG = re.compile(rb"<(?:!doctype html|html|head|body|title|h1|table|div|p|a|br)[\s>]", re.IGNORECASE)


@dataclass(frozen=True)
class Capture:
    """A page as it was fetched, encodings of HTTP undone.

    Attributes:
        offset: byte offset of the record in its file; of its gzip member where the file is compressed by
            record, and in the decompressed stream for zstd and for files compressed as a whole.
        record_id: WARC-Record-ID without angle brackets; empty for ARC, which has none.
        url: target URI.
        date: when it was fetched, UTC; None where the header has no valid date.
        status: HTTP status; 0 where the record holds no HTTP message.
        mime: lower-case media type; where the header has none, the one found by the crawler or by the first
            bytes.
        charset: label of the Content-Type header; empty where it has none.
        body: payload, at most `MAX_BODY` bytes.
        truncated: cut by the crawler, by the limit or by an encoding that ended early.
        kind: `response` for a page, `conversion` for text of a WET file.
    """

    offset: int
    record_id: str
    url: str
    date: datetime | None
    status: int
    mime: str
    charset: str
    body: bytes
    truncated: bool
    kind: Literal["response", "conversion"]

    @property
    def html(self) -> bool:
        """Whether the body is markup, not plain text."""
        return self.kind == "response" and self.mime in HTML_TYPES


@dataclass(frozen=True)
class Skipped:
    """A record that is not a capture, and why: a key of `REASONS`."""

    offset: int
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class _Frame:
    """A whole record: its bytes (body cut at `MAX_RECORD`), and whether it was cut."""

    offset: int
    arc: bool
    header: bytes
    body: bytes
    cut: bool


def read_records(stream: BinaryIO) -> Iterator[Capture | Skipped]:
    """Read an archive file from its start to its end.

    Args:
        stream: seekable binary stream. Seeks happen only after damage.

    Returns:
        Captures and skipped records in file order. IO errors of the stream itself are raised; contents never
        are.
    """
    head = stream.read(4)
    stream.seek(0)
    if head.startswith(_GZIP_MAGIC):
        frames = _gzip_frames(stream)
    elif head.startswith(_ZSTD_MAGICS):
        frames = _zstd_frames(stream)
    else:
        frames = _frames(_Window(stream.read, stream))
    for frame in frames:
        yield frame if isinstance(frame, Skipped) else _classify(frame)


class _Window:
    """A forward window over bytes: peek, take, skip, and go back as far as the last mark or the stream
    allows."""

    def __init__(self, read: Callable[[int], bytes], seekable: BinaryIO | None = None) -> None:
        self._read = read
        self._seekable = seekable
        self._data = b""
        self._base = 0
        self._at = 0
        self._end = False
        self._furthest = 0
        self._reread = 0

    @classmethod
    def over(cls, data: bytes) -> _Window:
        window = cls(lambda _: b"")
        window._data = data
        window._end = True
        return window

    def tell(self) -> int:
        return self._base + self._at

    def mark(self) -> None:
        """Everything before this position may be forgotten."""
        if self._at > READ_BYTES:
            drop = self._at - 1
            self._data = self._data[drop:]
            self._base += drop
            self._at = 1

    def _fill(self, size: int) -> None:
        missing = self._at + size - len(self._data)
        if missing <= 0 or self._end:
            return
        parts = [self._data]
        while missing > 0:
            part = self._read(max(missing, READ_BYTES))
            if not part:
                self._end = True
                break
            parts.append(part)
            missing -= len(part)
        self._data = b"".join(parts)

    def peek(self, size: int) -> bytes:
        self._fill(size)
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        data = self.peek(size)
        self._at += len(data)
        return data

    def skip(self, size: int) -> int:
        """Drop up to `size` bytes; returns how many there were."""
        held = min(size, len(self._data) - self._at)
        self._at += held
        dropped = held
        while dropped < size and not self._end:
            self._base += self._at
            self._data = b""
            self._at = 0
            part = self._read(min(size - dropped, READ_BYTES))
            if not part:
                self._end = True
                break
            dropped += len(part)
            self._base += len(part)
        return dropped

    def skip_blank(self) -> None:
        while True:
            self._fill(1)
            blanks = _BLANKS.match(self._data, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._data) or self._end:
                return
            self.mark()

    def affords(self, size: int) -> bool:
        """Whether going back by so many bytes keeps what is read twice within bounds."""
        self._furthest = max(self._furthest, self.tell())
        return self._reread + size <= REREAD_FACTOR * self._furthest + REREAD_SLACK

    @property
    def went_back(self) -> bool:
        """Whether bytes were read twice already."""
        return self._reread > 0

    def rewind(self, position: int) -> None:
        """Go back to a position; stay where it is gone and the stream cannot seek, or where too much was read twice."""
        size = self.tell() - position
        if not self.affords(size):
            return
        if position >= self._base:
            self._at = position - self._base
        elif self._seekable is not None:
            self._seekable.seek(position)
            self._data, self._base, self._at, self._end = b"", position, 0, False
        else:
            return
        self._reread += size

    def find_record(self) -> bool:
        """Move to the next line that starts a record. False at the end of the stream."""
        while True:
            self._fill(READ_BYTES)
            # Searching the whole buffer from here on lets the pattern see the line feed before this position.
            found = _find_record(self._data, self._at)
            if found >= 0:
                self._at = found
                return True
            if self._end:
                self._at = len(self._data)
                return False
            self._at = max(self._at, len(self._data) - RESYNC_OVERLAP)
            self.mark()


def _find_record(data: bytes, start: int = 0) -> int:
    """Position of the first line from `start` on, and after a line feed, that starts a record; -1 without one."""
    for found in _RECORD_START.finditer(data, start):
        line = found.group()
        if line.startswith(b"WARC/") or _arc_length(line) is not None:
            return found.start()
    return -1


def _arc_length(line: bytes) -> int | None:
    """Body length of an ARC record's first line (URL, address, date, media type, length); None for other lines."""
    head, _, last = line.rstrip(b"\r\n").rpartition(b" ")
    if not _ARC_LENGTH.fullmatch(last):
        return None
    # The media type may hold spaces, so the date is searched from where the type may begin at the earliest.
    for date in _ARC_DATE.finditer(head, max(0, len(head) - _MAX_ARC_TYPE)):
        url, _, address = head[: date.start()].rpartition(b" ")
        if url and address:
            return int(last)
    return None


def _starts_record(data: bytes) -> bool:
    if _WARC_START.match(data):
        return True
    line = _ARC_START.match(data)
    return line is not None and _arc_length(line.group()) is not None


def _frames(window: _Window, origin: int | None = None) -> Iterator[_Frame | Skipped]:
    """Records of an uncompressed stream. `origin` replaces their offsets: that of the gzip member they came
    from."""
    while True:
        window.skip_blank()
        window.mark()
        start = window.tell()
        offset = start if origin is None else origin
        head = window.peek(HEAD_BYTES)
        if not head:
            return
        layout = _layout(head)
        if layout is None and len(head) == HEAD_BYTES and not _HEADER_END.search(head):
            head = window.peek(MAX_HEADER)
            layout = _layout(head)
        if layout is None:
            yield Skipped(offset, "damaged", f"no record header: {head[:40]!r}")
            window.take(1)
            if not window.find_record():
                return
            continue
        arc, header_length, length = layout
        header = window.take(header_length)
        body_start = window.tell()
        if length > MAX_RECORD and window.went_back and not window.affords(length):
            # There was much damage before: a body this long would be read in full only to be read again.
            yield Skipped(offset, "damaged", f"{length} bytes declared, after damage")
            if not window.find_record():
                return
            continue
        body = window.take(min(length, MAX_RECORD))
        missing = length - len(body)
        if missing:
            missing -= window.skip(missing) if len(body) == MAX_RECORD else 0
        if missing:
            if _find_record(body) < 0:
                yield Skipped(offset, "truncated_file", f"{missing} of {length} bytes are missing")
                return
            detail = f"{length} bytes declared, other records among them"
        elif (detail := _bad_end(window, arc)) is None:
            yield _Frame(offset, arc, header, body, length > len(body))
            continue
        yield Skipped(offset, "damaged", detail)
        window.rewind(body_start - 1)
        if not window.find_record():
            return


def _layout(head: bytes) -> tuple[bool, int, int] | None:
    """Of the record that starts here: whether it is ARC, bytes of its header, bytes of its body."""
    if _WARC_START.match(head):
        end = _HEADER_END.search(head)
        if end is None or end.group().startswith(b"\nWARC"):
            return None
        length = _CONTENT_LENGTH.search(head, 0, end.start() + 2)
        return None if length is None else (False, end.end(), int(length.group(1)))
    line = _ARC_START.match(head)
    length_of_body = _arc_length(line.group()) if line else None
    if line is None or length_of_body is None or length_of_body < 0:
        return None
    return True, line.end(), length_of_body


def _bad_end(window: _Window, arc: bool) -> str | None:
    """What is wrong with the bytes after a record; None when the record ends where its header says."""
    tail = window.peek(512)
    rest = tail.lstrip(_BLANK)
    if not rest or tail.startswith(b"\n" if arc else (b"\r\n\r\n", b"\n\n")):
        return None
    if rest.startswith(b"WARC/") or _starts_record(window.peek(len(tail) + RESYNC_OVERLAP).lstrip(_BLANK)):
        return None
    return f"no record boundary at the declared end: {tail[:40]!r}"


def _gzip_frames(stream: BinaryIO) -> Iterator[_Frame | Skipped]:
    """Records of a gzip file, member by member."""
    member = _Member(stream)
    while member.open_next():
        offset = member.offset
        data = member.read(MAX_RECORD)
        if not member.finished and member.fault is None:
            # Too large for one record of a page: a huge record, or the whole file in one member.
            yield from _long_member(member, data, offset)
        elif member.fault is None:
            for frame in _frames(_Window.over(data), offset):
                if isinstance(frame, Skipped) and frame.reason == "truncated_file":
                    # The member is whole, so it is its header that is wrong.
                    yield Skipped(offset, "damaged", frame.detail)
                else:
                    yield frame
        else:
            # Without a checksum only records before the last one, which is cut, can be trusted.
            yield from list(_frames(_Window.over(data), offset))[:-1]
            yield Skipped(offset, member.fault, member.detail)
        if member.fault == "truncated_file":
            return
        if member.fault is not None and not member.resync(offset + 1):
            return


def _long_member(member: _Member, data: bytes, offset: int) -> Iterator[_Frame | Skipped]:
    pending = [data]

    def read(size: int) -> bytes:
        return pending.pop() if pending else member.read(size)

    for frame in _frames(_Window(read)):
        if isinstance(frame, Skipped) and frame.reason == "truncated_file" and member.fault is not None:
            break
        # A member of one record is found at the member's offset in the file, those of a long stream within
        # it.
        yield frame if frame.offset else replace(frame, offset=offset)
    while member.read(READ_BYTES):
        pass
    if member.fault is not None:
        yield Skipped(offset, member.fault, member.detail)


class _Member:
    """The gzip members of a stream, one after the other, decompressed in pieces."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._raw = b""
        self._at = 0
        self._end = 0
        self._decoder = zlib.decompressobj(31)
        self.offset = 0
        self.finished = True
        self.fault: Literal["damaged", "truncated_file"] | None = None
        self.detail = ""
        self._reread = 0

    def _more(self) -> bool:
        """Read on; what was used up is dropped."""
        part = self._stream.read(READ_BYTES)
        self._raw = self._raw[self._at :] + part
        self._at = 0
        self._end += len(part)
        return bool(part)

    def open_next(self) -> bool:
        """Go to the next member; False at the end of the file. Zero padding is no damage."""
        while True:
            while self._at < len(self._raw) and self._raw[self._at] == 0:
                self._at += 1
            if self._at < len(self._raw):
                break
            if not self._more():
                return False
        self.offset = self._end - len(self._raw) + self._at
        self._decoder = zlib.decompressobj(31)
        self.finished = False
        self.fault = None
        return True

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the member; fewer at its end or at a fault, which is then set."""
        parts: list[bytes] = []
        while size > 0 and not self.finished and self.fault is None:
            if self._at >= len(self._raw) and not self._more():
                self.fault, self.detail = "truncated_file", "the file ends inside a gzip member"
                break
            # Small pieces, because zlib copies what is left of a piece whenever a member ends in it.
            piece = self._raw[self._at : self._at + INFLATE_BYTES]
            try:
                part = self._decoder.decompress(piece, size)
            except zlib.error as error:
                self.fault, self.detail = "damaged", str(error)
                break
            parts.append(part)
            size -= len(part)
            self.finished = self._decoder.eof
            left = self._decoder.unused_data if self.finished else self._decoder.unconsumed_tail
            self._at += len(piece) - len(left)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def resync(self, position: int) -> bool:
        """Go to the first member at or after a position which holds the start of a record; from where reading stopped,
        if too much was read twice."""
        reached = self._end - len(self._raw) + self._at
        if self._reread + reached - position <= REREAD_FACTOR * self._end + REREAD_SLACK:
            self._reread += reached - position
            self._stream.seek(position)
            self._raw, self._at, self._end = b"", 0, position
        while True:
            found = self._raw.find(_GZIP_MAGIC, self._at)
            if found < 0:
                self._at = max(self._at, len(self._raw) - len(_GZIP_MAGIC) + 1)
                if not self._more():
                    return False
                continue
            self._at = found
            if len(self._raw) - found < MAX_HEADER and self._more():
                continue
            if _holds_record(self._raw[self._at : self._at + 2 * RESYNC_OVERLAP]):
                return True
            self._at += 1


def _holds_record(raw: bytes) -> bool:
    try:
        data = zlib.decompressobj(31).decompress(raw, RESYNC_OVERLAP)
    except zlib.error:
        return False
    return _starts_record(data.lstrip(_BLANK))


def _zstd_frames(stream: BinaryIO) -> Iterator[_Frame | Skipped]:
    """Records of a zstd file. Damage ends the file here: zstd frames carry no mark that is safe to search
    for."""
    reader = ZstdReader(stream)
    fault = ""

    def read(size: int) -> bytes:
        nonlocal fault
        try:
            return b"" if fault else reader.read(min(size, ZSTD_READ_BYTES))
        except OSError as error:
            fault = str(error) or "zstd error"
            return b""

    last = 0
    for frame in _frames(_Window(read)):
        last = frame.offset
        if fault and isinstance(frame, Skipped) and frame.reason == "truncated_file":
            break
        yield frame
    if fault:
        yield Skipped(last, "damaged", fault)


def _classify(frame: _Frame) -> Capture | Skipped:
    return _classify_arc(frame) if frame.arc else _classify_warc(frame)


def _classify_warc(frame: _Frame) -> Capture | Skipped:
    # quirks_mode reads header lines that end in a bare line feed.
    records = ArchiveIterator(io.BytesIO(frame.header), parse_http=False, quirks_mode=True, max_header_len=MAX_HEADER)
    try:
        record: WarcRecord | None = next(iter(records), None)
    except OSError as error:
        return Skipped(frame.offset, "damaged", str(error))
    if record is None:
        return Skipped(frame.offset, "damaged", "no record in its frame")
    kind = record.record_type
    if int(kind) in _RECORD_TYPES:
        return Skipped(frame.offset, _RECORD_TYPES[int(kind)])
    headers = record.headers
    url = (headers.get("WARC-Target-URI") or "").strip().removeprefix("<").removesuffix(">")
    record_id = (headers.get("WARC-Record-ID") or "").strip().removeprefix("<").removesuffix(">")
    date = _iso_date(headers.get("WARC-Date") or "")
    content_type = headers.get("Content-Type")
    cut = frame.cut or bool(headers.get("WARC-Truncated"))
    if kind == WarcRecordType.response:
        if not url.lower().startswith(("http:", "https:")):
            return Skipped(frame.offset, "not_http")
        found = media_type(headers.get("WARC-Identified-Payload-Type"))
        return _response(frame.offset, record_id, url, date, frame.body, cut, found)
    mime = media_type(content_type)
    if kind == WarcRecordType.conversion:
        if mime not in TEXT_TYPES:
            return Skipped(frame.offset, "record_type:conversion")
        return _capture(frame.offset, record_id, url, date, 0, mime, "utf-8", frame.body, cut, "conversion")
    if kind == WarcRecordType.resource:
        if not url.lower().startswith(("http:", "https:")) or mime not in HTML_TYPES | TEXT_TYPES:
            return Skipped(frame.offset, "record_type:resource")
        label = charset_label(content_type)
        return _capture(frame.offset, record_id, url, date, 0, mime, label, frame.body, cut, "response")
    return Skipped(frame.offset, "record_type:unknown")


def _classify_arc(frame: _Frame) -> Capture | Skipped:
    try:
        record = ArcWarcRecordLoader(arc2warc=False).parse_record_stream(
            io.BytesIO(frame.header + frame.body), known_format="arc", no_record_parse=True
        )
    except (ArchiveLoadFailed, EOFError, ValueError) as error:
        return Skipped(frame.offset, "damaged", str(error))
    if record.rec_type == "arc_header":
        return Skipped(frame.offset, "record_type:warcinfo")
    url = record.rec_headers.get_header("uri") or ""
    if not url.lower().startswith(("http:", "https:")):
        return Skipped(frame.offset, "not_http")
    date = _arc_date(record.rec_headers.get_header("archive-date") or "")
    return _response(frame.offset, "", url, date, frame.body, frame.cut, "")


def _response(
    offset: int, record_id: str, url: str, date: datetime | None, block: bytes, cut: bool, found: str
) -> Capture | Skipped:
    try:
        message = parse_response(block)
    except MalformedMessageError as error:
        return Skipped(offset, "http_malformed", str(error))
    if not 200 <= message.status < 300:
        known = message.status // 100 in (1, 3, 4, 5)
        return Skipped(offset, f"status:{message.status // 100}xx" if known else "status:other")
    if message.undecodable:
        return Skipped(offset, "decode_error")
    content_type = message.headers.get("content-type")
    mime = media_type(content_type)
    if mime in UNKNOWN_TYPES:
        mime = found if found not in UNKNOWN_TYPES else _sniff(message.body)
    label = charset_label(content_type)
    cut = cut or message.truncated
    return _capture(offset, record_id, url, date, message.status, mime, label, message.body, cut, "response")


def _capture(
    offset: int,
    record_id: str,
    url: str,
    date: datetime | None,
    status: int,
    mime: str,
    charset: str,
    body: bytes,
    cut: bool,
    kind: Literal["response", "conversion"],
) -> Capture | Skipped:
    if not body.strip(_BLANK):
        return Skipped(offset, "empty")
    if mime not in HTML_TYPES and mime not in TEXT_TYPES:
        return Skipped(offset, "mime", mime)
    if _is_binary(body):
        return Skipped(offset, "not_text")
    if len(body) > MAX_BODY:
        body, cut = body[:MAX_BODY], True
    return Capture(offset, record_id, url, date, status, mime, charset, body, cut, kind)


def _sniff(body: bytes) -> str:
    """Media type by first bytes, where no header says: HTML, or nothing."""
    head = body[:SNIFF_BYTES].removeprefix(b"\xef\xbb\xbf")
    at = 0
    while True:
        space = _HTML_SPACE.match(head, at)
        at = space.end() if space else at
        if head.startswith(b"<!--", at):
            end, mark = head.find(b"-->", at + 4), b"-->"
        elif head[at : at + 5].lower() == b"<?xml":
            end, mark = head.find(b">", at), b">"
        else:
            return "text/html" if _HTML_TAG.match(head, at) else ""
        if end < 0:
            return ""
        at = end + len(mark)


def _is_binary(body: bytes) -> bool:
    """Whether the first bytes are those of a binary format, or full of control characters that no text
    holds."""
    if body.startswith((b"\xfe\xff", b"\xff\xfe")):
        return False
    head = body[:1024]
    if head.startswith(_BINARY):
        return True
    controls = sum(head.count(bytes([b])) for b in (0, 1, 2, 3, 4, 5, 6, 7))
    return controls > 0.1 * len(head) and b"<" not in head.replace(b"\x00", b"")


def _iso_date(value: str) -> datetime | None:
    """WARC-Date: ISO 8601, UTC, in WARC 1.1 with up to nine digits of a second."""
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.](\d{1,9}))?Z", value.strip(), re.ASCII)
    if match is None:
        return None
    fraction = (match.group(7) or "").ljust(6, "0")[:6]
    return _date(*(int(g) for g in match.groups()[:6]), int(fraction))


def _arc_date(value: str) -> datetime | None:
    """ARC archive date: YYYYMMDDhhmmss."""
    match = re.match(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?", value, re.ASCII)
    return None if match is None else _date(*(int(g or 0) for g in match.groups()), 0)


def _date(*parts: int) -> datetime | None:
    try:
        return datetime(*parts, tzinfo=UTC)  # pyright: ignore[reportArgumentType]
    except ValueError:
        return None
