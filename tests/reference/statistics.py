"""Statistics of a made-up crawl, counted document by document: what the stage `statistics` would write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from corpus_dagster.lake import Identity, Lake
from corpus_dagster.schemas import STATISTICS

STEPS = (
    ("documents", "documents"),
    ("filtered", "language"),
    ("filtered", "newlines"),
    ("filtered", "word_count"),
    ("duplicates", "duplicate"),
    ("quality", "quality"),
)
EDIT = 2
"""The step that removes spans and no document."""

HOSTS = {"a.com": "com", "b.com": "com", "c.com": "com", "d.org": "org", "e.org": "org", "f.edu": "edu"}
NAMED_HOSTS = ("a.com", "b.com", "d.org", "f.edu")
LANGUAGES = ("en", "de", "mt", "und")


@dataclass(frozen=True)
class Shape:
    """A crawl's size, and how its documents spread over languages."""

    documents: int
    languages: tuple[float, ...] = (0.6, 0.25, 0.1, 0.05)
    keep: float = 0.3


def documents(shape: Shape, seed: int) -> pl.DataFrame:
    """One row per document: its origin, length, what edits cut of it, which step removes it (-1: none)."""
    rng = np.random.default_rng(seed)
    n = shape.documents
    words = rng.integers(5, 2_000, n)
    cut = np.where(rng.random(n) < 0.5, rng.integers(0, 5, n), 0)
    removing = [step for step in range(1, len(STEPS)) if step != EDIT]
    removed_by = np.where(rng.random(n) < shape.keep, -1, rng.choice(removing, n))
    host = rng.choice(list(HOSTS), n)
    language = rng.choice(LANGUAGES, n, p=shape.languages)
    # No text, no survival.
    removed_by = np.where(language == "und", 1, removed_by)
    reached_edit = (removed_by == -1) | (removed_by > EDIT)
    cut = np.where(reached_edit, cut, 0)
    return pl.DataFrame(
        {
            "host": host,
            "host_group": [HOSTS[name] for name in host],
            "language": language,
            "words": words,
            "bytes": words * 6,
            "cut": cut,
            "tokens": words * 2 - cut,
            "removed_by": removed_by,
        }
    )


def statistics(recipe: str, crawl: str, rows: pl.DataFrame) -> dict[str, pa.Table]:
    """The tables of `<recipe>/statistics`, by name."""
    owner = [pl.lit(recipe).alias("recipe"), pl.lit(crawl).alias("crawl")]
    kept = pl.col("removed_by") == -1
    words_kept, bytes_kept = pl.col("words") - pl.col("cut"), (pl.col("words") - pl.col("cut")) * 6

    steps = []
    for step, (stage, rule) in enumerate(STEPS):
        reaching = rows.filter(kept | (pl.col("removed_by") >= step))
        leaving = rows.filter(kept | (pl.col("removed_by") > step))
        left = leaving.select(
            words=(words_kept if step >= EDIT else pl.col("words")).sum(),
            bytes=(bytes_kept if step >= EDIT else pl.col("bytes")).sum(),
        ).row(0)
        counts = (len(reaching), len(reaching) - len(leaving), len(leaving))
        steps.append((recipe, crawl, step, stage, rule, *counts, *left))

    removed = rows.filter(~kept).with_columns(
        stage=pl.col("removed_by").replace_strict(
            {step: stage for step, (stage, _) in enumerate(STEPS)}, return_dtype=pl.String
        ),
        reason=pl.col("removed_by").replace_strict(
            {step: rule for step, (_, rule) in enumerate(STEPS)}, return_dtype=pl.String
        ),
    )
    reasons = removed.group_by("stage", "reason", maintain_order=True).agg(
        pl.lit("document").alias("scope"),
        pl.len().alias("items"),
        pl.col("words").sum(),
        (pl.col("bytes") - pl.when(pl.col("removed_by") > EDIT).then(pl.col("cut") * 6).otherwise(0)).sum(),
    )
    spans = rows.filter(pl.col("cut") > 0).select(
        pl.lit(STEPS[EDIT][0]).alias("stage"),
        pl.lit(STEPS[EDIT][1]).alias("reason"),
        pl.lit("span").alias("scope"),
        pl.len().alias("items"),
        pl.lit(0).alias("words"),
        (pl.col("cut") * 6).sum().alias("bytes"),
    )
    spans = spans.filter(pl.col("items") > 0).unique()

    counted = {
        "documents_in": pl.len(),
        "words_in": pl.col("words").sum(),
        "bytes_in": pl.col("bytes").sum(),
        "documents_kept": kept.sum(),
        "words_kept": words_kept.filter(kept).sum(),
        "tokens_kept": pl.col("tokens").filter(kept).sum(),
        "bytes_kept": bytes_kept.filter(kept).sum(),
    }
    hosts = rows.with_columns(
        pl.when(pl.col("host").is_in(NAMED_HOSTS)).then("host").otherwise(pl.lit("*")).alias("host")
    )
    tables = {
        "data": pl.DataFrame(steps, schema=STATISTICS["data"].names, orient="row"),
        "removal_reasons": pl.concat(
            [reasons.select(spans.columns).cast({"items": pl.Int64}), spans.cast({"items": pl.Int64})],
            how="vertical_relaxed",
        ),
        "hosts": hosts.group_by("host", "host_group", maintain_order=True).agg(**counted),
        "yields": rows.group_by("language", "host_group", maintain_order=True).agg(**counted),
        "skipped_records": pl.DataFrame({"reason": ["not_html", "http_404"], "records": [len(rows), 7]}),
    }
    return {
        name: STATISTICS[name].conform(
            frame.with_columns(owner).select(STATISTICS[name].names).to_arrow(compat_level=pl.CompatLevel.oldest())
        )
        for name, frame in tables.items()
    }


def write(lake: Lake, tables: Mapping[str, pa.Table], recipe: str, crawl: str) -> None:
    """Commit the tables as the dataset `<recipe>/statistics` of the crawl."""
    # The content stands for its inputs, so that other content is another dataset.
    content = "".join(str(table.to_pydict()) for table in tables.values())
    inputs = {"content": hashlib.sha256(content.encode()).hexdigest()}
    identity = Identity(code_version="1", config={}, inputs=inputs, models={})
    build = lake.begin(f"{recipe}/statistics", crawl, identity=identity, tables=STATISTICS)
    if 0 not in build.finished():
        with build.shard(0) as writer:
            for name, table in tables.items():
                writer.write(table, name)
    build.commit([0])
