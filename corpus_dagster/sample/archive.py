"""WARC records and their compression, byte for byte reproducible.

Writes what it is given: knows HTTP payloads as bytes and nothing of pages or labels.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import uuid
import zlib
from dataclasses import dataclass

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "sample-crawl.example")
# No time, no name, no extra field; 255 = unknown system, so that the platform leaves no trace.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_BROTLI_BLOCK = 1 << 16


def deflate(data: bytes) -> bytes:
    """Raw deflate stream without string matching.

    Implementations of zlib differ in the matches they find, so their output differs. Huffman coding alone leaves them
    no choice, and the sample's bytes, record offsets included, are the same everywhere.
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_HUFFMAN_ONLY)
    return packer.compress(data) + packer.flush()


def gzip_member(data: bytes) -> bytes:
    """One gzip member with modification time 0 (RFC 1952)."""
    return _GZIP_HEADER + deflate(data) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def zlib_stream(data: bytes) -> bytes:
    """The zlib format that HTTP calls "deflate" (RFC 1950)."""
    return b"\x78\x9c" + deflate(data) + struct.pack(">I", zlib.adler32(data))


def brotli_stream(data: bytes) -> bytes:
    """A Brotli stream of uncompressed meta-blocks (RFC 7932, section 9.2), the same under every encoder version."""
    bits, count = 0, 0
    out = bytearray()

    def put(value: int, width: int) -> None:
        nonlocal bits, count
        bits |= value << count
        count += width
        while count >= 8:
            out.append(bits & 0xFF)
            bits >>= 8
            count -= 8

    put(0, 1)  # WBITS: window of 2**16 bytes
    for start in range(0, len(data), _BROTLI_BLOCK):
        block = data[start : start + _BROTLI_BLOCK]
        put(0, 1)  # not the last meta-block
        put(0, 2)  # length in four nibbles
        put(len(block) - 1, 16)
        put(1, 1)  # uncompressed
        if count:
            put(0, 8 - count)
        out += block
    put(3, 2)  # last meta-block, empty
    if count:
        put(0, 8 - count)
    return bytes(out)


def chunked(data: bytes, size: int) -> bytes:
    """HTTP/1.1 chunked transfer coding with chunks of at most `size` bytes (RFC 9112, section 7.1)."""
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def record_id(*names: object) -> str:
    """A URN that depends on the names only."""
    return f"<urn:uuid:{uuid.uuid5(_NAMESPACE, '/'.join(map(str, names)))}>"


def sha1(data: bytes) -> str:
    """Digest as WARC files write it: SHA-1 in base 32."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


@dataclass(frozen=True)
class Record:
    """A WARC/1.0 record: headers in order, without Content-Length, and its block."""

    headers: tuple[tuple[str, str], ...]
    block: bytes

    def member(self) -> bytes:
        """The record as a gzip member of its own."""
        lines = ["WARC/1.0", *(f"{name}: {value}" for name, value in self.headers)]
        lines.append(f"Content-Length: {len(self.block)}")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return gzip_member(head + self.block + b"\r\n\r\n")


@dataclass(frozen=True)
class Exchange:
    """One fetch: the request, the response and what the crawler noted about it."""

    url: str
    date: str
    address: str
    request: bytes
    head: bytes
    """Status line and headers, blank line included."""
    body: bytes
    fetch_ms: int
    truncated: str = ""
    payload_type: str = ""

    def records(self, file_id: str) -> list[Record]:
        """Request, response and metadata, each naming the WARC file's warcinfo record."""
        request_id, response_id, metadata_id = (
            record_id(file_id, self.url, self.date, kind) for kind in ("request", "response", "metadata")
        )
        block = self.head + self.body
        common = (("WARC-Date", self.date), ("WARC-Warcinfo-ID", file_id))
        response = [
            ("WARC-Type", "response"),
            ("WARC-Record-ID", response_id),
            *common,
            ("WARC-Concurrent-To", request_id),
            ("WARC-IP-Address", self.address),
            ("WARC-Target-URI", self.url),
            ("WARC-Payload-Digest", sha1(self.body)),
            ("WARC-Block-Digest", sha1(block)),
        ]
        if self.payload_type:
            response.append(("WARC-Identified-Payload-Type", self.payload_type))
        if self.truncated:
            response.append(("WARC-Truncated", self.truncated))
        response.append(("Content-Type", "application/http; msgtype=response"))
        return [
            Record(
                (
                    ("WARC-Type", "request"),
                    ("WARC-Record-ID", request_id),
                    *common,
                    ("WARC-IP-Address", self.address),
                    ("WARC-Target-URI", self.url),
                    ("Content-Type", "application/http; msgtype=request"),
                ),
                self.request,
            ),
            Record(tuple(response), block),
            Record(
                (
                    ("WARC-Type", "metadata"),
                    ("WARC-Record-ID", metadata_id),
                    *common,
                    ("WARC-Concurrent-To", response_id),
                    ("WARC-Target-URI", self.url),
                    ("Content-Type", "application/warc-fields"),
                ),
                f"fetchTimeMs: {self.fetch_ms}\r\n".encode(),
            ),
        ]


def warcinfo(crawl: str, filename: str, date: str) -> Record:
    """The record that opens a file."""
    fields = (
        f"isPartOf: {crawl}\r\npublisher: corpus-dagster sample generator\r\nsoftware: corpus-dagster\r\n"
        "format: WARC File Format 1.0\r\ndescription: made-up pages for demonstration and tests\r\nrobots: classic\r\n"
    )
    return Record(
        (
            ("WARC-Type", "warcinfo"),
            ("WARC-Record-ID", record_id(crawl, filename)),
            ("WARC-Date", date),
            ("WARC-Filename", filename),
            ("Content-Type", "application/warc-fields"),
        ),
        fields.encode(),
    )
