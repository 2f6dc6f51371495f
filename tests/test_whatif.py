"""Deciding again from stored signals: exactly what a real run decides, or an honest "cannot tell"."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import curation
import pytest
import yaml
from curation import FIRST, Curation

from corpus_dagster.lake import Lake, LakeError
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe
from corpus_dagster.stages import curated, filtered
from corpus_dagster.whatif import WhatIf, WhatIfStep, what_if

CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "shorter": {"word_count.min": 5},
    "longer": {"word_count.min": 300, "word_count.max": 600},
    "looser repetition": {"repetition.limits.top_2_gram": 0.5, "repetition.limits.duplicate_lines": 0.9},
    "stricter repetition": {"repetition.limits.duplicate_5_gram": 0.01, "repetition.limits.duplicate_line_chars": 0.0},
    "looser lines": {"removed_words.max": 1.0, "bullet_lines.max": 1.0},
    "stricter lines": {"removed_words.max": 0.0, "ellipsis_lines.max": 0.0},
    "symbols": {"symbol_ratio.max": 0.5, "non_alpha_words.max": 0.05},
    "stop words": {"stop_words.min": 20, "mean_word_length.max": 5.0},
    "stricter gates": {"url_soft_words.max_matches": 0, "language.min_score": 0.95},
    "all rules off": {
        "word_count.min": 0,
        "mean_word_length.min": 0,
        "mean_word_length.max": 1000,
        "symbol_ratio.max": 1000,
        "bullet_lines.max": 1,
        "ellipsis_lines.max": 1,
        "non_alpha_words.max": 1,
        "stop_words.min": 0,
        "removed_words.max": 1,
    },
}


@pytest.fixture(scope="module")
def bare(curated_sample: Curation, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The curated lake without archives, documents and any text: signals, marks, scores and manifests are left."""
    lake = Path(shutil.copytree(curated_sample.lake.uri, tmp_path_factory.mktemp("bare") / "lake"))
    for folder in ("documents", "warc_files", f"{curation.RECIPE}/removed", f"{curation.RECIPE}/statistics"):
        shutil.rmtree(lake / folder)
    for stage in ("filtered", "curated"):
        for part in (lake / curation.RECIPE / stage).rglob("*/part-*.parquet"):
            if part.parent.name != "signals":
                part.unlink()
    return Lake.at(lake)


def ask(lake: Lake, curation: Curation, changed: Recipe) -> WhatIf:
    return what_if(lake, curation.recipe, changed, FIRST)


def at(result: WhatIf, rule: str) -> WhatIfStep:
    return next(step for step in result.steps if step.rule == rule)


def really(curation_: Curation, folder: Path, recipe: Recipe) -> dict[str, int]:
    """Documents left after each rule when `filtered` really runs with the recipe, in a lake of its own."""
    for name in ("documents", "warc_files"):
        shutil.copytree(Path(curation_.lake.uri, name), folder / name)
    dataset = filtered.run(curation.context(Lake.at(folder)), recipe, FIRST).dataset
    reasons = Counter(dataset.scan("signals").collect()["reason"])
    left, after = dataset.rows("signals"), dict[str, int]()
    for check in recipe.program.checks:
        left -= reasons.get(check.reason, 0)
        after[check.reason] = left
    assert left == dataset.rows()
    return after


@pytest.mark.parametrize("change", CHANGES)
def test_new_limits_decide_as_a_real_run_does(
    curated_sample: Curation, bare: Lake, tmp_path: Path, change: str
) -> None:
    recipe = curated_sample.recipe.override(CHANGES[change])
    result = ask(bare, curated_sample, recipe)
    expected = really(curated_sample, tmp_path, recipe)
    rules = [step for step in result.steps if step.stage == "filtered"]
    assert {step.rule: step.then for step in rules} == expected
    assert {step.undecided for step in rules} == {0}
    assert not any("cannot be decided" in note for note in result.notes)
    current = really(curated_sample, tmp_path / "now", curated_sample.recipe)
    assert {step.rule: step.now for step in rules} == current
    assert (expected != current) == (change != "nothing")
    new = max(0, expected["removed_words"] - current["removed_words"])
    passing = [note for note in result.notes if "would newly pass the rules" in note]
    assert bool(passing) >= (new > 0)


def test_no_change_gives_the_funnel_there_is(curated_sample: Curation, bare: Lake) -> None:
    result = ask(bare, curated_sample, curated_sample.recipe)
    assert [step for step in result.steps if step.now != step.then or step.undecided] == []
    assert (
        at(result, "duplicate_document").then == curated_sample.dataset("duplicates", FIRST).totals["kept"]["documents"]
    )
    assert at(result, "quality").then == curated_sample.dataset("curated", FIRST).rows()
    assert result.notes == ("duplicates are taken as they were found among the documents that pass now",)


@pytest.mark.parametrize(
    "keep", [{"quality.keep.share": 0.3}, {"quality.keep.score": 0.01}, {"quality.keep.score": 1.0}]
)
def test_another_quality_decision_is_that_of_a_real_run(
    curated_sample: Curation, bare: Lake, tmp_path: Path, keep: dict[str, float]
) -> None:
    lake = Lake.at(shutil.copytree(curated_sample.lake.uri, tmp_path / "lake"))
    recipe = curated_sample.recipe.override(keep)
    step = at(ask(bare, curated_sample, recipe), "quality")
    assert step.then == curated.run(curation.context(lake), recipe, FIRST).dataset.rows()
    assert step.now == curated_sample.dataset("curated", FIRST).rows()


def test_documents_that_newly_pass_are_not_guessed_at(curated_sample: Curation, bare: Lake) -> None:
    result = ask(bare, curated_sample, curated_sample.recipe.override({"word_count.min": 0}))
    new = at(result, "removed_words").then - curated_sample.dataset("filtered", FIRST).rows()
    assert new > 0
    assert (
        f"{new:,} documents would newly pass the rules; their duplicates and quality have not been measured"
        in result.notes
    )
    assert at(result, "duplicate_document").undecided == at(result, "quality").undecided == new
    assert at(result, "duplicate_document").then == at(result, "duplicate_document").now


def test_a_looser_gate_lets_through_what_was_never_measured(curated_sample: Curation, bare: Lake) -> None:
    removed = curated_sample.dataset("filtered", FIRST).totals["removed"]["language"]["documents"]
    result = ask(
        bare,
        curated_sample,
        curated_sample.recipe.override({"language.min_score": 0.0, "language.keep": ["en", "de", "fr"]}),
    )
    let_through = at(result, "language").then - (at(result, "language").now or 0)
    assert 0 < let_through < removed
    assert at(result, "language").undecided == 0
    assert at(result, "word_count").undecided == at(result, "quality").undecided == let_through
    assert any(
        note.startswith(f"{let_through:,} documents would pass a gate that stops them now") for note in result.notes
    )
    assert at(result, "quality").then == at(result, "quality").now


def test_a_removed_gate_is_a_looser_one(curated_sample: Curation, bare: Lake) -> None:
    raw = model.as_file(curated_sample.recipe)
    raw["filter"] = [step for step in raw["filter"] if step["name"] != "url_hosts"]
    result = ask(bare, curated_sample, model.parse(raw, folder=curated_sample.recipe.folder, where="a test"))
    removed = curated_sample.dataset("filtered", FIRST).totals["removed"]["url_hosts"]["documents"]
    assert all(step.rule != "url_hosts" for step in result.steps)
    assert at(result, "url_substrings").undecided == removed
    # What is left now was left after the step that is gone, too.
    assert at(result, "removed_words").now == curated_sample.dataset("filtered", FIRST).rows()
    assert at(result, "removed_words").then == at(result, "removed_words").now


def undecided_rules(result: WhatIf) -> set[str]:
    return {note.split(" cannot be decided again")[0] for note in result.notes if " cannot be decided again" in note}


def test_another_newline_policy_cannot_be_decided(curated_sample: Curation, bare: Lake) -> None:
    result = ask(bare, curated_sample, curated_sample.recipe.override({"language.newlines": "space"}))
    assert undecided_rules(result) == {"language"}
    assert any("it was measured with other settings or lists" in note for note in result.notes)
    before = at(result, "cap_newlines").then
    assert (at(result, "language").then, at(result, "language").undecided) == (0, before)
    assert (at(result, "quality").then, at(result, "quality").undecided) == (0, before)


def test_rules_behind_another_edit_cannot_be_decided(curated_sample: Curation, bare: Lake) -> None:
    result = ask(bare, curated_sample, curated_sample.recipe.override({"cap_newlines.max": 1}))
    assert {"language", "word_count", "symbol_ratio", "top_2_gram", "removed_words"} <= undecided_rules(result)
    assert not {"url_hosts", "url_soft_words", "remove_urls"} & undecided_rules(result)
    assert any(
        "its text would be edited otherwise (edits before it: remove_urls, cap_newlines)" in note
        for note in result.notes
    )
    # The last edit: what was measured before it still counts.
    late = ask(bare, curated_sample, curated_sample.recipe.override({"refinedweb_lines.min_words": 1}))
    assert undecided_rules(late) == {"refinedweb_lines", "removed_words"}
    assert at(late, "duplicate_10_gram").then == at(late, "duplicate_10_gram").now


def test_a_list_of_other_hosts_cannot_be_decided(curated_sample: Curation, bare: Lake, tmp_path: Path) -> None:
    (tmp_path / "hosts.txt").write_text("example.org\n", "utf-8")
    raw = model.as_file(curated_sample.recipe)
    raw["filter"][0]["lists"] = ["hosts.txt"]
    result = ask(bare, curated_sample, model.parse(raw, folder=tmp_path, where="a test"))
    assert undecided_rules(result) == {"url_hosts"}
    assert at(result, "url_hosts").undecided == curated_sample.dataset("documents", FIRST).totals["documents"]


def test_a_list_with_new_content_under_its_old_name_cannot_be_decided(curated_sample: Curation, tmp_path: Path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "hosts.txt").write_text("example.org\n", "utf-8")
    raw: dict[str, Any] = model.as_file(curated_sample.recipe) | {"name": "own"}
    raw["filter"][0]["lists"] = ["hosts.txt"]
    (recipes / "own.yaml").write_text(yaml.safe_dump(raw), "utf-8")
    curation.excerpt(curated_sample.root, tmp_path / "small", FIRST, files=1, every=30, copies=2)
    curation.curate(Lake.at(tmp_path / "lake"), tmp_path / "small", model.load(recipes / "own.yaml"), [FIRST])
    assert "cannot be decided" not in asked_anew(tmp_path, "own")
    (recipes / "hosts.txt").write_text("example.org\nexample.net\n", "utf-8")
    assert "note: url_hosts cannot be decided again" in asked_anew(tmp_path, "own")


def asked_anew(folder: Path, recipe: str) -> str:
    """What the command prints in a process of its own, which has read no list yet."""
    settings = {"CORPUS_LAKE": str(folder / "lake"), "CORPUS_RECIPES": str(folder / "recipes")}
    command = [sys.executable, "-m", "corpus_dagster.cli", "what-if", "--crawl", FIRST, "--recipe", recipe]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **settings},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_a_signal_that_was_never_measured_is_named(curated_sample: Curation, bare: Lake) -> None:
    raw = model.as_file(curated_sample.recipe)
    raw["filter"].append({"rule": "word_count", "name": "words_at_the_end", "min": 10, "max": 1000})
    result = ask(bare, curated_sample, model.parse(raw, folder=curated_sample.recipe.folder, where="a test"))
    assert undecided_rules(result) == {"words_at_the_end"}
    assert at(result, "words_at_the_end").now is None
    assert at(result, "words_at_the_end").undecided == at(result, "removed_words").then


def test_other_deduplication_and_another_classifier_are_left_to_a_real_run(
    curated_sample: Curation, bare: Lake
) -> None:
    other = curated_sample.recipe.override({"duplicates.threshold": 0.5, "quality.model.fit.documents": 10})
    result = ask(bare, curated_sample, other)
    assert any(note.startswith("deduplication is not decided again") for note in result.notes)
    assert any(note.startswith("quality scores are those of the current classifier") for note in result.notes)
    assert at(result, "quality").then == at(result, "quality").now


def test_nothing_passes_a_score_that_nobody_reaches(curated_sample: Curation, bare: Lake) -> None:
    result = ask(bare, curated_sample, curated_sample.recipe.override({"word_count.min": 100_000}))
    assert at(result, "quality").then == 0
    assert (
        curated.threshold(curated_sample.recipe.quality.keep, curated_sample.dataset("quality", FIRST).scan().head(0))
        == math.inf
    )


def test_stages_that_do_not_belong_together_are_refused(curated_sample: Curation, tmp_path: Path) -> None:
    lake = Lake.at(shutil.copytree(curated_sample.lake.uri, tmp_path / "lake"))
    changed = curated_sample.recipe.override({"word_count.min": 200})
    filtered.run(curation.context(lake), changed, FIRST)
    with pytest.raises(
        LakeError, match="was made from an earlier dclm_baseline/filtered; materialise 'dclm_baseline/duplicates'"
    ):
        ask(lake, curated_sample, changed)


def test_a_crawl_without_signals_says_what_to_make(curated_sample: Curation, bare: Lake) -> None:
    with pytest.raises(LakeError, match="'dclm_baseline/filtered' of crawl SAMPLE-2030-01 is not in the lake"):
        what_if(bare, curated_sample.recipe, curated_sample.recipe, "SAMPLE-2030-01")
