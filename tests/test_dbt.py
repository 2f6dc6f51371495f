"""The dbt project, built for real: every mart against figures computed another way, and its tests at work."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from reference.statistics import STEPS, Shape, documents, statistics

from corpus_dagster import warehouse
from corpus_dagster.mixtures import SCHEMES, mixture
from corpus_dagster.schemas import STATISTICS
from corpus_dagster.warehouse import NodeResult, Warehouse, WarehouseError

CRAWLS = ("SAMPLE-1", "SAMPLE-2")
# What marts meet: an ordinary crawl, one language nearly filling it, a corpus of nothing, a crawl of nothing.
SHAPES = {
    "ordinary": Shape(400),
    "lopsided": Shape(300, languages=(0.97, 0.01, 0.01, 0.01), keep=0.9),
    "nothing_kept": Shape(30, keep=0.0),
    "no_documents": Shape(0),
}
TOLERANCE = 1e-9

Tables = dict[str, pa.Table]


def made(recipe: str, crawl: str) -> pl.DataFrame:
    return documents(SHAPES[recipe], seed=sorted(SHAPES).index(recipe) * 10 + CRAWLS.index(crawl))


def export(store: Warehouse, parts: list[Tables]) -> None:
    """Write the tables as `warehouse.export` does, without a lake."""
    store.tables.mkdir(parents=True)
    for name, table in warehouse.TABLES.items():
        empty = STATISTICS[table].arrow.empty_table()
        pq.write_table(pa.concat_tables([empty, *(part[table] for part in parts)]), store.tables / f"{name}.parquet")


def all_parts() -> list[Tables]:
    return [statistics(recipe, crawl, made(recipe, crawl)) for recipe in sorted(SHAPES) for crawl in CRAWLS]


def mart(store: Warehouse, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(warehouse.read(store, name))
    assert isinstance(frame, pl.DataFrame)
    return frame


def total(frame: pl.DataFrame, column: str) -> float:
    return float(frame[column].sum())


def by_name(results: tuple[NodeResult, ...]) -> Mapping[str, NodeResult]:
    return {result.name: result for result in results}


@pytest.fixture(scope="module")
def everything() -> pl.DataFrame:
    """Every document of every recipe and crawl: what the marts are checked against."""
    return pl.concat(
        made(recipe, crawl).select(pl.lit(recipe).alias("recipe"), pl.lit(crawl).alias("crawl"), pl.all())
        for recipe in sorted(SHAPES)
        for crawl in CRAWLS
    ).with_columns(
        kept=pl.col("removed_by") == -1,
        words_kept=pl.col("words") - pl.col("cut"),
        bytes_kept=(pl.col("words") - pl.col("cut")) * 6,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    store = Warehouse(tmp_path_factory.mktemp("warehouse"))
    export(store, all_parts())
    results = warehouse.build(store)
    assert {result.name: result.message for result in results if result.status not in ("success", "pass")} == {}
    return store


def test_what_is_read_of_the_project_is_what_dbt_reads(built: Warehouse) -> None:
    nodes = json.loads((built.target / "manifest.json").read_text())["nodes"].values()
    described = {node["name"]: node for node in nodes if node["resource_type"] == "model"}
    tested = [node for node in nodes if node["resource_type"] == "test"]
    models = warehouse.models()
    assert {model.name for model in models} == set(described)
    for model in models:
        node = described[model.name]
        parents = [name.split(".") for name in node["depends_on"]["nodes"]]
        assert model.refs == tuple(sorted(p[-1] for p in parents if p[0] == "model"))
        assert model.sources == tuple(sorted(p[-1] for p in parents if p[0] == "source"))
        assert model.description == node["description"].strip()
        assert model.layer == node["path"].split("/")[0]
        assert [(c.name, c.type, c.description) for c in model.columns] == [
            (c["name"], c["data_type"], c["description"].strip()) for c in node["columns"].values()
        ]
        attached = {
            t["name"]: t["config"]["severity"].lower() for t in tested if t["attached_node"] == node["unique_id"]
        }
        assert {test.name: test.severity for test in model.tests} == attached
    assert len(tested) == sum(len(model.tests) for model in models)


def test_columns_that_may_not_be_null_are_not(built: Warehouse) -> None:
    for model in warehouse.models():
        nulls = mart(built, model.name).null_count().row(0, named=True)
        assert [c.name for c in model.columns if not c.nullable and nulls[c.name]] == []


def test_staging_is_what_was_exported(built: Warehouse) -> None:
    for name in warehouse.TABLES:
        exported = pl.read_parquet(built.tables / f"{name}.parquet")
        assert_frame_equal(mart(built, f"stg_{name}"), exported, check_row_order=False)


def test_the_funnel_counts_documents_and_their_shares(built: Warehouse, everything: pl.DataFrame) -> None:
    funnel = mart(built, "funnel")
    assert len(funnel) == len(SHAPES) * len(CRAWLS) * len(STEPS)
    for row in funnel.iter_rows(named=True):
        crawl = everything.filter(recipe=row["recipe"], crawl=row["crawl"])
        before = crawl.filter(pl.col("kept") | (pl.col("removed_by") >= row["step"]))
        after = crawl.filter(pl.col("kept") | (pl.col("removed_by") > row["step"]))
        edited = row["rule"] == "newlines"
        words_before = before["words" if row["step"] <= 2 else "words_kept"].sum()
        words_after = after["words" if row["step"] < 2 else "words_kept"].sum()
        assert (row["stage"], row["rule"]) == STEPS[row["step"]]
        assert (row["documents_in"], row["documents_out"]) == (len(before), len(after))
        assert row["documents_removed"] == len(before) - len(after)
        assert not edited or len(before) == len(after)
        expected = {
            "documents_share_of_previous": (len(after), len(before)),
            "documents_share_of_all": (len(after), len(crawl)),
            "words_share_of_previous": (words_after, words_before),
            "words_share_of_all": (words_after, total(crawl, "words")),
            "bytes_share_of_previous": (words_after * 6, words_before * 6),
            "bytes_share_of_all": (words_after * 6, total(crawl, "bytes")),
        }
        for name, (part, whole) in expected.items():
            assert row[name] == (pytest.approx(part / whole, rel=TOLERANCE) if whole else None), (name, row)


def test_reasons_of_removal_carry_their_weight(built: Warehouse, everything: pl.DataFrame) -> None:
    reasons = mart(built, "removal_reasons").filter(scope="document")
    gone = everything.filter(~pl.col("kept"))
    expected = (
        gone.group_by("recipe", "crawl", "removed_by")
        .len("items")
        .with_columns(
            stage=pl.col("removed_by").map_elements(lambda step: STEPS[step][0], pl.String),
            reason=pl.col("removed_by").map_elements(lambda step: STEPS[step][1], pl.String),
            share_of_removed=pl.col("items") / pl.col("items").sum().over("recipe", "crawl"),
        )
        .join(everything.group_by("recipe", "crawl").len("documents"), on=["recipe", "crawl"])
        .with_columns(share_of_documents=pl.col("items") / pl.col("documents"))
    )
    columns = ["recipe", "crawl", "stage", "reason", "items", "share_of_removed", "share_of_documents"]
    assert_frame_equal(
        reasons.select(columns),
        expected.select(columns),
        check_row_order=False,
        check_dtypes=False,
        rel_tol=TOLERANCE,
    )
    ranked = reasons.sort("recipe", "crawl", "rank")
    for _, group in ranked.group_by("recipe", "crawl", maintain_order=True):
        assert group["rank"].to_list() == list(range(1, len(group) + 1))
        assert group["items"].is_sorted(descending=True)


def test_spans_weigh_in_bytes_and_not_in_documents(built: Warehouse, everything: pl.DataFrame) -> None:
    spans = mart(built, "removal_reasons").filter(scope="span", recipe="ordinary", crawl="SAMPLE-1")
    crawl = everything.filter(recipe="ordinary", crawl="SAMPLE-1")
    (row,) = spans.to_dicts()
    assert (row["stage"], row["reason"], row["rank"]) == ("filtered", "newlines", 1)
    assert row["share_of_documents"] is None
    assert row["share_of_removed"] == 1.0
    assert row["share_of_bytes"] == pytest.approx(total(crawl, "cut") * 6 / total(crawl, "bytes"), rel=TOLERANCE)


def test_hosts_are_ranked_and_the_rest_is_not(built: Warehouse, everything: pl.DataFrame) -> None:
    domains = mart(built, "domains").filter(recipe="ordinary", crawl="SAMPLE-2")
    crawl = everything.filter(recipe="ordinary", crawl="SAMPLE-2")
    rest = domains.filter(host="*")
    assert rest["host_group"].to_list() == ["com", "org"]
    assert rest["rank"].to_list() == [None, None]
    named = domains.filter(pl.col("host") != "*")
    assert named["rank"].to_list() == [1, 2, 3, 4]
    assert named["documents_kept"].is_sorted(descending=True)
    assert total(domains, "documents_in") == len(crawl)
    assert total(domains, "share_of_kept") == pytest.approx(1.0, abs=TOLERANCE)
    for row in named.iter_rows(named=True):
        host = crawl.filter(host=row["host"])
        assert row["documents_in"] == len(host)
        assert row["keep_rate"] == pytest.approx(host["kept"].mean(), rel=TOLERANCE)


def test_languages_before_and_after(built: Warehouse, everything: pl.DataFrame) -> None:
    kept = pl.col("kept")
    totals = everything.group_by("recipe", "crawl").agg(
        pl.len().alias("all_in"),
        kept.sum().alias("all_kept"),
        pl.col("tokens").filter(kept).sum().alias("all_tokens"),
    )

    def share(part: str, whole: str) -> pl.Expr:
        return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole))

    expected = (
        everything.group_by("recipe", "crawl", "language")
        .agg(
            documents_in=pl.len(),
            words_in=pl.col("words").sum(),
            bytes_in=pl.col("bytes").sum(),
            documents_kept=kept.sum(),
            words_kept=pl.col("words_kept").filter(kept).sum(),
            tokens_kept=pl.col("tokens").filter(kept).sum(),
            bytes_kept=pl.col("bytes_kept").filter(kept).sum(),
        )
        .join(totals, on=["recipe", "crawl"])
        .with_columns(
            keep_rate=share("documents_kept", "documents_in"),
            share_of_documents_in=share("documents_in", "all_in"),
            share_of_documents_kept=share("documents_kept", "all_kept"),
            share_of_tokens_kept=share("tokens_kept", "all_tokens"),
        )
    )
    languages = mart(built, "languages")
    assert_frame_equal(
        languages,
        expected.select(languages.columns),
        check_row_order=False,
        check_dtypes=False,
        rel_tol=TOLERANCE,
    )


def test_token_yield_has_a_row_for_a_crawl_of_nothing(built: Warehouse, everything: pl.DataFrame) -> None:
    yields = mart(built, "token_yield")
    assert yields.select("recipe", "crawl").rows() == list(itertools.product(sorted(SHAPES), CRAWLS))
    nothing = yields.filter(recipe="no_documents").row(0, named=True)
    assert (nothing["documents_in"], nothing["bytes_kept"], nothing["documents_keep_rate"]) == (0, 0, None)
    assert nothing["records_skipped"] == 7
    row = yields.filter(recipe="ordinary", crawl="SAMPLE-1").row(0, named=True)
    crawl = everything.filter(recipe="ordinary", crawl="SAMPLE-1")
    kept = crawl.filter("kept")
    assert row["records_skipped"] == len(crawl) + 7
    assert row["tokens_kept"] == total(kept, "tokens")
    assert row["words_keep_rate"] == pytest.approx(total(kept, "words_kept") / total(crawl, "words"), rel=TOLERANCE)
    assert row["tokens_per_byte_in"] == pytest.approx(total(kept, "tokens") / total(crawl, "bytes"), rel=TOLERANCE)
    assert row["bytes_per_token"] == 4.2
    assert row["estimated_model_tokens"] == round(total(kept, "bytes_kept") / 4.2)


def assert_mixtures(
    ratios: pl.DataFrame, everything: pl.DataFrame, budget: float | None, temperature: float, epoch_cap: float
) -> None:
    """Every row equals what `mixtures` computes from the documents."""
    assert set(ratios["recipe"]) == {"ordinary", "lopsided"}
    for recipe, dimension, scheme in itertools.product(("ordinary", "lopsided"), ("language", "host_group"), SCHEMES):
        cells = (
            everything.filter(recipe=recipe)
            .group_by(dimension)
            .agg(
                bytes_in=pl.col("bytes").sum(),
                tokens=pl.col("tokens").filter("kept").sum(),
                documents=pl.sum("kept"),
            )
            .sort(dimension)
        )
        spent = budget or total(cells, "tokens")
        expected = mixture(
            scheme,
            cells["tokens"].to_numpy(),
            source_sizes=cells["bytes_in"].to_numpy(),
            budget=spent,
            temperature=temperature,
            epoch_cap=epoch_cap,
        )
        rows = ratios.filter(recipe=recipe, dimension=dimension, scheme=scheme).sort("cell")
        assert (
            rows.select("cell", "documents", "tokens").rows() == cells.select(dimension, "documents", "tokens").rows()
        )
        assert rows["ratio"].to_numpy() == pytest.approx(expected.ratios, abs=TOLERANCE)
        assert rows["sampled_tokens"].to_numpy() == pytest.approx(expected.sampled, rel=TOLERANCE)
        assert rows["epochs"].to_numpy() == pytest.approx(expected.epochs, rel=TOLERANCE, nan_ok=True)
        assert rows["token_budget"].unique().to_list() == [spent]
        assert rows["temperature"].unique().to_list() == [temperature if scheme == "temperature" else None]
        assert rows["epoch_cap"].unique().to_list() == [epoch_cap if scheme == "unimax" else None]


def test_mixture_ratios_follow_the_formulas(built: Warehouse, everything: pl.DataFrame) -> None:
    ratios = mart(built, "mixture_ratios")
    assert_mixtures(ratios, everything, budget=None, temperature=3.33, epoch_cap=4.0)
    # The data reach both branches of UniMax: cells at the cap, and cells at the common level.
    epochs = ratios.filter(scheme="unimax", recipe="lopsided", dimension="language")["epochs"].drop_nulls()
    assert (epochs == 4.0).any()
    assert (epochs < 4.0).any()


def test_parameters_reach_the_marts_and_only_what_is_chosen_is_built(
    built: Warehouse, everything: pl.DataFrame
) -> None:
    before = {model.name: warehouse.digest(warehouse.read(built, model.name)) for model in warehouse.models()}
    variables = {"token_budget": 150_000, "temperature": 1.7, "epoch_cap": 1}
    results = warehouse.build(built, select=["mixture_ratios", "mixture_ratios_sum_to_one"], variables=variables)
    assert [(result.kind, result.name, result.status) for result in results] == [
        ("model", "mixture_ratios", "success"),
        ("test", "mixture_ratios_sum_to_one", "pass"),
    ]
    assert_mixtures(mart(built, "mixture_ratios"), everything, budget=150_000, temperature=1.7, epoch_cap=1.0)
    after = {model.name: warehouse.digest(warehouse.read(built, model.name)) for model in warehouse.models()}
    assert {name for name in after if after[name] != before[name]} == {"mixture_ratios"}


def test_an_empty_lake_builds_and_nothing_is_written_into_the_project(tmp_path: Path) -> None:
    store = Warehouse(tmp_path / "work")
    export(store, [])
    project = warehouse.dbt_project_dir()
    files = sorted(project.rglob("*"))
    results = warehouse.build(store)
    assert {result.status for result in results} == {"success", "pass"}
    assert all(mart(store, model.name).is_empty() for model in warehouse.models())
    assert sorted(project.rglob("*")) == files
    assert "'send_anonymous_usage_stats': 'False'" in (store.target / "dbt.log").read_text()


def planted() -> list[Tables]:
    """Statistics with one error per kind of table."""
    tables = statistics("planted", "SAMPLE-1", documents(SHAPES["ordinary"], seed=5))

    def change(table: str, column: str, row: int, by: int) -> None:
        values = tables[table].column(column).to_pylist()
        values[row] += by
        position = tables[table].column_names.index(column)
        field = tables[table].schema.field(column)
        tables[table] = tables[table].set_column(position, field, pa.array(values, field.type))

    change("data", "documents_removed", 3, 1)
    change("data", "documents_in", 4, 1)
    change("data", "documents_removed", 4, 1)
    change("removal_reasons", "items", 0, -2)
    change("hosts", "documents_kept", 1, 1)
    tables["yields"] = pa.concat_tables([tables["yields"], tables["yields"].slice(0, 1)])
    tables["skipped_records"] = pa.concat_tables([tables["skipped_records"], tables["skipped_records"].slice(0, 1)])
    return [tables]


def test_statistics_that_do_not_add_up_fail_their_tests_and_stop_the_marts(tmp_path: Path) -> None:
    store = Warehouse(tmp_path)
    export(store, planted())
    results = by_name(warehouse.build(store))
    failed = {name for name, result in results.items() if result.status == "fail"}
    assert failed == {
        "stg_funnel_conserves_documents",
        "stg_funnel_steps_join",
        "stg_funnel_starts_with_the_crawl",
        "stg_funnel_ends_with_the_corpus",
        "stg_funnel_bytes_end_with_the_corpus",
        "stg_removal_reasons_add_up_to_the_funnel",
        "stg_hosts_documents_in_agree_with_yields",
        "stg_hosts_documents_kept_agree_with_yields",
        "stg_yields_one_row_per_cell",
        "stg_skipped_records_one_row_per_reason",
    }
    assert results["stg_funnel_conserves_documents"].failures == 1
    marts = [model.name for model in warehouse.models() if model.layer == "marts"]
    assert {results[name].status for name in marts} == {"skipped"}
    with pytest.raises(WarehouseError, match="table 'funnel' is not in"):
        warehouse.read(store, "funnel")


def test_a_wrong_parameter_is_said_before_anything_is_built(built: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="variable epoch_cap is 0; expected a number above 0"):
        warehouse.build(built, select=["mixture_ratios"], variables={"epoch_cap": 0})
