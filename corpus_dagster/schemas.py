"""Schemas of every dataset of the lake: one object per table, used for writing, for checks and for documentation.

A stage writes exactly these columns. Nothing here reads or writes; see `corpus_dagster.lake`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

TIMESTAMP = pa.timestamp("ms", tz="UTC")
DIGEST = pa.binary(16)


@dataclass(frozen=True)
class Column:
    """A column: Arrow type, meaning and whether it may be null."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """The columns of one table, in order."""

    name: str
    description: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = field(default=())

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema, with nullability."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [c.name for c in self.columns]

    def conform(self, table: pa.Table | pa.RecordBatch) -> pa.Table:
        """Return the table with exactly these columns, types and order.

        Raises:
            SchemaError: a column is missing, unknown, of another type or null where it must not be.
        """
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        missing = [n for n in self.names if n not in table.column_names]
        unknown = [n for n in table.column_names if n not in self.names]
        if missing or unknown:
            raise SchemaError(f"table {self.name!r}: missing columns {missing}, unknown columns {unknown}")
        arrays: list[pa.ChunkedArray] = []
        for column in self.columns:
            values = table.column(column.name)
            if values.type != column.type:
                try:
                    values = values.cast(column.type)
                except pa.ArrowInvalid as error:
                    raise SchemaError(
                        f"{self.name!r}, column {column.name!r}: {values.type} does not fit {column.type}, {error}"
                    ) from error
            if not column.nullable and values.null_count:
                raise SchemaError(
                    f"table {self.name!r}, column {column.name!r}: {values.null_count} nulls where none may be"
                )
            arrays.append(values)
        return pa.Table.from_arrays(arrays, schema=self.arrow)

    def extended(self, columns: Iterable[Column], name: str | None = None) -> TableSchema:
        """The same table with more columns at its end."""
        return TableSchema(name or self.name, self.description, (*self.columns, *columns), self.unique)


class SchemaError(ValueError):
    """A table does not have the columns its schema promises."""


DOC_ID = Column("doc_id", pa.int64(), "shard << 32 | row: unique within the crawl and sorted")
URL = Column("url", pa.string(), "target URI of the response record")
HOST = Column("host", pa.string(), "lower-case host name of the URL, without port")
DATE = Column("date", TIMESTAMP, "when the page was fetched (WARC-Date)", nullable=True)
RECORD_ID = Column("record_id", pa.string(), "WARC-Record-ID of the response record")
LANGUAGE = Column("language", pa.string(), "most probable language, fastText label; empty without text")
LANGUAGE_SCORE = Column("language_score", pa.float32(), "probability of that language, 0 to 1")
WORDS = Column("words", pa.int32(), "UAX-29 words of the text (segments that start with a letter or digit)")
TEXT_BYTES = Column("text_bytes", pa.int32(), "length of the text in bytes of UTF-8")
TEXT = Column("text", pa.string(), "text, UTF-8")

WARC_FILES = TableSchema(
    "warc_files",
    "The WARC files of a crawl that a run reads.",
    (
        Column("shard", pa.int32(), "position of the file in the crawl's full list of paths"),
        Column("path", pa.string(), "path below the source"),
        Column("bytes", pa.int64(), "size, where the source tells it without a request per file", nullable=True),
    ),
    unique=("shard",),
)

DOCUMENTS = TableSchema(
    "documents",
    "Every page of a crawl that holds text: what was fetched, extracted and recognised. Nothing is judged here.",
    (
        DOC_ID,
        RECORD_ID,
        URL,
        HOST,
        DATE,
        LANGUAGE,
        LANGUAGE_SCORE,
        Column("second_language", pa.string(), "second most probable language; empty when there is no text"),
        Column("second_language_score", pa.float32(), "probability of the second language, 0 to 1"),
        WORDS,
        Column("offset", pa.int64(), "byte offset of the record in its (compressed) file"),
        Column("http_status", pa.int16(), "HTTP status of the response"),
        Column("mime", pa.string(), "media type by header, or by content where the header has none"),
        Column("charset", pa.string(), "character set the body was decoded with"),
        Column("charset_source", pa.string(), "what named the character set: bom, header, meta or detected"),
        Column("html_bytes", pa.int32(), "body size after HTTP decoding, in bytes"),
        Column("truncated", pa.bool_(), "the crawler or the reader cut the body"),
        Column("extractor", pa.string(), "how the text was taken: main_content, plain, text or wet"),
        TEXT_BYTES,
        TEXT,
    ),
    unique=("doc_id",),
)

FILTERED = TableSchema(
    "filtered",
    "Documents that passed every rule of the recipe, with its text edits applied.",
    (
        DOC_ID,
        RECORD_ID,
        URL,
        HOST,
        DATE,
        LANGUAGE,
        LANGUAGE_SCORE,
        WORDS,
        Column("tokens", pa.int32(), "UAX-29 segments that are not white space"),
        TEXT_BYTES,
        TEXT,
    ),
    unique=("doc_id",),
)

EDITS = TableSchema(
    "edits",
    "Byte spans that the recipe's edits took out of documents that survived, in the text of `documents`.",
    (
        DOC_ID,
        Column("rule", pa.string(), "the edit"),
        Column("start", pa.int32(), "first byte removed"),
        Column("end", pa.int32(), "byte after the last one removed"),
    ),
)

SIGNALS = TableSchema(
    "signals",
    "Verdict and signals of every document; a signal is null where the document was removed before it was measured.",
    (
        DOC_ID,
        Column("reason", pa.string(), "rule that removed the document; null for a survivor", nullable=True),
        Column("value", pa.float64(), "the value that broke the rule", nullable=True),
    ),
    unique=("doc_id",),
)

DUPLICATES = TableSchema(
    "duplicates",
    "Decisions of deduplication, row by row of `filtered`. The text is untouched.",
    (
        DOC_ID,
        Column("text_hash", DIGEST, "128-bit XXH3 of the text: equal texts have equal hashes"),
        Column("ngrams", pa.int32(), "n-grams of the document"),
        Column("seen_ngrams", pa.int32(), "n-grams that the filter held already"),
        Column("removed_bytes", pa.int32(), "bytes in removed paragraphs"),
        Column("duplicate", pa.bool_(), "the whole document is removed"),
        Column("reason", pa.string(), "why the whole document is removed; null when it stays", nullable=True),
    ),
    unique=("doc_id",),
)

DUPLICATE_SPANS = TableSchema(
    "spans",
    "Byte spans of duplicated paragraphs in the text of `filtered`.",
    (
        DOC_ID,
        Column("start", pa.int32(), "first byte of the paragraph"),
        Column("end", pa.int32(), "byte after its last one"),
    ),
)

QUALITY = TableSchema(
    "quality",
    "Classifier score of every row of `filtered`, measured on the text that deduplication leaves.",
    (
        DOC_ID,
        Column(
            "score",
            pa.float32(),
            "probability of the positive class, 0 to 1; null where no text is left",
            nullable=True,
        ),
    ),
    unique=("doc_id",),
)

CURATED = TableSchema(
    "curated",
    "The corpus: text with duplicates applied and quality decided.",
    (
        *FILTERED.columns[:-1],
        Column("quality_score", pa.float32(), "probability of the positive class, 0 to 1"),
        Column("weight", pa.float32(), "sampling weight; 1 unless a later method sets it"),
        TEXT,
    ),
    unique=("doc_id",),
)

REMOVED = TableSchema(
    "removed",
    "Everything that was taken out: whole documents, and spans of documents that stay.",
    (
        DOC_ID,
        URL,
        HOST,
        Column("scope", pa.string(), "document or span"),
        Column("stage", pa.string(), "asset that decided"),
        Column("reason", pa.string(), "rule or edit"),
        Column("value", pa.float64(), "value that broke the rule; null for spans", nullable=True),
        Column("start", pa.int32(), "first byte of the span in the text of `documents`", nullable=True),
        Column("end", pa.int32(), "byte after the span", nullable=True),
        Column("words", pa.int32(), "words of the document in `documents`; null for spans", nullable=True),
        Column("bytes", pa.int32(), "bytes of text taken out"),
    ),
)

RECIPE = Column("recipe", pa.string(), "name of the recipe")
CRAWL = Column("crawl", pa.string(), "Common Crawl name of the crawl")

FUNNEL = TableSchema(
    "funnel",
    "Survival, step by step, in the order of the recipe. documents_in = documents_out + documents_removed in each row.",
    (
        RECIPE,
        CRAWL,
        Column("step", pa.int32(), "position, from 0"),
        Column("stage", pa.string(), "asset"),
        Column("rule", pa.string(), "rule, or the stage itself"),
        Column("documents_in", pa.int64(), "documents that reached the step"),
        Column("documents_removed", pa.int64(), "documents removed by it"),
        Column("documents_out", pa.int64(), "documents left"),
        Column("words_out", pa.int64(), "UAX-29 words left"),
        Column("bytes_out", pa.int64(), "bytes of UTF-8 text left"),
    ),
)

REMOVAL_REASONS = TableSchema(
    "removal_reasons",
    "What was removed, by stage and reason.",
    (
        RECIPE,
        CRAWL,
        Column("stage", pa.string(), "asset that decided"),
        Column("reason", pa.string(), "rule or edit"),
        Column("scope", pa.string(), "document or span"),
        Column("items", pa.int64(), "documents or spans removed"),
        Column("words", pa.int64(), "UAX-29 words of the removed documents; 0 for spans"),
        Column("bytes", pa.int64(), "bytes of text removed"),
    ),
)

HOSTS = TableSchema(
    "hosts",
    "Documents and survival per host, the largest hosts by name and the rest as one row per host group.",
    (
        RECIPE,
        CRAWL,
        Column("host", pa.string(), "host name; `*` for the rest of the group"),
        Column("host_group", pa.string(), "kind of host, by its top-level domain"),
        Column("documents_in", pa.int64(), "documents of the crawl"),
        Column("documents_kept", pa.int64(), "documents in the corpus"),
        Column("words_kept", pa.int64(), "UAX-29 words in the corpus"),
        Column("bytes_kept", pa.int64(), "bytes in the corpus"),
    ),
)

YIELDS = TableSchema(
    "yields",
    "The corpus and its source, by language and host group: the cells that mixtures are made of.",
    (
        RECIPE,
        CRAWL,
        Column("language", pa.string(), "most probable language; `und` where there was no text"),
        Column("host_group", pa.string(), "kind of host, by its top-level domain"),
        Column("documents_in", pa.int64(), "documents of the crawl"),
        Column("words_in", pa.int64(), "UAX-29 words of the crawl"),
        Column("bytes_in", pa.int64(), "bytes of text of the crawl"),
        Column("documents_kept", pa.int64(), "documents in the corpus"),
        Column("words_kept", pa.int64(), "UAX-29 words in the corpus"),
        Column("tokens_kept", pa.int64(), "UAX-29 segments that are not white space, in the corpus"),
        Column("bytes_kept", pa.int64(), "bytes in the corpus"),
    ),
)

SKIPPED_RECORDS = TableSchema(
    "skipped_records",
    "Records of the crawl's files that did not become documents, by reason.",
    (
        RECIPE,
        CRAWL,
        Column("reason", pa.string(), "why the record is not a document"),
        Column("records", pa.int64(), "records"),
    ),
)

STATISTICS: dict[str, TableSchema] = {
    "data": FUNNEL,
    "removal_reasons": REMOVAL_REASONS,
    "hosts": HOSTS,
    "yields": YIELDS,
    "skipped_records": SKIPPED_RECORDS,
}
"""Tables of `<recipe>/statistics`; the funnel is the main one."""

CELLS = TableSchema(
    "cells",
    "Per shard, the documents of each host and language and what the corpus keeps of them: additive.",
    (
        HOST,
        Column("language", pa.string(), "most probable language in `documents`; `und` where there was no text"),
        *YIELDS.columns[4:],
    ),
)

QUALITY_MODEL = TableSchema(
    "quality_model",
    "How the quality classifier came about: counts of its training and its measures on held-out texts.",
    (
        Column("name", pa.string(), "what was counted or measured"),
        Column("value", pa.float64(), "its value"),
    ),
)
