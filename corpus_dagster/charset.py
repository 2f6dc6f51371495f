"""Bytes of a page to text: which character set, on whose word, and a decoded string that is valid Unicode.

The order is that of browsers: byte order mark, HTTP header, `<meta>` in the first bytes, detection. A
declaration that plainly does not fit the bytes gives way to detection, deterministically.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

META_BYTES = 4096
"""Bytes searched for a `<meta>` charset. The HTML standard asks for 1,024; pages with long comments at their
start need more, and browsers look further too."""

MAX_BAD_SHARE = 0.05
"""Share of undecodable characters among the non-ASCII bytes from which a declared charset counts as wrong. A
page cut inside a character, or with a stray byte from a template, stays below it."""

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))

# A quote and the space after it are one choice: two runs of space side by side would be tried in every division.
_META = re.compile(rb"<meta\s[^>]{0,1024}?charset\s*=\s*(?:[\"']\s*)?([A-Za-z0-9_.:\-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml[^>]{0,256}?encoding\s*=\s*[\"']([A-Za-z0-9_.:\-]{1,40})")

_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "big5": "big5hkscs"}
"""Python codecs that cover what browsers decode under a label; the codecs of the same name are narrower."""

_MISSING = {"x-mac-cyrillic": "mac-cyrillic", "iso8859-11": "cp874"}

_DETECTED = {"cp949": "cp949", "mac-cyrillic": "mac-cyrillic"}
"""Names that the detector gives and that are no labels of browsers, so that `codec_for` does not know them."""

_SINGLE_BYTE = re.compile(r"cp12|cp874|iso8859|koi8|mac|cp866")


@dataclass(frozen=True)
class DecodedText:
    """Text of a body.

    Attributes:
        text: without NUL, lone surrogates and byte order mark; line ends as they were.
        charset: Python codec name it was decoded with.
        source: `bom`, `header`, `meta` or `detected`.
        utf8: whether the bytes were sound UTF-8 without a byte order mark and without NUL, so that they are
            the text.
    """

    text: str
    charset: str
    source: str
    utf8: bool


@lru_cache(maxsize=1024)
def codec_for(label: str) -> str | None:
    """Python codec for a WHATWG label, or None for a label that browsers do not know."""
    label = label.strip(" \t\r\n\"'").lower()
    if not label or len(label) > 40 or not label.isascii():
        return None
    name = map_encoding_to_html5(label, fallback_utf8=False) or label
    name = _WIDER.get(name, _MISSING.get(name, name))
    if name in ("utf-16", "utf-16-le", "utf-16-be", "utf-7", "utf-32"):
        return name if name.startswith("utf-16-") else None
    if name == label and name not in _MISSING.values() and map_encoding_to_html5(label, fallback_utf8=False) is None:
        return None
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


def decode(body: bytes, header_label: str = "", *, html: bool = True) -> DecodedText:
    """Decode a body.

    Args:
        body: bytes after HTTP decoding.
        header_label: charset of the Content-Type header; empty where there is none.
        html: look for `<meta>`; False for plain text.
    """
    for mark, codec in _BOMS:
        if body.startswith(mark):
            return _finish(body[len(mark) :].decode(codec, "replace"), codec, "bom", False)
    declared = codec_for(header_label) if header_label else None
    source = "header"
    if declared is None and html:
        found = _META.search(body, 0, META_BYTES) or _XML.match(body, 0, META_BYTES)
        declared = codec_for(found.group(1).decode("ascii")) if found else None
        source = "meta"
        if declared is not None and declared.startswith("utf-16"):
            # The declaration could be read as ASCII, so it is wrong; the HTML standard takes UTF-8.
            declared = "utf-8"
    if declared is not None and declared != "utf-8" and not _SINGLE_BYTE.match(declared):
        return _declared_multibyte(body, declared, source)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        # Non-ASCII text in a single-byte charset is practically never sound UTF-8: the bytes overrule the
        # label.
        if declared == "utf-8" or (declared is not None and text.isascii()):
            return _finish(text, declared, source, True)
        return _finish(text, "utf-8", "detected", True)
    if declared is None:
        return _detected(body)
    return _declared_multibyte(body, declared, source)


def _declared_multibyte(body: bytes, declared: str, source: str) -> DecodedText:
    text, errors = _decode_lossy(body, declared)
    if errors > 1 and errors > MAX_BAD_SHARE * _non_ascii(body):
        other = _detected(body)
        if other.text.count("\ufffd") < errors:
            return other
    return _finish(text, declared, source, False)


def _detected(body: bytes) -> DecodedText:
    found = detect_encoding(body, html5_compatible=False) or "utf-8"
    codec = _DETECTED.get(found) or codec_for(found) or "utf-8"
    text, _ = _decode_lossy(body, codec)
    return _finish(text, codec, "detected", False)


def _decode_lossy(body: bytes, codec: str) -> tuple[str, int]:
    try:
        return body.decode(codec), 0
    except UnicodeDecodeError:
        if _SINGLE_BYTE.match(codec):
            # The codec would call its error handler for each byte: seconds for a body of bytes that it lacks.
            table: Any = _characters(codec)  # a string works and is fastest; the stubs know mappings only
            text, _ = codecs.charmap_decode(body, "strict", table)
        else:
            text = body.decode(codec, "replace")
        return text, text.count("\ufffd")


@lru_cache(maxsize=64)
def _characters(codec: str) -> str:
    """The characters of the 256 bytes of a single-byte codec, U+FFFD for those that it lacks."""
    return bytes(range(256)).decode(codec, "replace")


def _non_ascii(body: bytes) -> int:
    return len(body) - len(body.translate(None, bytes(range(128, 256))))


def _finish(text: str, codec: str, source: str, utf8: bool) -> DecodedText:
    # None of the decoders in use makes lone surrogates, so NUL is the only character that Arrow's readers
    # choke on.
    if "\x00" in text:
        return DecodedText(text.replace("\x00", ""), codec, source, False)
    return DecodedText(text, codec, source, utf8)
