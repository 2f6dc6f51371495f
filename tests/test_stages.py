"""Stages over a lake: what is done again, what results may not depend on, and what a recipe can ask for."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import curation
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curation import CRAWL_STAGES, FIRST, SECOND, Curation

from corpus_dagster import classifier
from corpus_dagster.classifier import QualityClassifier
from corpus_dagster.lake import Lake, LakeError
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe, RecipeError
from corpus_dagster.sample import archive
from corpus_dagster.source import Source
from corpus_dagster.stages import documents, duplicates, filtered, quality_model, warc_files

TESTS = Path(__file__).parent
OWN = "own"

EXTENSION = """\
name: own
version: 1
title: The shipped rules with a classifier from a file.
extends: dclm_baseline
set:
  quality.model: {path: model.bin}
"""


@dataclass(frozen=True)
class Small:
    """Excerpts of both crawls, a recipe with a classifier from a file, and the lake they were curated into."""

    curation: Curation
    digests: dict[str, str]
    recipe_file: Path


@pytest.fixture(scope="module")
def small_root(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    curation.excerpt(sample_root, root, FIRST, files=4, every=8)
    curation.excerpt(sample_root, root, SECOND, files=2, every=12)
    return root


@pytest.fixture(scope="module")
def small(curated_sample: Curation, small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("recipe")
    shutil.copyfile(curated_sample.dataset("quality_model", None).file("model.bin"), folder / "model.bin")
    recipe_file = folder / "own.yaml"
    recipe_file.write_text(EXTENSION, "utf-8")
    recipe = model.load(recipe_file)
    lake = Lake.at(tmp_path_factory.mktemp("lake"))
    outcomes = curation.curate(lake, small_root, recipe, [FIRST, SECOND])
    return Small(Curation(lake, small_root, recipe, (FIRST, SECOND)), curation.digests(outcomes), recipe_file)


@pytest.fixture
def own_lake(small: Small, tmp_path: Path) -> Lake:
    """A copy of the curated lake that a test may change."""
    return Lake.at(shutil.copytree(small.curation.lake.uri, tmp_path / "lake"))


def files_of(lake: Lake, *folders: str) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file below folders of a lake."""
    found = [path for folder in folders for path in Path(lake.uri, folder).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_the_excerpt_gives_every_stage_something_to_do(small: Small) -> None:
    totals = {stage: small.curation.dataset(stage, FIRST).totals for stage in CRAWL_STAGES}
    assert sum(counts["documents"] > 0 for counts in totals["filtered"]["removed"].values()) > 10
    assert totals["duplicates"]["removed"]["duplicate_document"]["documents"] > 0
    assert totals["duplicates"]["edited_bytes"] > 0
    assert totals["curated"]["kept"]["documents"] > 5


def test_the_same_inputs_are_no_work_and_rewrite_nothing(small: Small, own_lake: Lake) -> None:
    before = files_of(own_lake, ".")
    outcomes = curation.curate(own_lake, small.curation.root, small.curation.recipe, [FIRST, SECOND])
    assert all(outcome.reused for outcome in outcomes.values())
    assert curation.digests(outcomes) == small.digests
    assert files_of(own_lake, ".") == before


def rerun(small: Small, lake: Lake, recipe: Recipe) -> dict[str, bool]:
    """Whether each stage of the first crawl was a no-op under another recipe."""
    outcomes = curation.curate(lake, small.curation.root, recipe, [FIRST])
    return {stage: outcome.reused for (stage, _), outcome in outcomes.items()}


def test_another_word_count_leaves_the_documents_alone(small: Small, own_lake: Lake) -> None:
    kept = files_of(own_lake, "documents", "warc_files", "own/filtered", "own/quality_model")
    reused = rerun(small, own_lake, small.curation.recipe.override({"word_count.min": 200}))
    assert [stage for stage, same in reused.items() if same] == ["warc_files", "documents", "quality_model"]
    after = files_of(own_lake, "documents", "warc_files", "own/filtered", "own/quality_model")
    changed = {path for path, state in kept.items() if after[path] != state}
    assert {Path(path).name for path in changed} == {"CURRENT"}
    assert 0 < own_lake.require("own/filtered", FIRST).rows() < small.curation.dataset("filtered", FIRST).rows()


def test_another_share_to_keep_only_decides_again(small: Small, own_lake: Lake) -> None:
    reused = rerun(small, own_lake, small.curation.recipe.override({"quality.keep.share": 0.5}))
    assert [stage for stage, same in reused.items() if not same] == ["curated", "removed", "statistics"]
    assert own_lake.require("own/curated", FIRST).rows() > 2 * small.curation.dataset("curated", FIRST).rows()


def test_other_deduplication_leaves_the_rules_alone(small: Small, own_lake: Lake) -> None:
    reused = rerun(small, own_lake, small.curation.recipe.override({"duplicates.threshold": 0.3}))
    assert [stage for stage, same in reused.items() if same] == ["warc_files", "documents", "filtered", "quality_model"]


def test_a_limit_that_decides_nothing_else_stops_the_rerun_there(small: Small, own_lake: Lake) -> None:
    reused = rerun(small, own_lake, small.curation.recipe.override({"word_count.max": 99_999}))
    assert [stage for stage, same in reused.items() if not same] == ["filtered"]
    assert own_lake.require("own/filtered", FIRST).digest == small.curation.dataset("filtered", FIRST).digest


def test_going_back_to_the_first_recipe_finds_its_datasets(small: Small, own_lake: Lake) -> None:
    rerun(small, own_lake, small.curation.recipe.override({"word_count.min": 120}))
    reused = rerun(small, own_lake, small.curation.recipe)
    assert all(reused.values())
    assert own_lake.require("own/curated", FIRST).digest == small.curation.dataset("curated", FIRST).digest


def test_results_do_not_depend_on_the_order_of_crawls(small: Small, tmp_path: Path) -> None:
    outcomes = curation.curate(Lake.at(tmp_path), small.curation.root, small.curation.recipe, [SECOND, FIRST])
    assert curation.digests(outcomes) == small.digests


@pytest.mark.parametrize(("workers", "seed"), [("1", "77"), ("2", "0")])
def test_results_do_not_depend_on_workers_or_the_hash_seed(
    small: Small, tmp_path: Path, workers: str, seed: str
) -> None:
    arguments = [str(tmp_path), str(small.curation.root), str(small.recipe_file), workers, FIRST]
    done = subprocess.run(
        [sys.executable, "-c", "import curation; curation.main()", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "PYTHONHASHSEED": seed},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines()[1:])
    assert found == {name: digest for name, digest in small.digests.items() if not name.endswith(SECOND)}


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 3), (0, 1, 2, 3)])
def test_groups_of_a_filter_are_resumed_whole_and_to_the_same_end(
    small: Small, own_lake: Lake, lost: tuple[int, ...]
) -> None:
    recipe = small.curation.recipe.override({"duplicates.shards_per_filter": 2})
    around = curation.context(own_lake)
    whole = duplicates.run(around, recipe, FIRST)
    assert duplicates.groups(whole.dataset.shards, 2) == [(0, 2), (1, 3)]
    folder = Path(whole.dataset.uri)
    before = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    (folder / "_manifest.json").unlink()
    for shard in lost:
        (folder / "_shards" / f"{shard:05d}.json").unlink()
    # Another process would not remember the manifest.
    lake = Lake.at(shutil.move(own_lake.uri, f"{own_lake.uri}-again"))
    again = duplicates.run(curation.context(lake), recipe, FIRST)
    touched = {shard % 2 for shard in lost}
    assert (again.resumed_shards, again.done_shards) == (4 - 2 * len(touched), 2 * len(touched))
    assert again.dataset.digest == whole.dataset.digest
    assert {path.name: path.read_bytes() for path in Path(again.dataset.uri).glob("*.parquet")} == before


def test_a_filter_per_group_finds_no_copies_from_other_groups(small: Small, own_lake: Lake) -> None:
    alone = duplicates.run(
        curation.context(own_lake), small.curation.recipe.override({"duplicates.shards_per_filter": 1}), FIRST
    )
    assert alone.dataset.totals["filters"] == 4
    together = small.curation.dataset("duplicates", FIRST).totals
    assert together["filters"] == 1
    removed = [totals["removed"]["duplicate_document"]["documents"] for totals in (alone.dataset.totals, together)]
    assert removed[0] < removed[1]


def test_a_choice_of_files_gives_the_same_documents_under_the_same_ids(small: Small, tmp_path: Path) -> None:
    recipe = small.curation.recipe
    outcomes = curation.curate(Lake.at(tmp_path), small.curation.root, recipe, [FIRST], share=0.5)
    some, all_files = outcomes["documents", FIRST].dataset, small.curation.dataset("documents", FIRST)
    assert len(some.shards) == 2
    assert {shard: some.part(shard).sha256 for shard in some.shards} == {
        shard: all_files.part(shard).sha256 for shard in some.shards
    }
    assert outcomes["curated", FIRST].dataset.shards == some.shards
    listed = outcomes["warc_files", FIRST].dataset
    assert listed.totals == {"listed": 4, "chosen": 2}
    fewer = warc_files.run(
        curation.context(Lake.at(tmp_path)), Source.at(str(small.curation.root)), FIRST, share=0.5, max_files=1
    )
    assert set(fewer.dataset.read(0)["shard"].to_pylist()) < set(some.shards)


def test_an_empty_crawl_passes_through_every_stage(small: Small, tmp_path: Path) -> None:
    crawl, path = "SAMPLE-2025-31", "crawl-data/SAMPLE-2025-31/segments/1/warc/empty.warc.gz"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(archive.warcinfo(crawl, "empty.warc.gz", "2025-07-28T00:00:00Z").member())
    (tmp_path / "crawl-data" / crawl / "warc.paths.gz").write_bytes(gzip.compress(f"{path}\n".encode()))
    outcomes = curation.curate(Lake.at(tmp_path / "lake"), tmp_path, small.curation.recipe, [crawl])
    for stage in CRAWL_STAGES[:-1]:
        assert outcomes[stage, crawl].dataset.rows() == 0, stage
    totals = outcomes["documents", crawl].dataset.totals
    assert (totals["records"], totals["skipped"]) == (1, {"record_type:warcinfo": 1})
    funnel = outcomes["statistics", crawl].dataset.read(0).to_pylist()
    full = small.curation.frame("statistics", FIRST).to_dicts()
    assert [(step["stage"], step["rule"]) for step in funnel] == [(step["stage"], step["rule"]) for step in full]
    assert {step[name] for step in funnel for name in step if name.startswith(("documents_", "words_", "bytes_"))} == {
        0
    }


def test_a_score_to_keep_is_the_threshold(small: Small, own_lake: Lake) -> None:
    scores = small.curation.frame("quality", FIRST)
    limit = round(float(scores.select(pl.col("score").median()).item()), 7)
    curation.curate(
        own_lake, small.curation.root, small.curation.recipe.override({"quality.keep.score": limit}), [FIRST]
    )
    corpus = own_lake.require("own/curated", FIRST)
    assert float(corpus.manifest["identity"]["config"]["threshold"]) == limit
    best = scores.filter(pl.col("score").cast(pl.Float64) >= limit)
    assert corpus.scan().collect()["doc_id"].to_list() == best["doc_id"].to_list()
    assert 0 < corpus.rows() < scores["score"].drop_nulls().len()


def test_a_share_to_keep_is_the_best_of_each_crawl(small: Small) -> None:
    for crawl in (FIRST, SECOND):
        scores = small.curation.frame("quality", crawl).drop_nulls()
        corpus = small.curation.frame("curated", crawl)
        wanted = -(-scores.height // 10)
        best = scores.sort("score", descending=True).head(wanted)
        assert set(best["doc_id"]) <= set(corpus["doc_id"])
        assert corpus["quality_score"].min() == best["score"].min()
        assert set(scores.filter(pl.col("score") >= best["score"].min())["doc_id"]) == set(corpus["doc_id"])


def test_scores_are_those_of_the_model_file_on_deduplicated_text(small: Small) -> None:
    scorer = QualityClassifier(small.recipe_file.parent / "model.bin")
    corpus = small.curation.frame("curated", FIRST)
    assert corpus["quality_score"].to_list() == scorer.score(corpus["text"].to_list()).tolist()
    marks, scores = (small.curation.frame(stage, FIRST) for stage in ("duplicates", "quality"))
    assert (scores["score"].is_null() == marks["duplicate"]).all()
    assert scores["score"].drop_nulls().is_between(0, 1).all()


def test_another_model_file_scores_again(small: Small, own_lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "own.yaml").write_text(EXTENSION.replace("model.bin", "other.bin"), "utf-8")
    texts = small.curation.frame("curated", FIRST)["text"].to_list()
    settings = classifier.TrainSettings(epochs=1, least_examples=1, min_count=1, dimensions=2, buckets=10)
    classifier.train(texts[: len(texts) // 2], texts[len(texts) // 2 :], settings, folder / "other.bin")
    reused = rerun(small, own_lake, model.load(folder / "own.yaml"))
    assert [stage for stage, same in reused.items() if not same] == [
        "quality_model",
        "quality",
        "curated",
        "removed",
        "statistics",
    ]


def fitted(small: Small, folder: Path, positives: str, crawls: str = FIRST) -> Recipe:
    """The recipe with a classifier trained on positives from a file in the folder."""
    text = EXTENSION.replace(
        "{path: model.bin}", f"{{fit: {{crawls: [{crawls}], positives: ['{positives}'], documents: 60}}}}"
    )
    (folder / "own.yaml").write_text(text, "utf-8")
    return model.load(folder / "own.yaml")


def test_positives_are_read_from_lines_packed_lines_and_tables_alike(
    small: Small, own_lake: Lake, tmp_path: Path
) -> None:
    texts = [
        f"{text[:400]}\nLast line, with ümlauts: 日本."
        for text in small.curation.frame("documents", SECOND)["text"].head(50)
    ]
    lines = "".join(json.dumps({"text": text, "source": "own"}) + "\n\n" for text in texts).encode()
    (tmp_path / "p.jsonl").write_bytes(lines)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(lines))
    with pa.output_stream(tmp_path / "p.jsonl.zst", compression="zstd") as stream:
        stream.write(lines)
    pq.write_table(pa.table({"n": range(51), "text": [*texts, None]}), tmp_path / "p.parquet")
    trained = {
        name: quality_model.run(curation.context(own_lake), fitted(small, tmp_path, name)).dataset
        for name in ("p.jsonl", "p.jsonl.gz", "p.jsonl.zst", "p.parquet")
    }
    assert len({dataset.fingerprint for dataset in trained.values()}) == 4
    assert len({dataset.digest for dataset in trained.values()}) == 1
    facts = dict(trained["p.jsonl"].scan().collect().iter_rows())
    assert facts["positives"] + facts["held_out_positives"] == 50
    assert facts["negatives"] + facts["held_out_negatives"] == 60


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", b'{"text": "good"}\n{"text": \n', r"p\.jsonl, line 2: expected .*object with a `text`"),
        (
            "p.jsonl",
            b'{"text": "good"}\n\n["good"]\n',
            r"p\.jsonl, line 3: expected .*object with a `text`",
        ),
        ("p.jsonl", b'{"text": null}\n', r"p\.jsonl, line 1: expected .*object with a `text`"),
        ("p.jsonl.gz", b'{"text": "good"}\n', r"p\.jsonl\.gz: cannot be read as positives"),
        ("p.parquet", b"PAR1", r"p\.parquet: cannot be read as positives"),
        ("p.csv", None, r"no file at .*p\.csv; paths are relative to the recipe's file"),
    ],
)
def test_positives_that_cannot_be_read_are_named_with_their_line(
    small: Small, own_lake: Lake, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        quality_model.run(curation.context(own_lake), fitted(small, tmp_path, name))


def test_a_table_of_positives_needs_a_column_of_text(small: Small, own_lake: Lake, tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["good"]}), tmp_path / "p.parquet")
    with pytest.raises(RecipeError, match=r"p\.parquet: expected a column `text` of strings, found \['content'\]"):
        quality_model.run(curation.context(own_lake), fitted(small, tmp_path, "p.parquet"))


def test_a_fit_on_a_crawl_that_is_not_there_says_what_to_make(small: Small, own_lake: Lake, tmp_path: Path) -> None:
    around = curation.context(own_lake)
    with pytest.raises(RecipeError, match="fits its classifier on SAMPLE-2030-01, which is not in the lake"):
        quality_model.run(around, fitted(small, tmp_path, "sample:high_quality", "SAMPLE-2030-01"))
    with pytest.raises(LakeError, match=r"'own/filtered' of crawl CC-MAIN-2024-10 is not in the lake .* `dg launch"):
        quality_model.run(around, fitted(small, tmp_path, "sample:high_quality", "CC-MAIN-2024-10"))


def test_a_fitted_classifier_stays_until_a_refit_is_asked_for(small: Small, own_lake: Lake, tmp_path: Path) -> None:
    around, recipe = curation.context(own_lake), fitted(small, tmp_path, "sample:high_quality")
    first = quality_model.run(around, recipe)
    for stage in (filtered, duplicates):
        stage.run(around, recipe.override({"word_count.min": 200}), FIRST)
    kept = quality_model.run(around, recipe)
    assert (first.reused, kept.reused, kept.dataset) == (False, True, first.dataset)
    again = quality_model.run(around, recipe, refit=True)
    assert not again.reused
    assert again.dataset.digest != first.dataset.digest
    assert own_lake.require("own/quality_model", None) == again.dataset


def test_reference_texts_of_the_sample_cannot_teach_a_real_crawl(small: Small, own_lake: Lake, tmp_path: Path) -> None:
    recipe = fitted(small, tmp_path, "sample:high_quality", "CC-MAIN-2024-10")
    real = "CC-MAIN-2024-10"
    around, source = curation.context(own_lake), tmp_path / "source"
    shutil.copytree(small.curation.root / "crawl-data" / SECOND, source / "crawl-data" / real)
    listing = source / "crawl-data" / real / "warc.paths.gz"
    listing.write_bytes(gzip.compress(gzip.decompress(listing.read_bytes()).replace(SECOND.encode(), real.encode())))
    warc_files.run(around, Source.at(str(source)), real, share=1, max_files=1)
    documents.run(around, Source.at(str(source)), real)
    for stage in (filtered, duplicates):
        stage.run(around, recipe, real)
    with pytest.raises(RecipeError, match=f"cannot teach what is good in {real}; name your own files"):
        quality_model.run(around, recipe)


def test_a_stage_without_its_input_names_what_to_make(small: Small, tmp_path: Path) -> None:
    with pytest.raises(
        LakeError, match=r"dataset 'documents' of crawl SAMPLE-2025-05 is not in the lake .* --partition SAMPLE-2025-05"
    ):
        filtered.run(curation.context(Lake.at(tmp_path)), small.curation.recipe, FIRST)
