"""`<recipe>/duplicates`: annotate duplicated paragraphs and documents. No text is changed here.

Shards of a crawl are dealt out to groups; each group has one Bloom filter and is read strictly in order, so that the
result does not depend on workers. The method is in `corpus_dagster.dedup.bloom`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpus_dagster.dedup.bloom import BloomFilter, annotate, count_ngrams, text_hashes
from corpus_dagster.lake import Build, Dataset, Identity
from corpus_dagster.recipes.model import BloomDedup, Recipe
from corpus_dagster.rules.base import Texts
from corpus_dagster.schemas import DIGEST, DUPLICATE_SPANS, DUPLICATES
from corpus_dagster.stages import filtered
from corpus_dagster.stages.context import NO_DOCUMENTS, Done, StageContext, count_decision, digests
from corpus_dagster.stages.run import StageOutcome, run_stage

CODE_VERSION = "1"
"""Raise it when the same inputs give other bytes."""

TABLES = {"data": DUPLICATES, "spans": DUPLICATE_SPANS}

DUPLICATE_DOCUMENT = "duplicate_document"
"""Reason: too large a share of the document's n-grams was seen before. A document of which every paragraph is removed
always falls under it, since each of those shares lies above the same threshold."""


def dataset_name(recipe: Recipe) -> str:
    """Name of the dataset in the lake."""
    return f"{recipe.name}/duplicates"


def groups(shards: Sequence[int], shards_per_filter: int) -> list[tuple[int, ...]]:
    """Deal shards out to as few groups as hold them, as DCLM does: the i-th goes to group i modulo their number."""
    ordered = sorted(shards)
    count = max(1, math.ceil(len(ordered) / shards_per_filter))
    return [tuple(ordered[group::count]) for group in range(count)]


def false_positive_rates(totals: Mapping[str, Any], method: BloomDedup) -> dict[str, float]:
    """Configured and measured chance that the filters of a crawl call a new n-gram seen; the measured one follows from
    how full they are at the end, as a mean over filters."""
    if not totals.get("filter_bits"):
        return {"false_positive_rate_configured": method.false_positive_rate}
    fill = totals["filter_bits_set"] / totals["filter_bits"]
    return {
        "false_positive_rate_configured": method.false_positive_rate,
        "false_positive_rate_measured": fill ** (totals["filter_hashes"] / totals["filters"]),
        "filters": totals["filters"],
        "filter_fill": fill,
    }


@dataclass(frozen=True)
class GroupTask:
    """One group of shards with a filter of its own."""

    shards: tuple[int, ...]
    filtered: Dataset
    build: Build
    method: BloomDedup


def run(context: StageContext, recipe: Recipe, crawl: str) -> StageOutcome:
    """Annotate the duplicates of a crawl's filtered documents.

    Raises:
        LakeError: `filtered` is not there.
        ShardsFailed: groups failed for good, named in the error.
    """
    source = context.lake.require(filtered.dataset_name(recipe), crawl)
    method = recipe.duplicates
    build = context.lake.begin(
        dataset_name(recipe),
        crawl,
        identity=Identity(
            code_version=CODE_VERSION,
            config=method.model_dump(mode="json"),
            inputs=digests(source),
            models={},
        ),
        tables=TABLES,
    )
    tasks = [GroupTask(shards, source, build, method) for shards in groups(source.shards, method.shards_per_filter)]
    return run_stage(
        build,
        tasks,
        write_duplicates,
        settings=context.pool,
        shards_of=lambda task: task.shards,
        report=context.report,
    )


def _ngrams(task: GroupTask) -> int:
    """N-grams of a group: what its filter is made for. Texts are read twice, so that the false-positive rate is the one
    configured and memory is no more than it needs."""
    settings = task.method.settings()
    texts = (
        Texts.of(batch.column("text"))
        for shard in task.shards
        for batch in task.filtered.batches(shard, columns=["text"])
    )
    return sum(int(count_ngrams(text.offsets, text.data, settings).sum()) for text in texts)


def write_duplicates(task: GroupTask) -> Done:
    """Annotate one group. A group that was interrupted is done again whole: its filter lives in memory only."""
    settings = task.method.settings()
    expected = _ngrams(task)
    seen = BloomFilter.create(max(1, expected), settings)
    documents = size = 0
    for shard in task.shards:
        with task.build.shard(shard) as writer:
            count_decision(writer, NO_DOCUMENTS, NO_DOCUMENTS, NO_DOCUMENTS.astype(bool), DUPLICATE_DOCUMENT)
            for batch in task.filtered.batches(shard):
                texts = Texts.of(batch.column("text"))
                found = annotate(texts.offsets, texts.data, seen, settings)
                ids = batch.column("doc_id")
                reason = pa.array(
                    np.full(len(texts), DUPLICATE_DOCUMENT, dtype=object), pa.string(), mask=~found.document
                )
                writer.write(
                    pa.table(
                        {
                            "doc_id": ids,
                            "text_hash": pa.array(text_hashes(texts.strings()), DIGEST),
                            "ngrams": pa.array(found.ngrams, pa.int32()),
                            "seen_ngrams": pa.array(found.seen, pa.int32()),
                            "removed_bytes": pa.array(found.removed_bytes, pa.int32()),
                            "duplicate": pa.array(found.document),
                            "reason": reason,
                        }
                    )
                )
                spans = found.spans
                writer.write(
                    pa.table(
                        {
                            "doc_id": pa.array(np.repeat(ids.to_numpy(), np.diff(spans.offsets))),
                            "start": pa.array(spans.starts, pa.int32()),
                            "end": pa.array(spans.ends, pa.int32()),
                        }
                    ),
                    table="spans",
                )
                words = batch.column("words").to_numpy()
                count_decision(writer, words, texts.lengths, found.document, DUPLICATE_DOCUMENT)
                writer.count("edited_bytes", int(found.removed_bytes[~found.document].sum()))
                documents += len(texts)
                size += int(texts.lengths.sum())
            if shard == task.shards[-1]:
                writer.count("filters", 1)
                writer.count("ngrams_expected", expected)
                writer.count("filter_bits", seen.size)
                writer.count("filter_bits_set", seen.bits_set)
                writer.count("filter_hashes", seen.hashes)
    return Done(task.shards, documents, size)
