"""Real archives and real pathological pages: counts add up, nothing raises, ARC and WARC agree."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus_dagster.extraction import ExtractionSettings, Extractor
from corpus_dagster.schemas import DOCUMENTS
from corpus_dagster.stages.documents import NO_TEXT, DocumentsSettings, Tally, documents
from corpus_dagster.warc import REASONS, Capture, read_records

pytestmark = pytest.mark.shared

SLOWEST = 5.0
"""Seconds that no page may take."""

EXPECTED = {
    "warc/commoncrawl/whirlwind-python__whirlwind.warc.gz": 1,
    "warc/commoncrawl/whirlwind-python__whirlwind.warc.wet.gz": 1,
    "warc/commoncrawl/whirlwind-python__whirlwind.warc.wat.gz": 0,
    "warc/commoncrawl/chatnoir-resiliparse__warcfile.warc.gz": 16,
    "warc/edge/warcio__example.arc.gz": 1,
    "warc/edge/warcio__example.warc": 1,
    "warc/edge/solrwayback__transfer_compression_brotli.warc.gz": 1,
    "warc/edge/solrwayback__transfer_compression_gzip_chunked.warc.gz": 1,
    "warc/edge/chatnoir-resiliparse__clipped.warc.gz": 0,
    "warc/general/dolma__sample-0000.warc.gz": 22,
}
"""Documents of files whose content is known."""


def archives(shared_data: Path) -> list[Path]:
    found = sorted(p for p in (shared_data / "warc").rglob("*") if p.is_file())
    found += sorted((shared_data / "extraction").glob("*.warc.gz"))
    return [*found, *sorted((shared_data / "cc_html").glob("*.warc.gz"))]


def read(path: Path | io.BytesIO) -> tuple[pa.Table, Tally]:
    tally = Tally()
    with open(path, "rb") if isinstance(path, Path) else path as stream:
        batches = list(documents(stream, 0, DocumentsSettings(), tally))
    return pa.Table.from_batches(batches, DOCUMENTS.arrow), tally


def test_counts_of_every_archive_add_up(shared_data: Path) -> None:
    found = archives(shared_data)
    assert len(found) > 60
    for path in found:
        table, tally = read(path)
        assert tally.records == tally.documents + sum(tally.skipped.values()), path.name
        assert tally.documents == table.num_rows, path.name
        assert set(tally.skipped) <= {*REASONS, NO_TEXT}, path.name
        assert tally.words == sum(table["words"].to_pylist()), path.name
        assert not tally.verdicts, path.name
        DOCUMENTS.conform(table)
        name = str(path.relative_to(shared_data))
        if name in EXPECTED:
            assert tally.documents == EXPECTED[name], (path.name, tally.counters())


def test_gold_pages_nearly_all_have_text(shared_data: Path) -> None:
    pages = {"aeb": 181, "daniel_dev": 558, "readability": 130, "mathcode_dev": 26}
    for name, count in pages.items():
        _, tally = read(shared_data / "extraction" / f"{name}.warc.gz")
        assert tally.records == count + 1
        assert tally.documents >= 0.98 * count, tally.counters()


def test_arc_and_warc_of_one_crawl_give_the_same_documents(shared_data: Path) -> None:
    found = "url host date http_status mime charset charset_source html_bytes extractor language words text"
    columns = found.split()
    arc, _ = read(shared_data / "warc/general/aut__example.arc.gz")
    warc, _ = read(shared_data / "warc/general/ipwb__IAH-20080430204825-00000-blackbook.warc.gz")
    assert arc.num_rows > 100
    assert arc.select(columns).equals(warc.select(columns))
    cut, tally = read(shared_data / "warc/edge/webarchive-commons__IAH-20080430204825-00000-blackbook-truncated.arc")
    assert cut.num_rows
    assert cut.select(columns).to_pylist() == arc.select(columns).slice(0, cut.num_rows).to_pylist()
    assert tally.records == tally.documents + sum(tally.skipped.values())


def test_a_real_archive_cut_or_damaged_anywhere_keeps_the_rest(shared_data: Path) -> None:
    data = (shared_data / "warc/commoncrawl/chatnoir-resiliparse__warcfile.warc.gz").read_bytes()
    whole = {i.offset: i for i in read_records(io.BytesIO(data)) if isinstance(i, Capture)}
    for at in range(700, len(data), 9_973):
        cut = [i for i in read_records(io.BytesIO(data[:at])) if isinstance(i, Capture)]
        assert cut == [i for i in whole.values() if i in cut], at
        assert len(cut) >= sum(offset < at for offset in whole) - 1, at
        hurt = data[:at] + b"\x00" * 64 + data[at + 64 :]
        left = [i for i in read_records(io.BytesIO(hurt)) if isinstance(i, Capture)]
        assert all(whole[i.offset] == i for i in left), at
        assert len(left) >= len(whole) - 2, at


def pages(path: Path) -> list[dict[str, Any]]:
    content = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read().decode("utf-8", "replace")
    return [json.loads(line) for line in content.split("\n") if line]


def test_no_real_page_holds_a_worker(shared_data: Path) -> None:
    folder = shared_data / "cc_html"
    markup = [
        row["h"] for name in ("hplt_cc_sample100", "pathological_long") for row in pages(folder / f"{name}.jsonl.zst")
    ]
    with open(folder / "pathological_timeouts.warc.gz", "rb") as stream:
        markup += [i.body.decode("utf-8", "replace") for i in read_records(stream) if isinstance(i, Capture)]
    assert len(markup) == 113
    with Extractor(ExtractionSettings()) as extractor:
        extractor.extract("<p>compiled")
        for number, text in enumerate(markup):
            started = time.perf_counter()
            result = extractor.extract(text)
            assert time.perf_counter() - started < SLOWEST, number
            assert result.verdict is None, number
