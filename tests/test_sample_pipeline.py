"""The shipped recipe over the sample: every page ends where its label says, and every number adds up."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from curation import FIRST, GATES, RECIPE, SECOND, Curation
from reference import uax29

from corpus_dagster import cli, sample
from corpus_dagster.hosts import host_group
from corpus_dagster.stages.statistics import MEASURES

EXPECTED_FUNNEL = Path(__file__).with_name("expected_funnel.json")
SPAN_OF = {
    "urls": "remove_urls",
    "newlines": "cap_newlines",
    "cart": "refinedweb_lines:items_in_cart",
    "read_more": "refinedweb_lines:read_more",
    "sign_in": "refinedweb_lines:sign_in",
    "upper_case_lines": "refinedweb_lines:uppercase",
    "numeric_lines": "refinedweb_lines:numeric",
    "counter_lines": "refinedweb_lines:counter",
}
"""Labels of edits, and the reason of the spans that they stand for."""

INCIDENTAL = {"refinedweb_lines:line_length", "refinedweb_lines:strip", "refinedweb_lines:uppercase"}
"""What navigation and headings of one word or in capitals lose on any page; the labels leave it out."""

EDIT_CHECKS = {"remove_urls", "cap_newlines", "refinedweb_lines"}
"""Reasons of documents that an edit leaves empty; the sample has none."""

crawls = pytest.mark.parametrize("crawl", sample.CRAWLS)


def removed_documents(curation: Curation, crawl: str) -> dict[str, tuple[str, str]]:
    """Stage and reason by URL."""
    rows = curation.frame("removed", crawl).filter(pl.col("scope") == "document")
    assert rows["url"].is_unique().all()
    return {url: (stage, reason) for url, stage, reason in rows.select("url", "stage", "reason").iter_rows()}


def spans_by_document(frame: pl.DataFrame) -> dict[int, list[tuple[int, int]]]:
    spans: dict[int, list[tuple[int, int]]] = {}
    for doc_id, start, end in frame.select("doc_id", "start", "end").iter_rows():
        spans.setdefault(doc_id, []).append((start, end))
    return spans


def without(text: str, spans: list[tuple[int, int]]) -> str:
    """The text without these byte spans, which must be in order, apart from each other and between characters."""
    data, pieces, position = text.encode(), list[str](), 0
    for start, end in spans:
        assert position <= start < end <= len(data)
        pieces.append(data[position:start].decode())
        position = end
    return "".join([*pieces, data[position:].decode()])


def texts(curation: Curation, stage: str, crawl: str) -> dict[int, str]:
    return dict(curation.frame(stage, crawl).select("doc_id", "text").iter_rows())


@crawls
def test_pages_meet_the_fate_on_their_label(curated_sample: Curation, crawl: str) -> None:
    fates = removed_documents(curated_sample, crawl)
    documents = set(curated_sample.frame("documents", crawl)["url"])
    corpus = set(curated_sample.frame("curated", crawl)["url"])
    marks = curated_sample.frame("duplicates", crawl).join(
        curated_sample.frame("filtered", crawl).select("doc_id", "url"), on="doc_id"
    )
    shortened = set(marks.filter((pl.col("removed_bytes") > 0) & ~pl.col("duplicate"))["url"])

    def fate(url: str) -> str:
        if url not in documents:
            return "skipped"
        if url in fates:
            stage, reason = fates[url]
            assert url not in corpus
            if stage == "filtered":
                return f"filtered:{reason}"
            if stage == "duplicates":
                assert reason == "duplicate_document"
                return "duplicates:document"
            assert (stage, reason) == ("curated", "quality")
        else:
            assert url in corpus
        return "duplicates:paragraph" if url in shortened else "scored"

    wrong: list[tuple[str, str, str]] = []
    seen: Counter[str] = Counter()
    for label in curated_sample.labels(crawl):
        expect = label["expect"]
        expected = (
            "skipped" if expect.startswith("skip:") else expect.replace("keep", "scored").replace("quality", "scored")
        )
        seen[expected] += 1
        if fate(label["url"]) != expected:
            wrong.append((label["url"], expect, fate(label["url"])))
    assert wrong == []
    tried = {name.removeprefix("filtered:") for name in seen if name.startswith("filtered:")}
    assert {check.reason for check in curated_sample.recipe.program.checks} - tried == EDIT_CHECKS
    assert min(seen[name] for name in ("skipped", "scored", "duplicates:document", "duplicates:paragraph")) > 30


@crawls
def test_records_that_are_no_pages_are_counted_by_exactly_their_reasons(curated_sample: Curation, crawl: str) -> None:
    totals = curated_sample.dataset("documents", crawl).totals
    labels = curated_sample.labels(crawl)
    expected = Counter(label["expect"].removeprefix("skip:") for label in labels if label["expect"].startswith("skip:"))
    expected |= Counter(
        {
            "record_type:request": len(labels),
            "record_type:metadata": len(labels),
            "record_type:warcinfo": len(curated_sample.dataset("documents", crawl).shards),
        }
    )
    assert totals["skipped"] == expected
    assert totals["records"] == totals["documents"] + expected.total()


@crawls
def test_every_stage_accounts_for_what_went_in(curated_sample: Curation, crawl: str) -> None:
    documents = curated_sample.frame("documents", crawl)
    arrived = {
        "documents": documents.height,
        "words": documents["words"].sum(),
        "bytes": documents["text_bytes"].sum(),
    }
    totals = curated_sample.dataset("documents", crawl).totals
    assert arrived == {name: totals[name] for name in arrived}
    for stage in ("filtered", "duplicates", "curated"):
        totals = curated_sample.dataset(stage, crawl).totals
        for measure in ("documents", "words", "bytes"):
            gone = sum(counts[measure] for counts in totals["removed"].values())
            assert totals["in"][measure] == totals["kept"][measure] + gone, (stage, measure)
        assert totals["in"]["documents"] == arrived["documents"]
        arrived = totals["kept"]
    assert arrived["documents"] == curated_sample.dataset("curated", crawl).rows()
    filtered, marks = (curated_sample.dataset(stage, crawl) for stage in ("filtered", "duplicates"))
    assert marks.totals["in"]["bytes"] == filtered.totals["kept"]["bytes"] - filtered.totals["edited_bytes"]
    scored = curated_sample.dataset("curated", crawl).totals["in"]["bytes"]
    assert scored == marks.totals["kept"]["bytes"] - marks.totals["edited_bytes"]


@crawls
def test_a_removed_document_has_one_row_and_a_kept_one_none(curated_sample: Curation, crawl: str) -> None:
    documents = curated_sample.frame("documents", crawl)
    removed = curated_sample.frame("removed", crawl)
    corpus = curated_sample.frame("curated", crawl)
    whole = removed.filter(pl.col("scope") == "document")
    spans = removed.filter(pl.col("scope") == "span")
    assert removed.height == whole.height + spans.height
    assert sorted([*whole["doc_id"], *corpus["doc_id"]]) == documents["doc_id"].to_list()
    assert set(spans["doc_id"]) <= set(corpus["doc_id"])
    sizes = whole.join(documents, on="doc_id", suffix="_in")
    for name, original in (("url", "url_in"), ("host", "host_in"), ("words", "words_in"), ("bytes", "text_bytes")):
        assert sizes[name].to_list() == sizes[original].to_list()
    signals = curated_sample.frame("filtered", crawl, "signals").filter(pl.col("reason").is_not_null())
    by_rules = whole.filter(pl.col("stage") == "filtered").join(signals, on="doc_id", suffix="_signals")
    assert by_rules.height == signals.height
    assert by_rules["reason"].to_list() == by_rules["reason_signals"].to_list()
    assert by_rules["value"].to_list() == by_rules["value_signals"].to_list()
    limits = (
        ("duplicates", pl.col("value") > curated_sample.recipe.duplicates.threshold),
        (
            "curated",
            pl.col("value")
            < float(curated_sample.dataset("curated", crawl).manifest["identity"]["config"]["threshold"]),
        ),
    )
    for stage, beyond in limits:
        assert whole.filter(pl.col("stage") == stage).select(beyond.all()).item()


@crawls
def test_removed_spans_are_what_the_corpus_lacks_byte_for_byte(curated_sample: Curation, crawl: str) -> None:
    original, corpus = texts(curated_sample, "documents", crawl), texts(curated_sample, "curated", crawl)
    rows = curated_sample.frame("removed", crawl).filter(pl.col("scope") == "span")
    spans = spans_by_document(rows)
    assert {doc_id: without(original[doc_id], spans.get(doc_id, [])) for doc_id in corpus} == corpus
    assert (rows["bytes"] == rows["end"] - rows["start"]).all()
    assert set(rows["stage"]) <= {"filtered", "duplicates"}
    assert ((rows["reason"] == "duplicate_paragraph") == (rows["stage"] == "duplicates")).all()


@crawls
def test_edits_and_duplicate_spans_lead_from_stage_to_stage(curated_sample: Curation, crawl: str) -> None:
    original, edited = texts(curated_sample, "documents", crawl), texts(curated_sample, "filtered", crawl)
    edits = spans_by_document(curated_sample.frame("filtered", crawl, "edits"))
    assert {doc_id: without(original[doc_id], edits.get(doc_id, [])) for doc_id in edited} == edited
    copies = spans_by_document(curated_sample.frame("duplicates", crawl, "spans"))
    corpus = texts(curated_sample, "curated", crawl)
    assert {doc_id: without(edited[doc_id], copies.get(doc_id, [])) for doc_id in corpus} == corpus
    cut = {doc_id: sum(end - start for start, end in spans) for doc_id, spans in copies.items()}
    marks = curated_sample.frame("duplicates", crawl)
    assert [cut.get(doc_id, 0) for doc_id in marks["doc_id"]] == marks["removed_bytes"].to_list()


@crawls
def test_texts_lose_what_their_label_says(curated_sample: Curation, crawl: str) -> None:
    labels = {label["url"]: label for label in curated_sample.labels(crawl)}
    found = (
        curated_sample.frame("filtered", crawl)
        .join(curated_sample.frame("filtered", crawl, "edits"), on="doc_id", how="left")
        .group_by("url")
        .agg(pl.col("rule").drop_nulls().unique())
    )
    edited: Counter[str] = Counter()
    for url, rules in found.iter_rows():
        planted = {SPAN_OF[name] for name in labels[url]["edits"]}
        # Contact pages hold the address of their site.
        incidental = INCIDENTAL | {"remove_urls"} if labels[url]["kind"] == "contact" else INCIDENTAL
        assert planted <= set(rules) <= planted | incidental, url
        edited.update(labels[url]["edits"])
    assert edited.keys() == SPAN_OF.keys()


@crawls
def test_document_ids_are_shard_and_row(curated_sample: Curation, crawl: str) -> None:
    dataset = curated_sample.dataset("documents", crawl)
    files = {row["shard"]: row["path"] for row in curated_sample.frame("warc_files", crawl).to_dicts()}
    file_of = {label["url"]: label["file"] for label in curated_sample.labels(crawl)}
    for shard in dataset.shards:
        rows = dataset.read(shard, columns=["doc_id", "url", "offset"]).to_pylist()
        assert [row["doc_id"] for row in rows] == [(shard << 32) + row for row in range(len(rows))]
        assert {file_of[row["url"]] for row in rows} == {files[shard]}
        offsets = [row["offset"] for row in rows]
        assert offsets == sorted(set(offsets))
    for stage in ("filtered", "duplicates", "quality", "curated"):
        ids = curated_sample.frame(stage, crawl)["doc_id"].to_list()
        assert ids == sorted(set(ids))
    assert (
        curated_sample.frame("filtered", crawl, "signals")["doc_id"].to_list()
        == curated_sample.frame("documents", crawl)["doc_id"].to_list()
    )
    for stage in ("duplicates", "quality"):
        assert curated_sample.frame(stage, crawl)["doc_id"].equals(curated_sample.frame("filtered", crawl)["doc_id"])


@crawls
def test_signals_are_null_only_behind_the_gate_that_stopped_a_document(curated_sample: Curation, crawl: str) -> None:
    signals = curated_sample.frame("filtered", crawl, "signals")
    columns = [name for name in signals.columns if "__" in name]
    stopped = signals.filter(pl.col("reason").is_in(GATES))
    assert (
        not signals.filter(~pl.col("reason").is_in(GATES).fill_null(False))
        .select(columns)
        .null_count()
        .sum_horizontal()
        .item()
    )
    late = [name for name in columns if name.startswith(("dclm_", "fasttext_words"))]
    assert len(late) > 20
    assert stopped.select(pl.col(late).is_null().all()).row(0) == (True,) * len(late)


@crawls
def test_words_are_counted_as_a_slow_reference_counts_them(curated_sample: Curation, crawl: str) -> None:
    for stage in ("documents", "filtered", "curated"):
        rows = curated_sample.frame(stage, crawl).gather_every(29)
        for text, words, size in rows.select("text", "words", "text_bytes").iter_rows():
            segments = uax29.segments(text)
            assert words == sum(segment[0].isalnum() for segment in segments)
            assert size == len(text.encode())
        if "tokens" in rows.columns:
            for text, tokens in rows.select("text", "tokens").iter_rows():
                assert tokens == sum(not segment.isspace() for segment in uax29.segments(text))


@crawls
def test_the_funnel_adds_up_and_ends_at_the_corpus(curated_sample: Curation, crawl: str) -> None:
    steps = curated_sample.frame("statistics", crawl).to_dicts()
    documents, filtered, corpus = (curated_sample.frame(stage, crawl) for stage in ("documents", "filtered", "curated"))
    assert [step["step"] for step in steps] == list(range(len(steps)))
    assert steps[0]["documents_in"] == documents.height
    for before, after in pairwise(steps):
        assert after["documents_in"] == before["documents_out"]
        assert after["words_out"] <= before["words_out"]
        assert after["bytes_out"] <= before["bytes_out"]
    for step in steps:
        assert step["documents_in"] == step["documents_out"] + step["documents_removed"]
    by_rule = {(step["stage"], step["rule"]): step for step in steps}
    assert len(by_rule) == len(steps)
    gone = Counter(removed_documents(curated_sample, crawl).values())
    assert {key: step["documents_removed"] for key, step in by_rule.items() if step["documents_removed"]} == gone
    for key, frame in (
        (("documents", "documents"), documents),
        (("filtered", "text_edits"), filtered),
        (("curated", "quality"), corpus),
    ):
        assert by_rule[key]["documents_out"] == frame.height
        assert by_rule[key]["words_out"] == frame["words"].sum()
        assert by_rule[key]["bytes_out"] == frame["text_bytes"].sum()


@crawls
def test_statistics_are_those_of_the_datasets(curated_sample: Curation, crawl: str) -> None:
    key = {"recipe": RECIPE, "crawl": crawl}
    removed, documents, corpus = (curated_sample.frame(stage, crawl) for stage in ("removed", "documents", "curated"))

    reasons = (
        removed.group_by("stage", "reason", "scope")
        .agg(pl.len().alias("items"), pl.col("words", "bytes").sum())
        .sort("scope", "stage", "reason")
    )
    found = curated_sample.frame("statistics", crawl, "removal_reasons")
    assert same(found, reasons, key)

    cells = (
        documents.select("doc_id", "host", "language", words_in="words", bytes_in="text_bytes")
        .join(
            corpus.select("doc_id", words_kept="words", tokens_kept="tokens", bytes_kept="text_bytes", kept=pl.lit(1)),
            on="doc_id",
            how="left",
        )
        .with_columns(host_group=host_group(pl.col("host")), documents_in=pl.lit(1), documents_kept=pl.col("kept"))
    )
    hosts = cells.group_by("host", "host_group").agg(pl.col(MEASURES).sum())
    found = curated_sample.frame("statistics", crawl, "hosts")
    assert same(found, hosts, key)
    assert found["documents_in"].is_sorted(descending=True)
    yields = cells.group_by("language", "host_group").agg(pl.col(MEASURES).sum())
    found = curated_sample.frame("statistics", crawl, "yields")
    assert same(found, yields, key)
    assert found["documents_in"].sum() == documents.height

    skipped = curated_sample.dataset("documents", crawl).totals["skipped"]
    found = curated_sample.frame("statistics", crawl, "skipped_records")
    assert dict(found.select("reason", "records").iter_rows()) == skipped


def same(found: pl.DataFrame, expected: pl.DataFrame, key: dict[str, str]) -> bool:
    """Whether the rows are the expected ones, in any order, under the key."""
    columns = [name for name in found.columns if name not in key]
    numbers = [name for name in columns if found[name].dtype.is_integer()]
    both = [
        frame.select(columns).with_columns(pl.col(numbers).cast(pl.Int64)).sort(columns) for frame in (found, expected)
    ]
    return both[0].equals(both[1]) and all(found[name].unique().to_list() == [value] for name, value in key.items())


def test_pages_repeated_in_a_later_crawl_stay_in_both_and_have_equal_hashes_unless_revised(
    curated_sample: Curation,
) -> None:
    first, second = (
        curated_sample.frame("filtered", crawl)
        .select("doc_id", "url", "text")
        .join(curated_sample.frame("duplicates", crawl), on="doc_id")
        for crawl in (FIRST, SECOND)
    )
    repeated = {
        label["url"]: label["duplicate_of"]
        for label in curated_sample.labels(SECOND)
        if label["duplicate_crawl"] == FIRST and label["expect"] == "keep"
    }
    pairs = second.filter(pl.col("url").is_in(list(repeated))).join(first, on="url", suffix="_first")
    assert pairs.height == len(repeated) > 50
    assert not pairs["duplicate"].any()
    revised = pairs["text"] != pairs["text_first"]
    assert ((pairs["text_hash"] != pairs["text_hash_first"]) == revised).all()
    assert 0.3 * pairs.height < revised.sum() < 0.7 * pairs.height


@crawls
def test_copies_come_after_what_they_repeat_and_share_its_hash_if_no_byte_differs(
    curated_sample: Curation, crawl: str
) -> None:
    marks = (
        curated_sample.frame("filtered", crawl)
        .select("doc_id", "url", "text")
        .join(curated_sample.frame("duplicates", crawl), on="doc_id")
    )
    rows = {row["url"]: row for row in marks.to_dicts()}
    equal: Counter[str] = Counter()
    for label in curated_sample.labels(crawl):
        if label["expect"] != "duplicates:document":
            continue
        copy, original = rows[label["url"]], rows[label["duplicate_of"]]
        assert copy["duplicate"]
        assert not original["duplicate"]
        assert original["doc_id"] < copy["doc_id"]
        assert (copy["text_hash"] == original["text_hash"]) == (copy["text"] == original["text"])
        equal[label["kind"]] += copy["text"] == original["text"]
    # Some extracted copies begin with the name of their own site.
    assert equal["copy"] > 20
    assert equal["near_copy"] == 0


@crawls
def test_pages_are_in_the_language_of_their_label(curated_sample: Curation, crawl: str) -> None:
    languages = {label["url"]: label["language"] for label in curated_sample.labels(crawl)}
    pages = curated_sample.frame("documents", crawl).select("url", "language")
    assert len(set(languages.values())) >= 12
    assert [(url, language) for url, language in pages.iter_rows() if languages[url] != language] == []


def test_the_funnel_is_exactly_the_recorded_one(
    curated_sample: Curation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORPUS_LAKE", curated_sample.lake.uri)
    status = cli.main(["funnel", "--check", str(EXPECTED_FUNNEL)])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, ""), (
        "if the change is meant, run `corpus-dagster funnel --write` over this file"
    )
    assert set(json.loads(EXPECTED_FUNNEL.read_text("utf-8"))) == set(sample.CRAWLS)
