"""The story of single pages: what was measured and decided, and which bytes went where."""

from __future__ import annotations

import shutil
from pathlib import Path

import curation
import polars as pl
import pytest
from curation import FIRST, GATES, SECOND, Curation

from corpus_dagster import explain
from corpus_dagster.explain import Story
from corpus_dagster.lake import Lake, LakeError
from corpus_dagster.stages import filtered


def story_of(curation: Curation, url: str, crawl: str = FIRST) -> Story:
    (story,) = explain.stories(curation.lake, curation.recipe, crawl, url)
    return story


def labelled(curation: Curation, expect: str, kind: str | None = None) -> str:
    """URL of the first page with this label."""
    return next(
        label["url"]
        for label in curation.labels(FIRST)
        if label["expect"] == expect and kind in (None, label["kind"]) and not label["duplicate_crawl"]
    )


def text_of(curation: Curation, stage: str, doc_id: int) -> str:
    return curation.frame(stage, FIRST).filter(pl.col("doc_id") == doc_id)["text"].item()


def joined(story: Story) -> str:
    return "".join(text for text, _ in story.pieces)


def test_a_kept_page_is_told_with_its_measures_and_where_it_lies(curated_sample: Curation) -> None:
    row = curated_sample.frame("curated", FIRST).row(3, named=True)
    story = story_of(curated_sample, row["url"])
    assert story.kept
    assert story.verdict == "kept: it is in the corpus"
    assert story.removed_by is None
    assert story.score == row["quality_score"]
    assert story.score is not None
    assert story.threshold is not None
    assert story.score >= story.threshold
    assert story.document["doc_id"] == row["doc_id"]
    label = next(label for label in curated_sample.labels(FIRST) if label["url"] == row["url"])
    assert story.file == label["file"]
    assert [line.reason for line in story.checks] == [check.reason for check in curated_sample.recipe.program.checks]
    assert not any(line.failed or line.value is None for line in story.checks)
    words = next(line for line in story.checks if line.reason == "word_count")
    assert words.limit == "50 <= words <= 100000"
    assert words.value is not None
    assert abs(words.value - row["words"]) < 0.1 * row["words"]
    told = explain.render(story)
    assert f"at byte {story.document['offset']:,} of {label['file']}" in told
    assert "kept: it is in the corpus" in told


def test_pages_removed_by_each_rule_are_told_with_the_rule_that_failed_first(curated_sample: Curation) -> None:
    removed = curated_sample.frame("removed", FIRST).filter(
        (pl.col("scope") == "document") & (pl.col("stage") == "filtered")
    )
    rules = removed.group_by("reason", maintain_order=True).first()
    assert rules.height == 26
    for url, reason, value in rules.select("url", "reason", "value").iter_rows():
        story = story_of(curated_sample, url)
        assert (story.removed_by, story.kept) == (reason, False)
        assert story.verdict == f"removed by rule {reason}"
        failed = [line for line in story.checks if line.failed]
        assert failed[0].reason == reason
        assert failed[0].value == pytest.approx(value, rel=1e-6)
        unmeasured = {line.reason for line in story.checks if line.value is None}
        assert ("word_count" in unmeasured) == (reason in GATES)
        assert joined(story) == text_of(curated_sample, "documents", story.document["doc_id"])
        assert f"x {reason}" in explain.render(story)
        assert ("not measured" in explain.render(story)) == (reason in GATES)


def test_pieces_are_the_whole_text_and_the_unmarked_ones_the_corpus(curated_sample: Curation) -> None:
    spans = curated_sample.frame("removed", FIRST).filter(pl.col("scope") == "span")
    reasons = spans.group_by("reason", maintain_order=True).first()
    assert {"remove_urls", "cap_newlines", "refinedweb_lines:counter"} <= set(spans["reason"]) | set(
        curated_sample.frame("filtered", FIRST, "edits")["rule"]
    )
    for doc_id, url in reasons.select("doc_id", "url").iter_rows():
        story = story_of(curated_sample, url)
        assert joined(story) == text_of(curated_sample, "documents", doc_id)
        assert "".join(text for text, why in story.pieces if not why) == text_of(curated_sample, "curated", doc_id)
        own = spans.filter(pl.col("doc_id") == doc_id)
        cut = [(why, len(text.encode())) for text, why in story.pieces if why]
        assert cut == list(own.select("reason", "bytes").iter_rows())


def test_edits_and_duplicate_paragraphs_are_marked_where_they_were(curated_sample: Curation) -> None:
    for label in curated_sample.labels(FIRST):
        if label["expect"] == "duplicates:paragraph" and label["kind"] == "quoting":
            break
    else:
        raise AssertionError
    story = story_of(curated_sample, label["url"])
    assert story.duplicate is not None
    assert not story.duplicate["duplicate"]
    marked = [text for text, why in story.pieces if why == "duplicate_paragraph"]
    assert sum(len(text.encode()) for text in marked) == story.duplicate["removed_bytes"] > 0
    told = explain.render(story)
    assert all(f"[-{text}-]{{duplicate_paragraph}}" in told for text in marked)


def test_a_copy_is_told_with_the_pages_of_the_same_text(curated_sample: Curation) -> None:
    texts = dict(curated_sample.frame("filtered", FIRST).select("url", "text").iter_rows())
    label = next(
        label
        for label in curated_sample.labels(FIRST)
        if label["kind"] == "copy" and texts[label["url"]] == texts[label["duplicate_of"]]
    )
    story = story_of(curated_sample, label["url"])
    assert story.verdict == "removed as duplicate_document"
    assert story.duplicate is not None
    assert story.duplicate["seen_ngrams"] > 0.8 * story.duplicate["ngrams"]
    assert {label["url"], label["duplicate_of"]} <= set(story.cluster)
    assert story.cluster.index(label["duplicate_of"]) < story.cluster.index(label["url"])
    assert label["duplicate_of"] in explain.render(story)
    assert "removed whole" in explain.render(story)
    original = story_of(curated_sample, label["duplicate_of"])
    assert original.cluster == story.cluster
    assert original.verdict != story.verdict


def test_a_poor_page_is_told_with_its_score_and_the_threshold(curated_sample: Curation) -> None:
    story = story_of(curated_sample, labelled(curated_sample, "quality"))
    assert story.score is not None
    assert story.threshold is not None
    assert story.score < story.threshold
    assert story.verdict == f"removed: its quality score lies below {story.threshold:.6g}"


def test_a_page_is_found_by_its_record_id_with_or_without_brackets(curated_sample: Curation) -> None:
    row = curated_sample.frame("documents", FIRST).row(100, named=True)
    by_url = story_of(curated_sample, row["url"])
    assert row["record_id"].startswith("urn:uuid:")
    assert story_of(curated_sample, row["record_id"]) == by_url
    assert story_of(curated_sample, f"<{row['record_id']}>") == by_url


@pytest.mark.parametrize("expect", ["skip:mime", "skip:status:3xx"])
def test_what_is_no_document_has_no_story(curated_sample: Curation, expect: str) -> None:
    url = labelled(curated_sample, expect)
    assert list(explain.stories(curated_sample.lake, curated_sample.recipe, FIRST, url)) == []
    assert list(explain.stories(curated_sample.lake, curated_sample.recipe, FIRST, "https://nowhere.example/")) == []


def test_a_url_of_both_crawls_has_a_story_in_each(curated_sample: Curation) -> None:
    url = next(label["url"] for label in curated_sample.labels(SECOND) if label["duplicate_crawl"] == FIRST)
    assert (
        story_of(curated_sample, url, FIRST).document["date"] < story_of(curated_sample, url, SECOND).document["date"]
    )


def test_later_stages_that_wait_to_be_made_again_are_left_out(curated_sample: Curation, tmp_path: Path) -> None:
    lake = Lake.at(shutil.copytree(curated_sample.lake.uri, tmp_path / "lake"))
    url = curated_sample.frame("curated", FIRST).filter(pl.col("words") > 250)["url"][0]
    recipe = curated_sample.recipe.override({"word_count.min": 200})
    filtered.run(curation.context(lake), recipe, FIRST)
    (story,) = explain.stories(lake, recipe, FIRST, url)
    assert (story.kept, story.duplicate, story.score, story.threshold) == (False, None, None, None)
    assert story.verdict.startswith("undecided: passed the rules")
    # The limits told are those that the dataset was made with, whatever the recipe says today.
    (by_shipped,) = explain.stories(lake, curated_sample.recipe, FIRST, url)
    assert by_shipped == story
    assert next(line.limit for line in story.checks if line.reason == "word_count") == "200 <= words <= 100000"


def test_a_crawl_that_was_not_filtered_is_an_error_that_says_so(curated_sample: Curation) -> None:
    with pytest.raises(LakeError, match="'documents' of crawl SAMPLE-2030-01 is not in the lake"):
        list(explain.stories(curated_sample.lake, curated_sample.recipe, "SAMPLE-2030-01", "https://a.example/"))
