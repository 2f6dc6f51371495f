"""`documents`: archive files to rows of text with their language. Everything is measured here and nothing
judged."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from corpus_dagster.charset import DecodedText, decode
from corpus_dagster.extraction import (
    EXTRACTOR,
    EXTRACTOR_VERSION,
    ExtractionSettings,
    Extractor,
    ExtractorName,
    tidy,
)
from corpus_dagster.lake import Build, Identity
from corpus_dagster.language import MODEL_DIGEST, MODEL_NAME, LanguageIdentifier, NewlinePolicy
from corpus_dagster.schemas import DOCUMENTS
from corpus_dagster.source import Source
from corpus_dagster.stages.context import Done, StageContext, digests
from corpus_dagster.stages.run import StageOutcome, run_stage
from corpus_dagster.text.arrow import string_buffers
from corpus_dagster.text.words import count_words
from corpus_dagster.warc import Capture, Skipped, read_records

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

DATASET = "documents"
TABLES = {"data": DOCUMENTS}

BATCH_ROWS = 256
BATCH_BYTES = 8 << 20
"""A batch ends at whichever comes first: texts of 8 MB need about 100 MB while language and words are
computed."""

MAX_SAMPLES = 20
"""Places of damage kept per shard, to look at."""

NO_TEXT = "no_text"
"""Reason: a page was fetched, but nothing is left of it as text."""

MAX_AUTHORITY = 1024
"""Longest user, host and port of a URL, in characters. Hosts end at 253; normalising them takes time quadratic in their
length."""

_AUTHORITY_END = re.compile(r"[/?#\\]")
_HOST = re.compile(r"[a-z0-9_.\-]{1,253}|\[[0-9a-f:.]+\]")

ROW_BITS = 32
"""`doc_id` is shard << 32 | row."""


@dataclass(frozen=True)
class DocumentsSettings:
    """What decides the content of `documents` besides the files.

    Attributes:
        extraction: how text is taken from markup.
        newlines: what becomes of line ends when the language is identified. Recipes with another policy score
            again.
    """

    extraction: ExtractionSettings = field(default_factory=ExtractionSettings)
    newlines: NewlinePolicy = "space"


@dataclass(frozen=True)
class DocumentsTask:
    """One archive file to read."""

    shard: int
    path: str
    build: Build
    source: Source
    settings: DocumentsSettings


@dataclass
class Tally:
    """Counts of one shard. `records` = `documents` + the sum of `skipped`."""

    records: int = 0
    documents: int = 0
    words: int = 0
    bytes: int = 0
    html_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    charsets: Counter[str] = field(default_factory=Counter)
    extractors: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    damage: list[dict[str, Any]] = field(default_factory=list)

    def counters(self) -> dict[str, Any]:
        """As a receipt holds them: JSON, keys in a fixed order."""
        counts: dict[str, Any] = {
            name: getattr(self, name) for name in ("records", "documents", "words", "bytes", "html_bytes")
        }
        for name in ("skipped", "charsets", "extractors", "verdicts"):
            counts[name] = dict(sorted(getattr(self, name).items()))
        return {**counts, "damage": {"samples": self.damage}}


def run(context: StageContext, source: Source, crawl: str, settings: DocumentsSettings | None = None) -> StageOutcome:
    """Read the files that `warc_files` chose.

    Raises:
        LakeError: the crawl's `warc_files` are not there.
        ShardsFailed: files failed for good, named in the error.
    """
    settings = settings or DocumentsSettings()
    files = context.lake.require("warc_files", crawl)
    build = context.lake.begin(DATASET, crawl, identity=identity(settings, digests(files)), tables=TABLES)
    # The largest first, where sizes are known: workers then end at about the same time.
    chosen = files.read(0).to_pylist()
    ordered = sorted(chosen, key=lambda row: (-(row["bytes"] or 0), row["shard"]))
    tasks = [DocumentsTask(row["shard"], row["path"], build, source, settings) for row in ordered]
    return run_stage(
        build,
        tasks,
        write_documents,
        settings=context.pool,
        shards_of=lambda task: (task.shard,),
        report=context.report,
    )


def identity(settings: DocumentsSettings, inputs: Mapping[str, str]) -> Identity:
    """What the fingerprint is made of: settings, versions of the extractor, digest of the language model."""
    return Identity(
        code_version=CODE_VERSION,
        config=asdict(settings),
        inputs=inputs,
        models={EXTRACTOR: EXTRACTOR_VERSION, MODEL_NAME: MODEL_DIGEST},
    )


def write_documents(task: DocumentsTask) -> Done:
    """Read one archive file and write its documents and its receipt."""
    tally = Tally()
    tried = verdict_scope(task.path, task.settings.extraction)
    recorded = task.build.verdicts(tried)

    def record(page: str, reason: str) -> None:
        task.build.record_verdict(tried, page, reason)

    with task.build.shard(task.shard) as writer, task.source.open(task.path) as stream:
        for batch in documents(stream, task.shard, task.settings, tally, recorded, record):
            writer.write(batch)
        writer.counters.update(tally.counters())
    return Done((task.shard,), tally.documents, tally.bytes)


def verdict_scope(path: str, settings: ExtractionSettings) -> str:
    """What verdicts on the pages of a file hold for: this file, this extractor, these settings."""
    return json.dumps([path, EXTRACTOR, EXTRACTOR_VERSION, asdict(settings)], sort_keys=True)


def page_key(item: Capture) -> str:
    """What a verdict on a page is recorded under: where it stands and what it holds."""
    # The digest, because offset and record id may be the same in a crawl that was written anew.
    return f"{item.offset} {item.record_id} {hashlib.sha256(item.body).hexdigest()[:32]}"


def documents(
    stream: BinaryIO,
    shard: int,
    settings: DocumentsSettings,
    tally: Tally,
    verdicts: Mapping[str, str] | None = None,
    record_verdict: Callable[[str, str], None] | None = None,
) -> Iterator[pa.RecordBatch]:
    """The documents of an archive file, in its order, in batches of the schema `DOCUMENTS`.

    Args:
        stream: the file, seekable.
        shard: its number, for `doc_id`.
        settings: extraction and language.
        tally: is counted up as batches are made; complete when the iterator ends.
        verdicts: recorded reasons by `page_key`: pages that are not tried again.
        record_verdict: called with (key, reason) for a new verdict, before the page is given up.
    """
    verdicts = verdicts or {}
    pending = _Rows()
    with Extractor(settings.extraction) as extractor:
        for item in read_records(stream):
            tally.records += 1
            if isinstance(item, Skipped):
                tally.skipped[item.reason] += 1
                if item.reason in ("damaged", "truncated_file") and len(tally.damage) < MAX_SAMPLES:
                    tally.damage.append(
                        {"shard": shard, "offset": item.offset, "reason": item.reason, "detail": item.detail}
                    )
                continue
            decoded = decode(item.body, item.charset, html=item.html)
            known = verdicts.get(page_key(item)) if verdicts else None
            text, how, verdict = _text(extractor, item, decoded, known)
            if verdict is not None and known is None and record_verdict is not None:
                record_verdict(page_key(item), verdict)
            if verdict is not None:
                tally.verdicts[verdict] += 1
            if not text:
                tally.skipped[NO_TEXT] += 1
                continue
            tally.charsets[decoded.source] += 1
            tally.extractors[how] += 1
            tally.html_bytes += len(item.body)
            pending.add(item, decoded, how, text)
            if len(pending.texts) >= BATCH_ROWS or pending.size >= BATCH_BYTES:
                yield pending.batch(shard, settings, tally)
                pending = _Rows()
    if pending.texts:
        yield pending.batch(shard, settings, tally)


def _text(
    extractor: Extractor, item: Capture, decoded: DecodedText, known: str | None
) -> tuple[str, ExtractorName, str | None]:
    if not item.html:
        return tidy(decoded.text), "wet" if item.kind == "conversion" else "text", None
    extraction = extractor.extract(decoded.text, utf8=item.body if decoded.utf8 else None, verdict=known)
    return extraction.text, extraction.extractor, known or extraction.verdict


class _Rows:
    """Documents waiting for language and words."""

    def __init__(self) -> None:
        self.captures: list[Capture] = []
        self.meta: list[tuple[str, str, str, int]] = []
        self.texts: list[str] = []
        self.size = 0

    def add(self, item: Capture, decoded: DecodedText, how: str, text: str) -> None:
        # The body is not kept: only the text is needed from here on.
        self.meta.append((decoded.charset, decoded.source, how, len(item.body)))
        self.captures.append(replace(item, body=b""))
        self.texts.append(text)
        self.size += len(text)

    def batch(self, shard: int, settings: DocumentsSettings, tally: Tally) -> pa.RecordBatch:
        text = pa.array(self.texts, pa.string())
        offsets, data = string_buffers(text)
        first, score, second, second_score = LanguageIdentifier().identify_buffers(offsets, data, settings.newlines)
        words = count_words(offsets, data)
        start = (shard << ROW_BITS) + tally.documents
        items = self.captures
        columns: dict[str, Any] = {
            "doc_id": np.arange(start, start + len(items), dtype=np.int64),
            "record_id": [i.record_id for i in items],
            "url": [clean_url(i.url) for i in items],
            "host": [host_of(i.url) for i in items],
            "date": [i.date for i in items],
            "language": first,
            "language_score": score,
            "second_language": second,
            "second_language_score": second_score,
            "words": words.astype(np.int32),
            "offset": [i.offset for i in items],
            "http_status": [i.status for i in items],
            "mime": [i.mime for i in items],
            "charset": [m[0] for m in self.meta],
            "charset_source": [m[1] for m in self.meta],
            "html_bytes": [m[3] for m in self.meta],
            "truncated": [i.truncated for i in items],
            "extractor": [m[2] for m in self.meta],
            "text_bytes": np.diff(offsets).astype(np.int32),
            "text": text,
        }
        tally.documents += len(items)
        tally.words += int(words.sum())
        tally.bytes += int(offsets[-1])
        return pa.RecordBatch.from_arrays(
            [pa.array(columns[f.name], f.type) for f in DOCUMENTS.arrow], schema=DOCUMENTS.arrow
        )


def clean_url(url: str) -> str:
    """The URL as it was, without NUL and lone surrogates, which Arrow strings cannot hold."""
    return url.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def host_of(url: str) -> str:
    """Lower-case host of a URL, without port, user and final dot; empty where there is no valid one.

    Hosts in letters beyond ASCII come back in their `xn--` form, so that one host has one name.
    """
    authority = _AUTHORITY_END.split(url.partition("//")[2], maxsplit=1)[0]
    if len(authority) > MAX_AUTHORITY:
        return ""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        return ""
    return host if _HOST.fullmatch(host) or ":" in host else ""
