"""HTTP messages as archives hold them: header block, transfer and content encodings, media type.

Bytes in, bytes out; nothing here knows WARC or character sets. Input is untrusted: whatever it holds, a
message comes back or `MalformedMessageError` is raised, and no body grows beyond `MAX_BODY`.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import brotli
from fastwarc.stream_io import ZstdReader

MAX_BODY = 10 * 1024 * 1024
"""Largest body kept, in bytes. Common Crawl cuts at 1 MiB (5 MiB since 2025), so only other crawls reach it;
it also is where a decompression bomb ends."""

MAX_HEADER = 64 * 1024
"""Largest header block, in bytes. Browsers stop between 8 and 256 KiB."""

MAX_ENCODINGS = 4
"""Longest chain of content encodings that is undone. Chains of two occur; longer ones are attacks."""

_CHUNK = 1 << 20
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"[A-Za-z]{2,8}(?:/\d+(?:\.\d+)?)?[ \t]+(\d{3})(?!\d)")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")
# A quote and the space after it are one choice: two runs of space side by side would be tried in every division.
_CHARSET = re.compile(r"""charset\s*=\s*(?:["']\s*)?([^\s;"',]{1,64})""", re.IGNORECASE)


class MalformedMessageError(ValueError):
    """The bytes do not begin with an HTTP status line and header block."""


@dataclass(frozen=True)
class Response:
    """An HTTP response with its encodings undone.

    Attributes:
        status: three digits of the status line.
        headers: lower-case names; the first value of each, continuation lines joined.
        body: decoded payload, at most `MAX_BODY` bytes.
        truncated: the body was cut at the limit, or an encoding ended too early.
        undecodable: encodings were declared but not one byte could be decoded by them; `body` is then empty.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    undecodable: bool


def parse_response(block: bytes) -> Response:
    """Split an HTTP response into status, headers and decoded body.

    Raises:
        MalformedMessageError: there is no status line, or the header block does not end within `MAX_HEADER`.
    """
    status = _STATUS.match(block, 0, 256)
    if status is None:
        raise MalformedMessageError(f"expected a status line, found {block[:40]!r}")
    end = _HEADER_END.search(block, 0, MAX_HEADER)
    if end is None:
        if len(block) > MAX_HEADER:
            raise MalformedMessageError(f"header block longer than {MAX_HEADER} bytes")
        head, payload = block, b""
    else:
        head, payload = block[: end.start()], block[end.end() :]
    headers = _headers(head)
    body, truncated, undecodable = decode_body(payload, headers)
    return Response(int(status.group(1)), headers, body, truncated, undecodable)


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode("latin-1").split("\n")[1:]:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name in headers:
            name = ""
            continue
        headers[name] = value.strip()
    return headers


def decode_body(payload: bytes, headers: Mapping[str, str]) -> tuple[bytes, bool, bool]:
    """Undo transfer and content encodings.

    A wrong declaration is common (crawlers store decoded bodies under the original headers), so a body that
    does not look like its declared encoding is taken as it is.

    Returns:
        Body, whether it was cut or ended early, and whether nothing at all could be decoded.
    """
    truncated = False
    encodings = [e for e in re.split(r"[\s,]+", headers.get("content-encoding", "").lower()) if e]
    transfer = [e for e in re.split(r"[\s,]+", headers.get("transfer-encoding", "").lower()) if e]
    if "chunked" in transfer:
        payload, truncated = unchunk(payload)
    encodings += [e for e in transfer if e not in ("chunked", "identity")]
    if len(encodings) > MAX_ENCODINGS:
        return b"", True, True
    for encoding in reversed(encodings):
        decoder = _DECODERS.get(encoding)
        if decoder is None or not payload:
            continue
        decoded, cut = decoder(payload)
        if decoded is None:
            if _is_markup(payload):
                continue
            return b"", truncated, True
        payload, truncated = decoded, truncated or cut
    if not encodings and payload[:3] == b"\x1f\x8b\x08":
        # Served gzip without saying so: browsers offer it as a download, crawlers store it as a page.
        decoded, cut = _gunzip(payload)
        if decoded is not None:
            payload, truncated = decoded, truncated or cut
    if len(payload) > MAX_BODY:
        return payload[:MAX_BODY], True, False
    return payload, truncated, False


def unchunk(payload: bytes) -> tuple[bytes, bool]:
    """Undo chunked transfer encoding.

    Returns:
        The body and whether it ended before the last chunk. A payload that does not begin with a chunk size
        was stored decoded and comes back as it is.
    """
    parts: list[bytes] = []
    size = 0
    at = 0
    while at < len(payload):
        match = _CHUNK_SIZE.match(payload, at)
        if match is None:
            return (payload, False) if not parts else (b"".join(parts), True)
        length = int(match.group(1), 16)
        if length == 0:
            return b"".join(parts), False
        start = match.end()
        part = payload[start : start + length]
        parts.append(part)
        size += len(part)
        if len(part) < length or size > MAX_BODY:
            return b"".join(parts), True
        at = start + length
        if payload[at : at + 2] == b"\r\n":
            at += 2
        elif payload[at : at + 1] == b"\n":
            at += 1
        elif len(parts) == 1:
            # A page that happens to begin with a hexadecimal number.
            return payload, False
        else:
            return b"".join(parts), True
    return b"".join(parts), True


Decoded = tuple[bytes | None, bool]
"""Decoded bytes (None when not one byte could be decoded) and whether they are incomplete."""


def _inflate(payload: bytes, wbits: int) -> Decoded:
    decoder = zlib.decompressobj(wbits)
    parts: list[bytes] = []
    size = 0
    pending = payload
    while pending and not decoder.eof and size <= MAX_BODY:
        try:
            part = decoder.decompress(pending, min(_CHUNK, MAX_BODY + 1 - size))
        except zlib.error:
            # The reference behaviour of browsers: what came through is shown.
            return (b"".join(parts), True) if parts else (None, True)
        parts.append(part)
        size += len(part)
        pending = decoder.unconsumed_tail
    return b"".join(parts)[:MAX_BODY], not decoder.eof


def _gunzip(payload: bytes) -> Decoded:
    return _inflate(payload, 31)


def _deflate(payload: bytes) -> Decoded:
    """RFC 9110 says zlib; some servers send a raw stream, and browsers take both."""
    decoded, cut = _inflate(payload, 15)
    return (decoded, cut) if decoded is not None else _inflate(payload, -15)


def _unbrotli(payload: bytes) -> Decoded:
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    pending = payload
    while size <= MAX_BODY and not decoder.is_finished():
        try:
            part = decoder.process(pending, output_buffer_limit=_CHUNK)
        except brotli.error:
            return (b"".join(parts), True) if size else (None, True)
        pending = b""
        parts.append(part)
        size += len(part)
        if not part and decoder.can_accept_more_data():
            break
    return b"".join(parts)[:MAX_BODY], not decoder.is_finished()


def _unzstd(payload: bytes) -> Decoded:
    reader = ZstdReader(io.BytesIO(payload))
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BODY:
        try:
            part = reader.read(_CHUNK)
        except OSError:
            return (b"".join(parts), True) if size else (None, True)
        if not part:
            return b"".join(parts), False
        parts.append(part)
        size += len(part)
    return b"".join(parts)[:MAX_BODY], True


_DECODERS: dict[str, Callable[[bytes], Decoded]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _deflate,
    "br": _unbrotli,
    "zstd": _unzstd,
}


def _is_markup(payload: bytes) -> bool:
    """Whether bytes look like a page stored decoded: they begin with `<`, or hold text only."""
    head = payload[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head[:1] == b"<" or not any(b < 9 or 13 < b < 27 for b in head)


def media_type(value: str | None) -> str:
    """Lower-case `type/subtype` of a Content-Type header; empty where it has none."""
    if not value:
        return ""
    essence = value.partition(";")[0].partition(",")[0].strip().lower()
    return essence if re.fullmatch(r"[\w!#$&^.+-]+/[\w!#$&^.+*-]+", essence, re.ASCII) else ""


def charset_label(value: str | None) -> str:
    """The charset parameter of a Content-Type header; empty where it has none."""
    match = _CHARSET.search(value or "")
    return match.group(1) if match else ""
