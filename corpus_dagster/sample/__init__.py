"""The embedded sample: two small crawls in Common Crawl's layout, with labels, made of texts written for this project.

`write` makes them; the bytes depend on nothing but this package. Beside the WARC files of a crawl stands
`labels.jsonl`, one row per response: url, file, status, kind, language, `expect`, duplicate_of (the URL whose text it
repeats), duplicate_crawl (the crawl of that URL), charset, content_encoding, truncated, edits, personal_data.

`expect` says what the recipe `dclm_baseline` must do with the response:

    skip:REASON            no document; REASON is a key of `corpus_dagster.warc.REASONS`
    filtered:RULE          removed by this rule, the first it breaks: `language`, `word_count`, `top_2_gram`, ...
    duplicates:document    removed as a whole: its text stands in an earlier record of the crawl
    duplicates:paragraph   stays, but loses paragraphs that stand in an earlier record of the crawl
    keep                   reaches the classifier with its text, but for the `edits`
    quality                the same, and ought to score low there: shops and spam

Whether a page passes the classifier depends on the share to keep, so `keep` promises its place before it only. Labels
of duplicates hold when all files of a crawl are read in order. `edits` names what the text loses on the way: `urls`,
`newlines`, `cart`, `read_more`, `sign_in`, `upper_case_lines`, `numeric_lines`, `counter_lines`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from corpus_dagster.sample import reference
from corpus_dagster.sample.archive import gzip_member, record_id, warcinfo
from corpus_dagster.sample.plan import FILES, arrange
from corpus_dagster.sample.transport import Response

CRAWL_PREFIX = "SAMPLE-"
"""How the names of sample crawls begin, so that nobody takes their lake for a real one."""

_STARTS = {
    "SAMPLE-2025-05": datetime(2025, 1, 27, 8, 15, tzinfo=UTC),
    "SAMPLE-2025-18": datetime(2025, 4, 28, 6, 40, tzinfo=UTC),
}
CRAWLS = tuple(_STARTS)
"""The two sample crawls, oldest first; numbers are ISO weeks, as in Common Crawl's names."""

REFERENCE = "reference/high_quality.jsonl"
"""Path of the reference texts below the root."""

_FILE_SPAN = timedelta(hours=36)
"""Time between the first fetches of two files: four files fit one week."""


@dataclass(frozen=True)
class CrawlSummary:
    """What one crawl holds."""

    id: str
    files: tuple[str, ...]
    responses: int
    bytes: int
    expect: dict[str, int]


@dataclass(frozen=True)
class SampleSummary:
    """What was written, and where."""

    root: Path
    crawls: tuple[CrawlSummary, ...]
    reference_texts: int


def write(root: Path) -> SampleSummary:
    """Write both crawls and the reference texts below `root`, over whatever stands under these names.

    Raises:
        OSError: the folder cannot be written.
    """
    summaries = [_write_crawl(root, crawl, CRAWLS[i - 1] if i else "") for i, crawl in enumerate(CRAWLS)]
    path = root / REFERENCE
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = high_quality_texts()
    path.write_text("".join(_json_line({"text": text}) for text in texts), encoding="utf-8", newline="\n")
    return SampleSummary(root, tuple(summaries), len(texts))


def high_quality_texts() -> list[str]:
    """Positives for a quality classifier of the sample; disjoint from its pages."""
    return reference.texts()


@cache
def fingerprint() -> str:
    """Twelve hex digits that change with the code and the texts of this package."""
    digest = hashlib.sha256()

    def add(folder: Traversable, prefix: str) -> None:
        for entry in sorted(folder.iterdir(), key=lambda e: e.name):
            if entry.is_dir() and entry.name != "__pycache__":
                add(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith((".py", ".txt")):
                content = entry.read_bytes()
                digest.update(f"{prefix}{entry.name} {len(content)}\n".encode() + content)

    add(files("corpus_dagster.sample"), "")
    return digest.hexdigest()[:12]


def sample_folder(work: Path) -> Path:
    """The sample below `work`, written first when it is not there.

    The folder's name holds the fingerprint of the generator, and it appears whole or not at all, so several processes
    may ask for it at once.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = work / f"sample-{fingerprint()}"
    if folder.is_dir():
        return folder
    work.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".sample-", dir=work))
    try:
        write(temporary)
        temporary.chmod(0o755)
        try:
            os.rename(temporary, folder)
        except OSError:
            # Another process was first: a folder that is not empty cannot be replaced.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _json_line(row: dict[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _iso(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_crawl(root: Path, crawl: str, earlier: str) -> CrawlSummary:
    arranged = arrange(crawl, earlier)
    paths: list[str] = []
    labels: list[dict[str, object]] = []
    size = 0
    for number, responses in enumerate(arranged):
        start = _STARTS[crawl] + number * _FILE_SPAN
        path = _warc_path(crawl, number, start)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        data = _warc_file(crawl, path.rpartition("/")[2], start, [response for response, _, _ in responses])
        (root / path).write_bytes(data)
        size += len(data)
        paths.append(path)
        labels += [response.label(path, expect, copied) for response, expect, copied in responses]
    folder = root / "crawl-data" / crawl
    (folder / "warc.paths.gz").write_bytes(gzip_member("".join(f"{path}\n" for path in paths).encode()))
    (folder / "labels.jsonl").write_text("".join(map(_json_line, labels)), encoding="utf-8", newline="\n")
    counts = Counter(str(label["expect"]) for label in labels)
    return CrawlSummary(crawl, tuple(paths), len(labels), size, dict(sorted(counts.items())))


def _warc_path(crawl: str, number: int, start: datetime) -> str:
    """Path of a file as Common Crawl names them: two segments, in each the files 00000 and 00001."""
    per_segment = FILES // 2
    opened = _STARTS[crawl] + (number - number % per_segment) * _FILE_SPAN
    segment = f"{int(opened.timestamp() * 1000)}.{17 + number // per_segment:02d}"
    span = f"{start:%Y%m%d%H%M%S}-{start + timedelta(hours=3):%Y%m%d%H%M%S}"
    name = f"{CRAWL_PREFIX}{span}-{number % per_segment:05d}.warc.gz"
    return f"crawl-data/{crawl}/segments/{segment}/warc/{name}"


def _warc_file(crawl: str, name: str, start: datetime, responses: list[Response]) -> bytes:
    """All records of a file: warcinfo, then request, response and metadata of every fetch."""
    file_id = record_id(crawl, name)
    parts = [warcinfo(crawl, name, _iso(start)).member()]
    for n, response in enumerate(responses):
        # Three hours over five hundred fetches.
        exchange = response.exchange(_iso(start + timedelta(seconds=21 * n)))
        parts += [record.member() for record in exchange.records(file_id)]
    return b"".join(parts)
