"""Checks of committed datasets: each must be able to fail."""

from __future__ import annotations

from pathlib import Path

import lake_jobs
import pyarrow as pa
import pytest
from curation import FIRST, Curation

from corpus_dagster import checks
from corpus_dagster.lake import Lake
from corpus_dagster.schemas import CURATED, FILTERED, Column, TableSchema
from corpus_dagster.stages import curated, filtered


def test_conservation_holds_when_the_parts_add_up() -> None:
    verdict = checks.conservation({"in": 10, "kept": 7, "removed": 3}, "in")
    assert verdict.passed
    assert verdict.facts == {"in": 10, "kept": 7, "removed": 3, "difference": 0}


@pytest.mark.parametrize(("kept", "difference"), [(6, 1), (9, -2)])
def test_conservation_fails_by_the_documents_that_are_lost_or_gained(kept: int, difference: int) -> None:
    verdict = checks.conservation({"in": 10, "kept": kept, "removed": 3}, "in")
    assert not verdict.passed
    assert verdict.facts["difference"] == difference


def test_stages_have_the_columns_they_promise(curated_sample: Curation) -> None:
    tables = filtered.tables(curated_sample.recipe)
    verdict = checks.schema(curated_sample.dataset("filtered", FIRST), tables)
    assert verdict.passed
    assert verdict.facts == {"tables": 3, "broken": "none"}
    assert checks.schema(curated_sample.dataset("curated", FIRST), curated.TABLES).passed


def test_a_schema_with_another_column_type_or_order_is_broken(curated_sample: Curation) -> None:
    dataset = curated_sample.dataset("curated", FIRST)
    for columns in (
        CURATED.columns[:-1],
        tuple(reversed(CURATED.columns)),
        (Column("doc_id", pa.int32(), "narrow"), *CURATED.columns[1:]),
        FILTERED.columns,
    ):
        verdict = checks.schema(dataset, {"data": TableSchema("curated", "", columns)})
        assert not verdict.passed
        assert verdict.facts["broken"] == "data"


def commit_ids(folder: Path, shards: list[list[int]]) -> checks.Verdict:
    build = lake_jobs.begin(Lake.at(folder), "ids")
    for number, ids in enumerate(shards):
        with build.shard(number) as writer:
            writer.write(pa.table({"doc_id": pa.array(ids, pa.int64()), "text": [""] * len(ids)}))
    return checks.unique_ids(build.commit(range(len(shards))))


def test_ids_that_rise_over_all_shards_are_unique(tmp_path: Path) -> None:
    verdict = commit_ids(tmp_path, [[0, 1, 5], [], [1 << 32, (1 << 32) + 1]])
    assert verdict.passed
    assert verdict.facts == {"rows": 5, "disordered": 0}


@pytest.mark.parametrize("shards", [[[0, 1, 1]], [[0, 2], [2, 3]], [[1 << 32], [0]]])
def test_ids_that_repeat_or_fall_are_found(tmp_path: Path, shards: list[list[int]]) -> None:
    verdict = commit_ids(tmp_path, shards)
    assert not verdict.passed
    assert verdict.facts["disordered"] == 1


def test_no_rows_have_unique_ids(tmp_path: Path) -> None:
    assert commit_ids(tmp_path, [[]]).passed


@pytest.mark.parametrize(
    ("rate", "others", "passed"),
    [
        (0.5, [], True),
        (0.05, [0.05, 0.9, 0.05], True),
        (0.05, [0.07], True),
        (0.05, [0.08], False),
        (0.08, [0.05], False),
        (0.0, [0.0], True),
        (0.0, [0.05], False),
        (0.05, [0.0], False),
    ],
)
def test_a_keep_rate_is_compared_with_the_median_of_other_crawls(
    rate: float, others: list[float], passed: bool
) -> None:
    verdict = checks.keep_rate_drift(rate, others)
    assert verdict.passed is passed
    assert verdict.facts["compared_crawls"] == len(others)
