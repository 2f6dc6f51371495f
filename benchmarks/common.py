"""What the benchmarks share: the files to read, the bare native loop, a lake that is thrown away."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fasttext
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

import corpus_dagster
from corpus_dagster.language import MODEL_NAME

MODEL = Path(corpus_dagster.__file__).parent / "data" / MODEL_NAME
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real pages beside the checkout, where there are any."""


def archives(folder: Path) -> list[Path]:
    """All WARC files below a folder, in order of their path."""
    return sorted(folder.rglob("*.warc.gz"))


@dataclass(frozen=True)
class Loop:
    """A run over some WARC files."""

    pages: int
    bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Pages per second."""
        return self.pages / self.seconds


def bare_loop(files: Sequence[Path]) -> Loop:
    """The native work alone: FastWARC read, decode, Resiliparse main content, fastText language. Nothing is kept."""
    model = fasttext.load_model(str(MODEL))
    pages = size = 0
    started = time.perf_counter()
    for path in files:
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
                if "html" not in (record.http_content_type or ""):
                    continue
                body = record.reader.read()
                text = extract_plain_text(bytes_to_str(body, detect_encoding(body) or "utf-8"), main_content=True)
                model.predict([text.replace("\n", " ")])
                pages += 1
                size += len(body)
    return Loop(pages, size, time.perf_counter() - started)


@contextlib.contextmanager
def throwaway_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="corpus-bench-") as folder:
        yield Path(folder)
