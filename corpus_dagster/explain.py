"""The path of one document through a recipe: where it came from, what was measured, what was decided, what was cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from corpus_dagster.lake import Dataset, Lake
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.rules.base import Check, Signals
from corpus_dagster.stages import curated, duplicates, filtered, quality
from corpus_dagster.stages.deduplicated import spans_of
from corpus_dagster.stages.filtered import as_batch
from corpus_dagster.stages.removed import DUPLICATE_PARAGRAPH
from corpus_dagster.stored import made_from, recipe_as_run, require_made_from, signals_of
from corpus_dagster.text.spans import compose

ROW_BITS = 32
ROW_MASK = (1 << ROW_BITS) - 1


@dataclass(frozen=True)
class CheckLine:
    """One comparison: reason, limit, the value (None when it was never measured), and whether it failed."""

    reason: str
    limit: str
    value: float | None
    failed: bool


@dataclass(frozen=True)
class Story:
    """Everything known of one document under one recipe.

    `pieces` is the text of `documents`, cut where something was taken out: (text, what took it out or "").
    """

    crawl: str
    document: dict[str, Any]
    file: str
    checks: tuple[CheckLine, ...]
    removed_by: str | None
    duplicate: dict[str, Any] | None
    cluster: tuple[str, ...]
    score: float | None
    threshold: float | None
    kept: bool
    pieces: tuple[tuple[str, str], ...]

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.kept:
            return "kept: it is in the corpus"
        if self.removed_by:
            return f"removed by rule {self.removed_by}"
        if self.duplicate and self.duplicate["duplicate"]:
            return f"removed as {self.duplicate['reason']}"
        if self.threshold is None:
            return "undecided: passed the rules; later stages have not been materialised since"
        if self.score is None:
            return "removed: no text is left that could be scored"
        return f"removed: its quality score lies below {self.threshold:.6g}"


def stories(lake: Lake, recipe: Recipe, crawl: str, wanted: str) -> Iterator[Story]:
    """The stories of all documents of a crawl with this URL or WARC record id.

    Raises:
        LakeError: the crawl has not been filtered under this recipe, or its documents were made anew since.
    """
    documents = lake.require("documents", crawl)
    found = (
        documents.scan()
        .filter((pl.col("url") == wanted) | (pl.col("record_id").str.strip_chars("<>") == wanted.strip("<>")))
        .select("doc_id")
        .collect(engine="streaming")["doc_id"]
    )
    for doc_id in sorted(found.to_list()):
        yield _story(lake, recipe, crawl, documents, doc_id)


def _story(lake: Lake, recipe: Recipe, crawl: str, documents: Dataset, doc_id: int) -> Story:
    shard = doc_id >> ROW_BITS
    row = documents.read(shard).slice(doc_id & ROW_MASK, 1)
    rules = require_made_from(lake.require(filtered.dataset_name(recipe), crawl), documents)
    program = recipe_as_run(recipe, rules).program
    stored = rules.read(shard, table="signals").slice(doc_id & ROW_MASK, 1)
    signals = signals_of(stored)
    # A later stage that waits to be made again would tell of other texts.
    copies = made_from(lake.current(duplicates.dataset_name(recipe), crawl), rules)
    verdicts = made_from(lake.current(quality.dataset_name(recipe), crawl), rules, copies)
    corpus = made_from(lake.current(curated.dataset_name(recipe), crawl), rules, copies, verdicts)
    mark = _row(copies, shard, doc_id)
    scores = _row(verdicts, shard, doc_id)
    outcome = program.run(as_batch(row.combine_chunks().to_batches()[0]))
    spans = outcome.spans
    labels = list(program.labels)
    if copies is not None and mark is not None:
        cut = spans_of(copies.read(shard, table="spans"), np.array([doc_id]))
        spans = compose(spans, cut.shifted(len(labels)))
        labels.append(DUPLICATE_PARAGRAPH)
    text = row.column("text")[0].as_py().encode()
    document = {name: row.column(name)[0].as_py() for name in row.column_names if name != "text"}
    if len(outcome.rows) == 0:
        pieces = [(text.decode(), "")]
    else:
        pieces = _pieces(text, spans.starts, spans.ends, spans.labels, labels)
    files = lake.require("warc_files", crawl).read(0).to_pylist()
    return Story(
        crawl=crawl,
        document=document,
        file=next((file["path"] for file in files if file["shard"] == shard), "?"),
        checks=tuple(_check_line(check, signals) for check in program.checks),
        removed_by=stored.column("reason")[0].as_py(),
        duplicate=mark,
        cluster=_cluster(documents, copies, mark),
        score=scores["score"] if scores else None,
        threshold=float(corpus.manifest["identity"]["config"]["threshold"]) if corpus else None,
        kept=_row(corpus, shard, doc_id) is not None,
        pieces=tuple(pieces),
    )


def _row(dataset: Dataset | None, shard: int, doc_id: int) -> dict[str, Any] | None:
    if dataset is None:
        return None
    columns = [column["name"] for column in dataset.manifest["tables"]["data"] if column["name"] != "text"]
    table = dataset.read(shard, columns=columns)
    at = np.flatnonzero(table.column("doc_id").to_numpy() == doc_id)
    return table.take(pa.array(at)).to_pylist()[0] if len(at) else None


def _check_line(check: Check, signals: Signals) -> CheckLine:
    if not signals.measured(check.needs)[0]:
        return CheckLine(check.reason, check.limit, None, False)
    failed, value = check.judge(signals)
    return CheckLine(check.reason, check.limit, float(value[0]), bool(failed[0]))


def _cluster(documents: Dataset, copies: Dataset | None, mark: dict[str, Any] | None) -> tuple[str, ...]:
    """URLs of the crawl's filtered documents whose text is the same, byte for byte, in the order of the crawl."""
    if copies is None or mark is None:
        return ()
    same = copies.scan().filter(pl.col("text_hash") == mark["text_hash"]).select("doc_id").collect(engine="streaming")
    return tuple(
        documents.read(doc_id >> ROW_BITS, columns=["url"]).column("url")[doc_id & ROW_MASK].as_py()
        for doc_id in sorted(same["doc_id"].to_list())
    )


def _pieces(
    text: bytes, starts: np.ndarray, ends: np.ndarray, labels: np.ndarray | None, names: list[str]
) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    position = 0
    for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        pieces.append((text[position:start].decode(), ""))
        pieces.append((text[start:end].decode(), names[int(labels[index])] if labels is not None else names[0]))
        position = end
    pieces.append((text[position:].decode(), ""))
    return [piece for piece in pieces if piece[0]]


UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Control characters of a page, shown instead of sent: they could write to the terminal's title or worse."""


def render(story: Story) -> str:
    """The story for a terminal."""
    return _lines(story).translate(UNPRINTABLE)


def _lines(story: Story) -> str:
    document = story.document
    when = document["date"].isoformat() if document["date"] else "unknown"
    lines = [
        f"{document['url']}",
        f"  crawl       {story.crawl}, shard {document['doc_id'] >> ROW_BITS}, doc_id {document['doc_id']}",
        f"  record      {document['record_id']} at byte {document['offset']:,} of {story.file}",
        f"  fetched     {when}, HTTP {document['http_status']}, {document['mime']}",
        f"  extracted   {document['extractor']}, {document['html_bytes']:,} bytes of body to "
        f"{document['text_bytes']:,} bytes of text; charset {document['charset']} ({document['charset_source']})",
        f"  language    {document['language'] or 'none'} {document['language_score']:.3f}, then "
        f"{document['second_language'] or 'none'} {document['second_language_score']:.3f}",
        f"  verdict     {story.verdict}",
        "",
        "  rule                        value          limit",
    ]
    for check in story.checks:
        value = "not measured" if check.value is None else f"{check.value:.6g}"
        mark = "x" if check.failed else " "
        lines.append(f"  {mark} {check.reason:<25} {value:<14} {check.limit}")
    lines.append("")
    if story.duplicate:
        mark = story.duplicate
        share = mark["seen_ngrams"] / mark["ngrams"] if mark["ngrams"] else 0.0
        lines.append(
            f"  duplicates  {share:.3f} of {mark['ngrams']:,} n-grams seen before; {mark['removed_bytes']:,} bytes in "
            f"removed paragraphs; {'removed whole' if mark['duplicate'] else 'kept'}"
        )
        others = [url for url in story.cluster if url != document["url"]]
        lines.append(f"  same text   {len(story.cluster)} documents" + "".join(f"\n              {u}" for u in others))
    if story.score is not None:
        limit = f"threshold {story.threshold:.6g}" if story.threshold is not None else "not decided yet"
        lines.append(f"  quality     {story.score:.6g}, {limit}")
    lines += ["", "  text, with what was taken out as [-...-]{rule}:", ""]
    lines.append("".join(f"[-{text}-]{{{why}}}" if why else text for text, why in story.pieces))
    return "\n".join(lines)
