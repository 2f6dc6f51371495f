"""How a page travels: character set, HTTP headers and encodings, and the fetches that are no pages at all.

Takes drafts, gives `Response` values that `archive` can store. What a page says is none of its business.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, replace
from urllib.parse import quote

from corpus_dagster.sample.archive import Exchange, brotli_stream, chunked, deflate, gzip_member, zlib_stream
from corpus_dagster.sample.dice import Dice, digest64
from corpus_dagster.sample.grammar import Prose
from corpus_dagster.sample.pages import Draft
from corpus_dagster.sample.sites import ARTICLES, BY_LANGUAGE, SHOPS, Site, render

_AGENT = "sample-crawler/1.0 (+https://crawler.example/bot.html)"
# Documentation ranges: RFC 5737.
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")


@dataclass(frozen=True)
class Response:
    """A response before it is stored, and its row of the label file."""

    url: str
    status: str
    headers: tuple[str, ...]
    """Header lines as sent; not all of them are well-formed."""
    body: bytes
    kind: str
    language: str
    expect: str
    charset: str = ""
    content_encoding: str = ""
    truncated: str = ""
    payload_type: str = ""
    edits: tuple[str, ...] = ()
    personal_data: tuple[str, ...] = ()
    duplicate_of: str = ""
    duplicate_crawl: str = ""

    def label(self, file: str, expect: str, duplicate_of: str) -> dict[str, object]:
        """The row of `labels.jsonl`."""
        return {
            "url": self.url,
            "file": file,
            "status": int(self.status[:3]),
            "kind": self.kind,
            "language": self.language,
            "expect": expect,
            "duplicate_of": duplicate_of or None,
            "duplicate_crawl": self.duplicate_crawl or None,
            "charset": self.charset or None,
            "content_encoding": self.content_encoding or None,
            "truncated": bool(self.truncated),
            "edits": list(self.edits),
            "personal_data": list(self.personal_data),
        }

    def exchange(self, date: str) -> Exchange:
        """Request and response as they went over the line at `date` (ISO 8601, UTC)."""
        host, _, path = self.url.split("://", 1)[1].partition("/")
        throw = digest64("address", host)
        return Exchange(
            url=self.url,
            date=date,
            address=f"{_NETWORKS[throw % 3]}.{1 + throw // 3 % 254}",
            request=(
                f"GET /{path} HTTP/1.1\r\nUser-Agent: {_AGENT}\r\nAccept: text/html,*/*;q=0.8\r\n"
                f"Accept-Encoding: br,gzip\r\nHost: {host}\r\nConnection: Keep-Alive\r\n\r\n"
            ).encode(),
            head="\r\n".join((f"HTTP/1.1 {self.status}", *self.headers, "", "")).encode("latin-1", "replace"),
            body=self.body,
            fetch_ms=40 + throw % 900,
            truncated=self.truncated,
            payload_type=self.payload_type,
        )


def _headers(content_type: str, body: bytes, *more: str) -> tuple[str, ...]:
    kind = (f"Content-Type: {content_type}",) if content_type else ()
    return ("Server: sample", *kind, *more, f"Content-Length: {len(body)}")


def _response(
    draft: Draft,
    body: bytes,
    headers: tuple[str, ...],
    payload_type: str,
    *,
    charset: str,
    content_encoding: str = "",
    truncated: str = "",
) -> Response:
    return Response(
        url=draft.url,
        status="200 OK",
        headers=headers,
        body=body,
        kind=draft.kind,
        language=draft.language,
        expect=draft.expect,
        payload_type=payload_type,
        edits=draft.edits,
        personal_data=draft.personal_data,
        duplicate_of=draft.duplicate_of,
        duplicate_crawl=draft.duplicate_crawl,
        charset=charset,
        content_encoding=content_encoding,
        truncated=truncated,
    )


def html_page(draft: Draft, *seed: object) -> Response:
    """An HTML page in UTF-8, sent in one of the ways that servers choose."""
    dice = Dice("transport", *seed, draft.url)
    body = draft.html("" if dice.one_in(12) else "utf-8").encode()
    content_type = dice.pick(
        ("text/html; charset=utf-8", "text/html; charset=UTF-8", "text/html", "TEXT/HTML;charset=utf8")
    )
    if draft.language != "en":
        content_type = "text/html; charset=utf-8"
    way = dice.below(50)
    encodings = {0: ("gzip", gzip_member), 1: ("gzip", gzip_member), 2: ("deflate", zlib_stream),
                 3: ("deflate", deflate), 4: ("br", brotli_stream)}  # fmt: skip
    if way in encodings:
        name, pack = encodings[way]
        packed = pack(body)
        headers = _headers(content_type, packed, f"Content-Encoding: {name}", "Vary: Accept-Encoding")
        return _response(draft, packed, headers, "text/html", charset="utf-8", content_encoding=name)
    if way in (5, 6):
        pieces = chunked(body, dice.between(400, 2000))
        headers = ("Server: sample", f"Content-Type: {content_type}", "Transfer-Encoding: chunked")
        return _response(draft, pieces, headers, "text/html", charset="utf-8", content_encoding="chunked")
    if way == 7:
        # The crawler decoded the body and kept the server's word for it, as Common Crawl does.
        headers = _headers(content_type, body, "X-Crawl-Content-Encoding: gzip")
        return _response(draft, body, headers, "text/html", charset="utf-8")
    if way == 8:
        headers = ("Server sample without a colon", ": no name", *_headers(content_type, body), "X-Odd:\tvalue  ")
        return _response(draft, body, headers, "text/html", charset="utf-8")
    if way == 9:
        return _response(draft, body, _headers("", body), "text/html", charset="utf-8")
    return _response(draft, body, _headers(content_type, body), "text/html", charset="utf-8")


def cut_page(draft: Draft) -> Response:
    """A page that the crawler cut off after three quarters of its text."""
    whole = draft.html().encode()
    body = whole[: len(whole) * 3 // 4]
    headers = _headers("text/html; charset=utf-8", body)
    return _response(draft, body, headers, "text/html", charset="utf-8", truncated="length")


def text_page(draft: Draft) -> Response:
    """The same words as plain text."""
    texts = [draft.title, *(str(content) for kind, content in draft.blocks if kind in ("p", "h2", "pre"))]
    body = "\n\n".join(texts).encode() + b"\n"
    return _response(draft, body, _headers("text/plain; charset=utf-8", body), "text/plain", charset="utf-8")


def xhtml_page(draft: Draft) -> Response:
    """A page served as XHTML."""
    body = draft.html().encode()
    return _response(draft, body, _headers("application/xhtml+xml", body), "application/xhtml+xml", charset="utf-8")


def recoded_page(draft: Draft, codec: str, header: str, meta: str) -> Response:
    """A page in another character set; `header` and `meta` are what is declared, empty for nothing."""
    text = draft.html(meta)
    body = b"\xff\xfe" + text.encode("utf-16-le") if codec == "utf-16" else text.encode(codec, "xmlcharrefreplace")
    content_type = f"text/html; charset={header}" if header else "text/html"
    return _response(draft, body, _headers(content_type, body), "text/html", charset=codec)


RECODED: dict[str, tuple[tuple[str, str, str], ...]] = {
    # language: (encoding, declared by the header, declared by the page)
    "ru": (("windows-1251", "", ""), ("windows-1251", "windows-1251", ""), ("koi8-r", "", "koi8-r")),
    "ja": (("shift_jis", "", "Shift_JIS"), ("euc_jp", "", "euc-jp"), ("shift_jis", "", "")),
    "ko": (("euc-kr", "", "euc-kr"), ("euc-kr", "", "")),
    "zh": (("gb18030", "gb2312", ""),),
    "fr": (("iso-8859-1", "", ""), ("iso-8859-1", "utf-8", "utf-8")),
    "es": (("iso-8859-1", "", ""),),
    "de": (("iso-8859-1", "utf-8", ""), ("windows-1252", "iso-8859-1", "")),
    "en": (("utf-16", "", ""), ("windows-1252", "iso-8859-1", "")),
}
"""Character sets other than UTF-8, right, wrong and undeclared."""


def recode(draft: Draft, n: int) -> Response:
    """The `n`-th way to send a page of its language in another character set."""
    ways = RECODED[draft.language]
    return recoded_page(draft, *ways[n % len(ways)])


def _png(dice: Dice) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + bytes(dice.below(256) for _ in range(24)) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib_stream(rows)) + chunk(b"IEND", b"")


def _pdf(dice: Dice) -> bytes:
    text = f"BT /F1 12 Tf 72 720 Td (Leaflet {dice.between(1, 999)}) Tj ET"
    return (f"%PDF-1.4\n1 0 obj<</Length {len(text)}>>stream\n{text}\nendstream endobj\ntrailer<<>>\n%%EOF\n").encode()


def _json(dice: Dice) -> bytes:
    return json.dumps({"items": [{"id": dice.between(1, 9999), "title": "Item"} for _ in range(12)]}).encode()


def _feed(dice: Dice) -> bytes:
    prose = Prose(dice, "en/garden", "en/common")
    items = "".join(
        f"<item><title>{n}</title><description>{prose.line('sentences')}</description></item>" for n in range(4)
    )
    return (f'<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{items}</channel></rss>').encode()


def _style(dice: Dice) -> bytes:
    return f"body {{ margin: {dice.between(0, 9)}em; font-family: serif }}\n".encode()


_FILES = (
    # name, media type, contents
    ("picture-{}.png", "image/png", _png),
    ("leaflet-{}.pdf", "application/pdf", _pdf),
    ("items-{}.json", "application/json", _json),
    ("feed-{}.xml", "application/rss+xml", _feed),
    ("style-{}.css", "text/css", _style),
)


def file(*key: object) -> Response:
    """Something on the web that is not a page."""
    dice = Dice("file", *key)
    name, media_type, make = dice.pick(_FILES)
    body = make(dice)
    return Response(
        f"https://{dice.pick(ARTICLES).host}/files/{name.format(dice.between(10_000, 99_999))}",
        "200 OK",
        _headers(media_type, body),
        body,
        media_type.rpartition("/")[2].removesuffix("+xml"),
        "",
        "skip:mime",
        payload_type=media_type,
    )


def disguised(*key: object) -> Response:
    """A PDF that the server calls HTML."""
    dice = Dice("disguised", *key)
    body = _pdf(dice)
    url = f"https://{dice.pick(ARTICLES).host}/download/{dice.between(10_000, 99_999)}"
    headers = _headers("text/html", body)
    return Response(url, "200 OK", headers, body, "pdf", "", "skip:not_text", payload_type="application/pdf")


def redirect(*key: object) -> Response:
    """An address that has moved."""
    dice = Dice("redirect", *key)
    site = dice.pick(ARTICLES)
    status = dice.pick(("301 Moved Permanently", "302 Found"))
    target = f"https://{site.host}/notes/{dice.between(10_000, 99_999)}.html"
    body = f'<html><body>Moved <a href="{target}">here</a></body></html>'.encode()
    url = f"http://{site.host}/old/{dice.between(10_000, 99_999)}"
    headers = (f"Location: {target}", *_headers("text/html", body))
    return Response(url, status, headers, body, "redirect", "en", "skip:status:3xx", payload_type="text/html")


def failure(*key: object) -> Response:
    """An error page: it has a text, and its status says what that is worth."""
    dice = Dice("failure", *key)
    status = dice.pick(
        ("404 Not Found", "404 Not Found", "410 Gone", "403 Forbidden", "500 Internal Server Error", "503 Busy")
    )
    site = dice.pick(ARTICLES + SHOPS)
    prose = Prose(dice, "en/garden", "en/common")
    blocks = [("p", "The page you asked for is not here."), ("p", prose.paragraph(4))]
    body = render(site, status[4:], blocks).encode()
    url = f"https://{site.host}/gone/{dice.between(10_000, 99_999)}.html"
    headers = _headers("text/html; charset=utf-8", body)
    expect = f"skip:status:{status[0]}xx"
    return Response(url, status, headers, body, "error", "en", expect, payload_type="text/html")


def empty(*key: object) -> Response:
    """A success without a body."""
    dice = Dice("empty", *key)
    url = f"https://{dice.pick(ARTICLES).host}/blank/{dice.between(10_000, 99_999)}.html"
    body = dice.pick((b"", b"\r\n"))
    headers = _headers("text/html; charset=utf-8", body)
    return Response(url, "200 OK", headers, body, "empty", "", "skip:empty")


_ROBOTS = """# Robots are welcome here. Please wait a moment between two requests, as the server is small and old.
User-agent: *
Disallow: /private/
Crawl-delay: {delay}
"""


def robots(site: Site) -> Response:
    """The robots.txt of a host: plain text, and far too short to be a document of the corpus."""
    body = _ROBOTS.format(delay=2 + digest64("robots", site.host) % 8).encode()
    return Response(
        f"https://{site.host}/robots.txt",
        "200 OK",
        _headers("text/plain", body),
        body,
        "robots",
        "en",
        "filtered:word_count",
        charset="utf-8",
        payload_type="text/plain",
    )


ROBOTS_SITES = (*ARTICLES[:12], *SHOPS[:3], *(pair[0] for pair in BY_LANGUAGE.values()))
"""Hosts whose robots.txt is in every crawl."""


def unusual_url(draft: Draft) -> Response:
    """A page under an address that no URL parser accepts."""
    host = draft.site.host
    page = html_page(draft)
    url = f"http://{host}:80a/{quote(draft.title)}?find=[1-2]"
    return replace(page, url=url, kind="unusual_url")
