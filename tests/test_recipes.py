"""Recipes: what loads, what is refused and how, overrides, extension."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import RecipeError

# Order and limits of DCLM-Baseline as published (arXiv 2406.11794 and its configuration file).
PUBLISHED = [
    ("url_hosts", "matches <= 0"),
    ("url_substrings", "matches <= 0"),
    ("url_hard_words", "matches <= 0"),
    ("url_soft_words", "matches <= 1"),
    ("remove_urls", "some text is left"),
    ("cap_newlines", "some text is left"),
    ("language", "P(en) > 0.65"),
    ("word_count", "50 <= words <= 100000"),
    ("mean_word_length", "3 <= mean <= 10"),
    ("symbol_ratio", "symbols / words <= 0.1"),
    ("bullet_lines", "share of lines <= 0.9"),
    ("ellipsis_lines", "share of lines <= 0.3"),
    ("non_alpha_words", "share of words <= 0.2"),
    ("stop_words", "stop words >= 2"),
    ("duplicate_lines", "fraction <= 0.3"),
    ("duplicate_paragraphs", "fraction <= 0.3"),
    ("duplicate_line_chars", "fraction <= 0.2"),
    ("duplicate_paragraph_chars", "fraction <= 0.2"),
    ("top_2_gram", "fraction <= 0.2"),
    ("top_3_gram", "fraction <= 0.18"),
    ("top_4_gram", "fraction <= 0.16"),
    ("duplicate_5_gram", "fraction <= 0.15"),
    ("duplicate_6_gram", "fraction <= 0.14"),
    ("duplicate_7_gram", "fraction <= 0.13"),
    ("duplicate_8_gram", "fraction <= 0.12"),
    ("duplicate_9_gram", "fraction <= 0.11"),
    ("duplicate_10_gram", "fraction <= 0.1"),
    ("refinedweb_lines", "some text is left"),
    ("removed_words", "share of words lost <= 0.05"),
]


def content() -> dict[str, Any]:
    return yaml.safe_load((model.SHIPPED_FOLDER / "dclm_baseline.yaml").read_text("utf-8"))


def parse(raw: dict[str, Any]) -> model.Recipe:
    return model.parse(raw, folder=model.SHIPPED_FOLDER, where="test.yaml")


def test_dclm_baseline_has_the_published_order_and_limits() -> None:
    program = model.shipped()["dclm_baseline"].program
    assert [(check.reason, check.limit) for check in program.checks] == PUBLISHED


def test_dclm_baseline_deduplicates_as_published() -> None:
    duplicates = model.shipped()["dclm_baseline"].duplicates
    assert (duplicates.ngram, duplicates.min_ngram, duplicates.threshold, duplicates.false_positive_rate) == (
        13,
        13,
        0.8,
        0.01,
    )


def test_an_unknown_rule_is_refused_with_the_nearest_name() -> None:
    raw = content()
    raw["filter"][7]["rule"] = "word_cuont"
    with pytest.raises(
        RecipeError, match=r"test\.yaml: .*step 8: unknown rule 'word_cuont'; did you mean 'word_count'"
    ):
        parse(raw)


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    raw = content()
    raw["filter"][7]["minimum"] = 50
    with pytest.raises(RecipeError, match=r"step 8 \(word_count\): unknown field 'minimum'; did you mean 'min'"):
        parse(raw)


def test_an_unknown_repetition_signal_is_refused_with_the_nearest_name() -> None:
    raw = content()
    raw["filter"][14]["limits"]["top_2_grams"] = 0.2
    with pytest.raises(RecipeError, match="unknown repetition signal 'top_2_grams'; did you mean 'top_2_gram'"):
        parse(raw)


def test_an_unknown_top_level_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="unknown field 'qualty'; did you mean 'quality'"):
        parse({**content(), "qualty": {}})


def test_a_value_out_of_bounds_is_refused_with_its_place() -> None:
    raw = content()
    raw["filter"][14]["limits"]["top_2_gram"] = 20
    with pytest.raises(RecipeError, match=r"top_2_gram is a fraction between 0 and 1, not 20"):
        parse(raw)


def test_a_missing_list_is_refused_with_its_path() -> None:
    raw = content()
    raw["filter"][0]["lists"] = ["nowhere.txt"]
    with pytest.raises(RecipeError, match=r"list 'nowhere\.txt' is not at .*nowhere\.txt"):
        parse(raw)


def test_two_steps_of_one_name_are_refused() -> None:
    raw = content()
    raw["filter"][3].pop("name")
    raw["filter"][2].pop("name")
    with pytest.raises(RecipeError, match="two steps are named 'url_words'"):
        parse(raw)


def test_a_rule_that_refers_to_no_step_is_refused() -> None:
    raw = content()
    raw["filter"][16]["since"] = "refinedweb_line"
    with pytest.raises(RecipeError, match="'refinedweb_line', which does not exist; did you mean 'refinedweb_lines'"):
        parse(raw)


def test_quality_needs_exactly_one_of_file_and_fit() -> None:
    raw = content()
    raw["quality"]["model"]["path"] = "model.bin"
    with pytest.raises(RecipeError, match="either `path`"):
        parse(raw)


def test_overrides_replace_values_by_path() -> None:
    recipe = model.shipped()["dclm_baseline"].override(
        {"word_count.min": 30, "repetition.limits.top_2_gram": 0.25, "quality.keep.score": 0.5}
    )
    limits = {check.reason: check.limit for check in recipe.program.checks}
    assert limits["word_count"] == "30 <= words <= 100000"
    assert limits["top_2_gram"] == "fraction <= 0.25"
    assert (recipe.quality.keep.score, recipe.quality.keep.share) == (0.5, None)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("word_cuont.min", "did you mean 'word_count'"),
        ("word_count.minn", "did you mean 'min'"),
        ("word_count", "names no step with values"),
        ("word_count.name", "says what the step is"),
        ("repetition.limit.top_2_gram", "did you mean 'limits'"),
    ],
)
def test_an_override_of_nothing_is_refused(path: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        model.shipped()["dclm_baseline"].override({path: 1})


def test_a_changed_threshold_changes_the_filter_configuration_only() -> None:
    recipe = model.shipped()["dclm_baseline"]
    stricter = recipe.override({"quality.keep.share": 0.05})
    assert stricter.filter_config() == recipe.filter_config()
    assert stricter.digest() != recipe.digest()
    assert recipe.override({"word_count.min": 51}).filter_config() != recipe.filter_config()


def test_the_order_of_limits_is_part_of_the_configuration() -> None:
    raw = content()
    limits = raw["filter"][14]["limits"]
    raw["filter"][14]["limits"] = dict(reversed(limits.items()))
    canonical = [json.dumps(parse(c).filter_config(), sort_keys=True) for c in (content(), raw)]
    assert canonical[0] != canonical[1]


def test_a_recipe_survives_pickling() -> None:
    recipe = model.shipped()["dclm_baseline"]
    recipe.program  # noqa: B018  its compiled form must not stand in the way
    copy = pickle.loads(pickle.dumps(recipe))
    assert copy == recipe
    assert [c.reason for c in copy.program.checks] == [c.reason for c in recipe.program.checks]


def test_a_team_extends_a_shipped_recipe(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(
        "name: ours\ntitle: Ours\nextends: dclm_baseline\nset: {word_count.min: 80, quality.keep.share: 0.3}\n"
    )
    recipes = model.available(tmp_path)
    assert set(recipes) == {"dclm_baseline", "ours"}
    assert recipes["ours"].quality.keep.share == 0.3
    assert recipes["ours"].override({"word_count.min": 50, "quality.keep.share": 0.1}).filter == (
        recipes["dclm_baseline"].filter
    )


def test_a_team_replaces_a_shipped_recipe_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("name: dclm_baseline\nextends: dclm_baseline\nset: {word_count.min: 80}\n")
    assert model.available(tmp_path)["dclm_baseline"] != model.shipped()["dclm_baseline"]


def test_an_extension_without_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("extends: dclm_baseline\n")
    with pytest.raises(RecipeError, match="needs a `name`"):
        model.available(tmp_path)


def test_lists_are_read_relative_to_the_recipe_and_plain_or_packed(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "domains").write_text("bad.test\n# a comment\n\nBAD.test\nworse.test # why\n")
    (tmp_path / "more.txt.gz").write_bytes(gzip.compress(b"worst.test\n"))
    raw = content()
    raw["filter"][0]["lists"] = ["adult", "more.txt.gz"]
    recipe = model.parse(raw, folder=tmp_path, where="test.yaml")
    (hosts, more) = recipe.filter[0].lists  # pyright: ignore[reportAttributeAccessIssue]
    assert hosts.entries() == ("bad.test", "worse.test")
    assert more.entries() == ("worst.test",)


def test_configuration_names_lists_by_digest_and_not_by_path() -> None:
    config = model.shipped()["dclm_baseline"].filter_config()
    assert set(config["lists"]) == {"builtin:hosts", "builtin:strict", "builtin:hard", "builtin:soft"}
    assert str(model.SHIPPED_FOLDER.parent) not in str(config)
