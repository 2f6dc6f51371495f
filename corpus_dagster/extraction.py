"""Markup to text: Resiliparse main content, under guards that keep untrusted pages from hanging a worker.

The guard is deterministic: a linear pass estimates what a page would cost (`corpus_dagster.text.htmlscan`),
and a page over the bound gets a plainer extraction. The clock is a backstop only: costly pages are extracted
in a child process that the operating system ends (`corpus_dagster.extraction_sandbox`), and the verdict is
returned so that the caller can record and replay it.
"""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

from resiliparse.extract.html2text import extract_plain_text

from corpus_dagster.extraction_sandbox import Sandbox, SandboxVerdict
from corpus_dagster.text.htmlscan import MarkupWork, measure, strip_markup

EXTRACTOR = "resiliparse"
EXTRACTOR_VERSION = version("resiliparse")

ExtractorName = Literal["main_content", "plain", "text", "wet"]

NANOSECONDS = {
    "depth_work": 120,
    "formatting_work": 2400,
    "attribute_work": 3,
    "option_work": 20,
    "tags": 2000,
    "size": 30,
}
"""Cost of one unit of each measure in nanoseconds, fitted as an upper bound over 92 shapes of adversarial
markup at five sizes each, with Resiliparse 2.0.1 on a 2-core virtual machine. They are weights of a
deterministic bound: on another machine a page takes longer or shorter, but its verdict is the same. Nesting
costs most: the main content extractor walks up from every element (measured 20 to 120); a `select` is
quadratic in its options (12); a formatting element that stays open is opened again in every paragraph (1,500
to 2,400); attributes are compared with each other (1 to 3)."""


@dataclass(frozen=True)
class ExtractionSettings:
    """How text is taken from markup.

    The defaults are the best of eight combinations on the gold pages of two public benchmarks: leaving out
    comments, post metadata and alternative texts raises precision and costs no recall.

    Attributes:
        main_content: leave navigation, headers, footers and advertising out.
        list_bullets: mark list items with a bullet.
        alt_texts: keep alternative texts of images.
        links: keep link targets.
        form_fields: keep values of form fields.
        noscript: keep what is for browsers without scripts.
        comments: keep sections of readers' comments.
        post_meta: keep author and date lines.
        max_cost: estimated nanoseconds over which a page is extracted plainly.
        sandbox_cost: estimated nanoseconds over which a page is extracted in the child process.
        backstop_seconds: processor time after which the child process is ended.
        backstop_bytes: address space of the child process. Pages at the bound were measured to need up to 270 MB; those
            that need more hold hundreds of thousands of attributes.
    """

    main_content: bool = True
    list_bullets: bool = True
    alt_texts: bool = False
    links: bool = False
    form_fields: bool = False
    noscript: bool = False
    comments: bool = False
    post_meta: bool = False
    max_cost: int = 1_000_000_000
    sandbox_cost: int = 250_000_000
    backstop_seconds: float = 4.0
    backstop_bytes: int = 400 << 20

    def options(self) -> dict[str, Any]:
        """Keyword arguments of Resiliparse's `extract_plain_text`."""
        return {k: v for k, v in asdict(self).items() if isinstance(v, bool)}


@dataclass(frozen=True)
class Extraction:
    """Text of a page.

    Attributes:
        text: line feeds only, no NUL, no lone surrogates; empty where the page has none.
        extractor: `main_content`; `plain` for a page over the bound or with a verdict.
        verdict: what the child process came to on this very run (`timeout`, `memory`, `crash`); None
            otherwise.
    """

    text: str
    extractor: ExtractorName
    verdict: str | None = None


def cost(work: MarkupWork) -> int:
    """Estimated nanoseconds of parsing and extraction: an upper bound on the machine of `NANOSECONDS`."""
    return sum(weight * getattr(work, name) for name, weight in NANOSECONDS.items())


class Extractor:
    """Extraction with its guards; holds the child process, which starts at the first page that needs it."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self.settings = settings
        self._options = settings.options()
        self._sandbox: Sandbox | None = None

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child process."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def extract(self, markup: str, *, utf8: bytes | None = None, verdict: str | None = None) -> Extraction:
        """Text of a page.

        Args:
            markup: decoded page.
            utf8: its bytes, where the caller has them.
            verdict: recorded verdict of an earlier run; the page is then extracted plainly without another
                try.
        """
        data = markup.encode("utf-8", "replace") if utf8 is None else utf8
        work = measure(data)
        estimate = cost(work)
        if verdict is not None or not work.complete or estimate > self.settings.max_cost:
            return Extraction(plain_text(data), "plain")
        if estimate <= self.settings.sandbox_cost:
            return Extraction(tidy(extract_plain_text(markup, **self._options)), "main_content")
        if self._sandbox is None:
            self._sandbox = Sandbox(self._options, self.settings.backstop_seconds, self.settings.backstop_bytes)
        answer = self._sandbox.extract(data)
        if isinstance(answer, SandboxVerdict):
            return Extraction(plain_text(data), "plain", answer.reason)
        return Extraction(tidy(answer), "main_content")


def plain_text(markup: bytes) -> str:
    """Text of a page by a linear pass: tags dropped, blocks on lines of their own, character references
    resolved."""
    return tidy_lines(html.unescape(strip_markup(markup).decode("utf-8", "replace")))


def tidy(text: str) -> str:
    """Line feeds only, no NUL, no white space at the ends."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text.strip()


def tidy_lines(text: str) -> str:
    """As `tidy`, with runs of white space in a line made one space and runs of blank lines made one."""
    lines: list[str] = []
    for line in tidy(text).split("\n"):
        words = " ".join(line.split())
        if words or (lines and lines[-1]):
            lines.append(words)
    return "\n".join(lines).strip()
