"""Datasets of a lake in a directory."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import lake_jobs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_jobs import CRAWL, LENGTHS, PAGES, TABLES

from corpus_dagster import lake as lake_module
from corpus_dagster import pool, schemas
from corpus_dagster.lake import Build, Dataset, Identity, Lake, LakeError
from corpus_dagster.objects import StorageError
from corpus_dagster.schemas import SchemaError, TableSchema


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(tmp_path / "lake")


def files(lake: Lake) -> list[str]:
    return sorted(lake.objects.sizes(""))


# Writing and reading


def test_a_dataset_gives_back_what_was_written(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake, shards=3)
    assert dataset.shards == [0, 1, 2]
    assert dataset.rows() == dataset.rows("lengths") == 60
    assert dataset.read(1).equals(PAGES.conform(lake_jobs.pages(1, 20)))
    assert dataset.read(2, columns=["text", "doc_id"]).column_names == ["text", "doc_id"]
    assert dataset.read(0, "lengths", ["length"]).column("length").to_pylist() == [
        len(text) for text in lake_jobs.pages(0, 20).column("text").to_pylist()
    ]
    assert dataset.totals["documents"] == 60
    assert dataset.bytes == sum(Path(dataset.part(s, t).uri).stat().st_size for s in range(3) for t in TABLES)
    assert lake.require("pages", CRAWL) == dataset


def test_the_layout_is_the_documented_one(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake, shards=1)
    top, below = f"pages/crawl={CRAWL}", f"pages/crawl={CRAWL}/{dataset.fingerprint}"
    assert files(lake) == [
        f"{below}/_manifest.json",
        f"{below}/_shards/00000.json",
        f"{below}/_timings/00000.json",
        f"{below}/lengths/part-00000.parquet",
        f"{below}/part-00000.parquet",
        f"{top}/CURRENT",
    ]
    assert Path(lake.uri, top, "CURRENT").read_text().strip() == dataset.fingerprint


def test_counters_are_summed_over_shards_and_samples_joined_in_their_order(lake: Lake) -> None:
    build = lake_jobs.begin(lake)
    for shard in (2, 0, 1):
        with build.shard(shard) as writer:
            writer.count("seen", np.int64(5))
            writer.count(("removed", "short"))
            writer.count(("removed", "short"), shard)
            writer.counters["removed"]["samples"] = [shard]
    assert build.commit([0, 1, 2]).totals == {"seen": 15, "removed": {"short": 6, "samples": [0, 1, 2]}}


def test_samples_are_capped(lake: Lake) -> None:
    build = lake_jobs.begin(lake)
    for shard in range(3):
        with build.shard(shard) as writer:
            writer.counters["samples"] = [f"{shard}/{n}" for n in range(15)]
    samples = build.commit(range(3)).totals["samples"]
    assert samples == [f"0/{n}" for n in range(15)] + [f"1/{n}" for n in range(5)]


@pytest.mark.parametrize("value", [1.5, "text", [1], None])
def test_a_counter_that_is_no_integer_is_refused_by_name(lake: Lake, value: object) -> None:
    with pytest.raises(LakeError, match="removed/short"), lake_jobs.begin(lake).shard(0) as writer:
        writer.counters["removed"] = {"short": value}
    assert files(lake) == []


def test_a_counter_that_is_a_number_in_one_shard_and_a_dictionary_in_another_is_refused(lake: Lake) -> None:
    build = lake_jobs.begin(lake)
    with build.shard(0) as writer:
        writer.count("removed")
    with build.shard(1) as writer:
        writer.count(("removed", "short"))
    with pytest.raises(LakeError, match=r"shard 1.*'removed'"):
        build.commit([0, 1])


def test_other_columns_than_the_schemas_are_refused_and_leave_nothing(lake: Lake) -> None:
    with pytest.raises(SchemaError, match="txt"), lake_jobs.begin(lake).shard(0) as writer:
        writer.write(pa.table({"doc_id": [1], "txt": ["a"]}))
    assert files(lake) == []


def test_an_unknown_table_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"'signals'.*data.*lengths"), lake_jobs.begin(lake).shard(0) as writer:
        writer.write(lake_jobs.pages(0, 1), table="signals")


def test_an_exception_leaves_neither_parts_nor_temporary_files(lake: Lake, tmp_path: Path) -> None:
    build = lake_jobs.begin(lake)
    with pytest.raises(ZeroDivisionError), build.shard(0) as writer:
        lake_jobs.fill_and_fail(writer)
    assert build.finished() == frozenset()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_shard_without_rows_has_empty_parts_for_every_table(lake: Lake) -> None:
    build = lake_jobs.begin(lake)
    with build.shard(0):
        pass
    dataset = build.commit([0])
    assert dataset.read(0).schema.names == PAGES.names
    assert (dataset.rows(), dataset.rows("lengths"), list(dataset.batches(0))) == (0, 0, [])
    assert dataset.scan().collect().shape == (0, 2)


def test_row_groups_end_at_their_size_and_are_streamed_one_by_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "ROW_GROUP_BYTES", 1000)
    build = lake_jobs.begin(lake)
    with build.shard(0) as writer:
        writer.write(pa.table({"doc_id": np.arange(100), "text": ["x" * 92] * 100}))
    dataset = build.commit([0])
    assert [batch.num_rows for batch in dataset.batches(0)] == [10] * 10
    assert [batch.num_rows for batch in dataset.batches(0, batch_rows=6)] == [6, 4] * 10
    assert [batch.schema.names for batch in dataset.batches(0, columns=["text"])] == [["text"]] * 10


texts = st.lists(st.text(max_size=40), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(rows=texts, cuts=st.lists(st.integers(0, 60), max_size=6), limit=st.integers(20, 400))
def test_the_bytes_of_a_part_do_not_depend_on_how_rows_were_batched(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], cuts: list[int], limit: int
) -> None:
    table = pa.table({"doc_id": np.arange(len(rows)), "text": rows})
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    hashes = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake_module, "ROW_GROUP_BYTES", limit)
        for ends in ([0, len(rows)], bounds):
            build = lake_jobs.begin(Lake.at(tmp_path_factory.mktemp("lake")))
            with build.shard(0) as writer:
                for start, stop in itertools.pairwise(ends):
                    writer.write(table.slice(start, stop - start))
            dataset = build.commit([0])
            assert dataset.read(0).column("text").to_pylist() == rows
            hashes.add(dataset.part(0).sha256)
    assert len(hashes) == 1


def test_the_size_of_rows_counts_text_and_fixed_widths() -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "text": pa.array(["", "äb", None], pa.string()),
            "hash": pa.array([b"0" * 16] * 3, pa.binary(16)),
            "flag": pa.array([True, False, None]),
            "list": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
        }
    )
    assert lake_module.row_bytes(table).tolist() == [8 + 0 + 16 + 1 + 8, 8 + 3 + 16 + 1, 8 + 16 + 1]


# Fingerprints and digests

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.text(), json_values, max_size=4)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(v) for v in value] if isinstance(value, list) else value


def fingerprint(config: dict[str, Any]) -> str:
    return Identity("1", config).fingerprint("pages", CRAWL, TABLES)


@given(configs)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(config: dict[str, Any]) -> None:
    assert fingerprint(config) == fingerprint(reversed_keys(config))


@given(configs, configs)
def test_configurations_that_differ_have_different_fingerprints(a: dict[str, Any], b: dict[str, Any]) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(a) == fingerprint(b)) == same


@given(configs, st.text(), json_values, json_values)
def test_any_changed_value_changes_the_fingerprint(config: dict[str, Any], key: str, a: Any, b: Any) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (fingerprint(config | {key: a}) == fingerprint(config | {key: b})) == same


def test_each_part_of_an_identity_changes_the_fingerprint() -> None:
    described = TableSchema("pages", "Other words.", PAGES.columns)
    variants = [
        Identity("1").fingerprint("pages", CRAWL, TABLES),
        Identity("2").fingerprint("pages", CRAWL, TABLES),
        Identity("1", {"a": 1}).fingerprint("pages", CRAWL, TABLES),
        Identity("1", inputs={"a": "1"}).fingerprint("pages", CRAWL, TABLES),
        Identity("1", models={"a": "1"}).fingerprint("pages", CRAWL, TABLES),
        Identity("1").fingerprint("other", CRAWL, TABLES),
        Identity("1").fingerprint("pages", "TEST-2024-02", TABLES),
        Identity("1").fingerprint("pages", None, TABLES),
        Identity("1").fingerprint("pages", CRAWL, {"data": PAGES}),
        Identity("1").fingerprint("pages", CRAWL, {"data": LENGTHS, "lengths": PAGES}),
    ]
    assert len(set(variants)) == len(variants)
    assert Identity("1").fingerprint("pages", CRAWL, TABLES | {"data": described}) == variants[0]


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"a": {1: "x"}}, r"config\.a.*1"),
        ({"a": [float("nan")]}, r"config\.a\[0\]"),
        ({"a": {"b": {1, 2}}}, r"config\.a\.b.*set"),
        ({"a": Path("x")}, r"config\.a.*Path"),
    ],
)
def test_a_configuration_that_is_no_json_is_refused_with_its_place(config: dict[str, Any], where: str) -> None:
    with pytest.raises(LakeError, match=where):
        fingerprint(config)


def test_configuration_that_changes_nothing_changes_the_fingerprint_but_not_the_digest(lake: Lake) -> None:
    one, two = lake_jobs.commit(lake, threshold=1), lake_jobs.commit(lake, threshold=2)
    assert one.fingerprint != two.fingerprint
    assert one.digest == two.digest


def test_content_changes_the_digest(lake: Lake) -> None:
    digests = {lake_jobs.commit(lake, shards=n, shards_=n).digest for n in (0, 1, 2)}
    assert len(digests) == 3


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(5)))
def test_a_commit_does_not_depend_on_the_order_in_which_shards_were_finished(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    snapshots = []
    for shards in (range(5), order):
        folder = tmp_path_factory.mktemp("lake")
        build = lake_jobs.begin(Lake.at(folder))
        for shard in shards:
            with build.shard(shard) as writer:
                lake_jobs.fill(writer, 10)
        build.commit(shards)
        snapshots.append(lake_jobs.snapshot(folder))
    assert snapshots[0] == snapshots[1]


# Versions: CURRENT, resuming, repair


def test_readers_keep_the_old_version_until_the_new_one_is_committed(lake: Lake) -> None:
    old = lake_jobs.commit(lake, threshold=1)
    build = lake_jobs.begin(lake, threshold=2)
    with build.shard(0) as writer:
        lake_jobs.fill(writer, 5)
    assert lake.current("pages", CRAWL) == old
    new = build.commit([0])
    assert lake.current("pages", CRAWL) == new
    assert old.read(0).num_rows == 20


def test_going_back_to_an_earlier_configuration_needs_no_work(lake: Lake) -> None:
    first = lake_jobs.commit(lake, threshold=1)
    lake_jobs.commit(lake, threshold=2)
    assert lake_jobs.begin(lake, threshold=1).committed() == first
    assert lake.current("pages", CRAWL) == first


def test_a_dataset_resolved_before_a_new_commit_stays_readable(lake: Lake) -> None:
    old = pickle.loads(pickle.dumps(lake_jobs.commit(lake, threshold=1)))
    lake_jobs.commit(lake, shards=1, threshold=2)
    assert old.shards == [0, 1, 2]


def test_committing_again_changes_nothing(lake: Lake, tmp_path: Path) -> None:
    lake_jobs.commit(lake)
    before = lake_jobs.snapshot(tmp_path)
    build = lake_jobs.begin(lake)
    assert build.commit([2, 1, 0]) == build.committed()
    assert lake_jobs.snapshot(tmp_path) == before


def test_unfinished_shards_cannot_be_committed_and_are_named(lake: Lake) -> None:
    build = lake_jobs.begin(lake)
    with build.shard(0) as writer:
        lake_jobs.fill(writer, 5)
    with pytest.raises(LakeError, match=r"shard 1: no sound receipt; shard 2"):
        build.commit([0, 1, 2])
    assert build.committed() is None
    assert lake.current("pages", CRAWL) is None


def damage(build: Build, kind: str) -> None:
    part = Path(build.uri, "part-00001.parquet")
    receipt = Path(build.uri, "_shards", "00001.json")
    if kind == "part cut short":
        part.write_bytes(part.read_bytes()[:-1])
    elif kind == "part missing":
        part.unlink()
    elif kind == "side table missing":
        Path(build.uri, "lengths", "part-00001.parquet").unlink()
    elif kind == "receipt cut short":
        receipt.write_bytes(receipt.read_bytes()[:40])
    elif kind == "receipt empty":
        receipt.write_bytes(b"")
    elif kind == "receipt of another shard":
        receipt.write_bytes(Path(build.uri, "_shards", "00000.json").read_bytes())
    elif kind == "receipt of another fingerprint":
        receipt.write_text(receipt.read_text().replace(build.fingerprint, "0" * 16))
    else:
        raise AssertionError(kind)


PARTS_DAMAGED = ["part cut short", "part missing", "side table missing"]
RECEIPTS_DAMAGED = [
    "receipt cut short",
    "receipt empty",
    "receipt of another shard",
    "receipt of another fingerprint",
]


@pytest.mark.parametrize("kind", PARTS_DAMAGED + RECEIPTS_DAMAGED)
def test_a_damaged_shard_is_done_again(lake: Lake, tmp_path: Path, kind: str) -> None:
    lake_jobs.run(lake, shards=3)
    sound = lake_jobs.snapshot(tmp_path)
    build = lake_jobs.begin(lake, rows=200)
    Path(build.uri, "_manifest.json").unlink()
    damage(build, kind)
    assert build.finished() == {0, 2}
    with pytest.raises(LakeError, match="shard 1"):
        build.commit([0, 1, 2])
    outcome = lake_jobs.run(lake, shards=3)
    assert (outcome.resumed_shards, outcome.done_shards) == (2, 1)
    assert lake_jobs.snapshot(tmp_path) == sound


@pytest.mark.parametrize("kind", PARTS_DAMAGED)
def test_a_committed_dataset_that_lost_a_part_is_repaired_to_the_same_bytes(
    lake: Lake, tmp_path: Path, kind: str
) -> None:
    lake_jobs.run(lake, shards=3)
    sound = lake_jobs.snapshot(tmp_path)
    damage(lake_jobs.begin(lake, rows=200), kind)
    outcome = lake_jobs.run(lake, shards=3)
    assert (outcome.reused, outcome.done_shards) == (False, 1)
    assert lake_jobs.snapshot(tmp_path) == sound


def test_reading_a_part_that_changed_after_its_commit_is_an_error(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake)
    pq.write_table(pa.table({"doc_id": [1], "text": ["a"]}), dataset.part(0).uri)
    with pytest.raises(LakeError, match=r"has 1 rows, its manifest says 20"):
        dataset.read(0)
    Path(dataset.part(1).uri).write_bytes(b"nonsense")
    with pytest.raises(LakeError, match=r"part-00001.*damaged"):
        next(dataset.batches(1))
    Path(dataset.part(2).uri).unlink()
    with pytest.raises(LakeError, match="part-00002"):
        dataset.read(2)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-3],
        lambda text: text.replace('"documents":60', '"documents":61'),
        lambda text: text.replace(CRAWL, "TEST-2024-02"),
        lambda text: text.replace('"digest"', '"dig"'),
        lambda text: "[]",
    ],
)
def test_a_damaged_manifest_is_an_error_that_names_it(lake: Lake, change: Any) -> None:
    dataset = lake_jobs.commit(lake)
    path = Path(dataset.uri, "_manifest.json")
    path.write_text(change(path.read_text()))
    for use in (lambda: lake.current("pages", CRAWL), lake_jobs.begin(lake).committed):
        with pytest.raises(LakeError, match=rf"{path} is damaged.*[Dd]elete"):
            use()


def test_a_pointer_that_is_no_fingerprint_is_an_error_that_names_it(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake)
    pointer = Path(dataset.uri).parent / "CURRENT"
    pointer.write_text("latest")
    with pytest.raises(LakeError, match=rf"{pointer} holds 'latest'"):
        lake.current("pages", CRAWL)
    pointer.write_text("0123456789abcdef\n")
    with pytest.raises(LakeError, match=r"0123456789abcdef, which has no _manifest\.json"):
        lake.current("pages", CRAWL)


# Several writers


def test_of_writers_with_other_content_the_first_commit_stands(lake: Lake) -> None:
    one, two = lake_jobs.begin(lake), lake_jobs.begin(lake)
    with one.shard(0) as writer:
        lake_jobs.fill(writer, 10)
    with two.shard(1) as writer:
        lake_jobs.fill(writer, 10)
    dataset = one.commit([0])
    with pytest.raises(LakeError, match=rf"{dataset.digest} over 1 shards.*2 shards"):
        two.commit([0, 1])
    assert lake.current("pages", CRAWL) == dataset


def test_a_committed_part_is_not_replaced_by_other_bytes(lake: Lake, tmp_path: Path) -> None:
    lake_jobs.commit(lake)
    before = lake_jobs.snapshot(tmp_path)
    with pytest.raises(LakeError, match="shard 0 is committed"), lake_jobs.begin(lake).shard(0) as writer:
        lake_jobs.fill(writer, 11)
    assert lake_jobs.snapshot(tmp_path) == before


@pytest.mark.parametrize("attempt", range(3))
def test_of_processes_that_commit_different_content_at_once_exactly_one_wins(tmp_path: Path, attempt: int) -> None:
    racers = [lake_jobs.Racer(str(tmp_path), rows, of=3) for rows in (5, 6, 7)]
    outcomes: list[str] = []
    pool.run(
        lake_jobs.race,
        racers,
        settings=pool.PoolSettings(workers=3),
        name=str,
        on_result=lambda outcome: outcomes.append(outcome.result),
        report=print,
    )
    assert outcomes.count("LakeError") == 2
    (winner,) = set(outcomes) - {"LakeError"}
    assert Lake.at(tmp_path).require("pages", CRAWL).digest == winner


def test_threads_that_commit_the_same_content_at_once_all_succeed(lake: Lake) -> None:
    build = lake_jobs.begin(lake)
    barrier = threading.Barrier(6)
    digests: list[str] = []

    def work() -> None:
        with lake_jobs.begin(lake).shard(0) as writer:
            lake_jobs.fill(writer, 10)
        barrier.wait(20)
        digests.append(build.commit([0]).digest)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 6
    assert len(set(digests)) == 1


def test_beginning_sweeps_what_killed_writers_left_but_not_what_living_ones_write(lake: Lake, tmp_path: Path) -> None:
    build = lake_jobs.begin(lake)
    with build.shard(0) as writer:
        lake_jobs.fill(writer, 10)
    abandoned = [
        Path(build.uri, ".part-00001.parquet.0a1b2c3d.tmp"),
        Path(build.uri, "_shards", ".00001.json.0a1b2c3d.tmp"),
        Path(build.uri).parent / ".CURRENT.0a1b2c3d.tmp",
    ]
    for path in abandoned:
        path.write_bytes(b"half")
    with build.shard(2) as writer:
        lake_jobs.fill(writer, 10)
        assert len(lake_jobs.leftovers(tmp_path)) == len(abandoned) + len(TABLES)
        lake_jobs.begin(lake)
        assert len(lake_jobs.leftovers(tmp_path)) == len(TABLES)
    assert build.finished() == {0, 2}
    assert lake_jobs.leftovers(tmp_path) == []


def test_a_writer_whose_file_is_swept_before_it_is_locked_takes_a_new_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def lock_late(file: Any, operation: int) -> None:
        if not taken:
            taken.append(file.name)
            os.unlink(file.name)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    lake.objects.write("a/b", b"content")
    assert taken
    assert lake.objects.read("a/b") == b"content"


# Reading through the manifest


def test_a_scan_reads_the_parts_of_the_manifest_and_no_others(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake, shards=2)
    pq.write_table(PAGES.conform(lake_jobs.pages(9, 5)), Path(dataset.uri, "part-00009.parquet"))
    frame = dataset.scan().collect()
    assert frame["doc_id"].to_list() == [s << 32 | r for s in (0, 1) for r in range(20)]
    assert dataset.scan("lengths").select("length").collect().height == 40


@pytest.mark.parametrize(
    "schema", [s for s in vars(schemas).values() if isinstance(s, TableSchema)], ids=lambda s: s.name
)
def test_a_dataset_without_shards_scans_with_the_types_of_its_schema(lake: Lake, schema: TableSchema) -> None:
    build = lake.begin("empty", None, identity=Identity("1"), tables={"data": schema})
    with build.shard(0):
        pass
    with_part = build.commit([0]).scan().collect_schema()
    empty = lake.begin("empty", None, identity=Identity("2"), tables={"data": schema}).commit([])
    assert empty.scan().collect_schema() == with_part


def test_unknown_shards_tables_and_columns_are_named(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake)
    with pytest.raises(LakeError, match="no shard 7"):
        dataset.part(7)
    with pytest.raises(LakeError, match="no table 'signals'"):
        dataset.scan("signals")
    with pytest.raises(LakeError, match=r"no columns \['url'\]"):
        dataset.read(0, columns=["url"])


def test_conforming_compares_names_types_and_nullability(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake, shards=1)
    assert dataset.conforms(PAGES)
    assert dataset.conforms(LENGTHS, "lengths")
    assert not dataset.conforms(LENGTHS)
    assert not dataset.conforms(PAGES.extended([schemas.URL]))


def test_datasets_and_builds_travel_to_other_processes(lake: Lake) -> None:
    dataset = lake_jobs.commit(lake)
    content = pickle.dumps(dataset)
    assert b"sha256" not in content, "a manifest of 90,000 shards must not travel with every task"
    assert pickle.loads(content).read(1).num_rows == 20
    build: Build = pickle.loads(pickle.dumps(lake_jobs.begin(lake)))
    assert build.committed() == dataset


def test_many_datasets_do_not_pile_up_in_memory(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake_module, "MANIFESTS_REMEMBERED", 3)
    datasets = [lake_jobs.commit(lake, shards=1, n=n) for n in range(5)]
    assert len(lake_module._MANIFESTS) <= 3
    assert [dataset.rows() for dataset in datasets] == [20] * 5


# Files, notes, durations


def test_files_are_kept_beside_tables_and_counted_in_the_digest(lake: Lake, tmp_path: Path) -> None:
    digests = set()
    for content in (b"model one", b"model two"):
        source = tmp_path / "trained"
        source.write_bytes(content)
        build = lake.begin("model", None, identity=Identity("1", {"content": content.hex()}), tables={})
        with build.shard(0) as writer:
            writer.put_file("model.bin", source)
        dataset = build.commit([0])
        assert dataset.files == ["model.bin"]
        assert dataset.file("model.bin").read_bytes() == content
        assert dataset.bytes == len(content)
        digests.add(dataset.digest)
    assert len(digests) == 2
    assert lake.require("model", None).path.startswith("model/")
    with pytest.raises(LakeError, match=r"'other.bin'.*model.bin"):
        dataset.file("other.bin")


def test_two_shards_cannot_put_the_same_file(lake: Lake, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x")
    build = lake.begin("model", None, identity=Identity("1"), tables={})
    for shard in (0, 1):
        with build.shard(shard) as writer:
            writer.put_file("model.bin", source)
    with pytest.raises(LakeError, match=r"shards 0 and 1 both wrote the file 'model.bin'"):
        build.commit([0, 1])


@pytest.mark.parametrize("name", ["../x", "a/b", "_manifest.json", "CURRENT", "part-00000.parquet", ""])
def test_a_file_cannot_take_the_name_of_something_else(lake: Lake, tmp_path: Path, name: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x")
    build = lake.begin("model", None, identity=Identity("1"), tables={})
    with pytest.raises(LakeError, match="no name for a file"), build.shard(0) as writer:
        writer.put_file(name, source)


def test_verdicts_outlive_fingerprints_and_the_first_reason_stands(lake: Lake) -> None:
    build = lake_jobs.begin(lake, threshold=1)
    assert build.verdicts("file 3") == {}
    build.record_verdict("file 3", "1234", "timeout")
    build.record_verdict("file 3", "urn:x", "memory")
    build.record_verdict("file 3", "1234", "other")
    assert lake_jobs.begin(lake, threshold=2).verdicts("file 3") == {"1234": "timeout", "urn:x": "memory"}
    assert build.verdicts("file 4") == {}


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"reasons": {"1": 2}}', b'{"reasons": ["timeout"]}'])
def test_damaged_verdicts_are_an_error_that_names_them(lake: Lake, content: bytes) -> None:
    build = lake_jobs.begin(lake)
    build.record_verdict("file 3", "1", "timeout")
    (path,) = Path(lake.uri, "pages", f"crawl={CRAWL}", "_verdicts").iterdir()
    assert json.loads(path.read_bytes())["about"] == "file 3"
    path.write_bytes(content)
    with pytest.raises(LakeError, match=str(path)):
        build.verdicts("file 3")


def test_durations_stand_beside_the_data_and_change_no_digest(lake: Lake) -> None:
    datasets: list[Dataset] = []
    for seconds in (1.5, 20.0):
        build = lake_jobs.begin(lake, seconds=seconds)
        with build.shard(0) as writer:
            lake_jobs.fill(writer, 10)
            writer.note_seconds(seconds)
        datasets.append(build.commit([0]))
    assert [dataset.seconds() for dataset in datasets] == [1.5, 20.0]
    assert datasets[0].digest == datasets[1].digest


# Lakes


def test_looking_into_a_lake_does_not_make_it(tmp_path: Path) -> None:
    lake = Lake.at(tmp_path / "typo")
    assert lake.current("pages", CRAWL) is None
    assert lake.crawls("pages") == []
    lake_jobs.begin(lake)
    with pytest.raises(LakeError, match=f"'pages' of crawl {CRAWL}.*dg launch --assets pages --partition {CRAWL}"):
        lake.require("pages", CRAWL)
    assert list(tmp_path.iterdir()) == []


def test_crawls_are_those_with_a_commit(lake: Lake) -> None:
    for crawl in ("B", "A"):
        lake.begin("empty", crawl, identity=Identity("1"), tables={"data": PAGES}).commit([])
    with lake.begin("empty", "C", identity=Identity("1"), tables={"data": PAGES}).shard(0):
        pass
    assert lake.crawls("empty") == ["A", "B"]


def test_pruning_names_and_then_deletes_what_is_superseded(lake: Lake) -> None:
    versions = [lake_jobs.commit(lake, shards=1, version=n) for n in range(3)]
    old = sorted(v.fingerprint for v in versions[:2])
    kept = versions[0].fingerprint
    assert lake.prune("pages", CRAWL) == old
    assert versions[1].read(0).num_rows == 20
    assert lake.prune("pages", CRAWL, keep=[kept], dry_run=False) == [f for f in old if f != kept]
    assert not Path(versions[1].uri).exists()
    assert versions[0].read(0).num_rows == 20
    assert lake.require("pages", CRAWL) == versions[2]
    with pytest.raises(LakeError, match="none is pruned"):
        lake.prune("other", CRAWL)


@pytest.mark.parametrize(
    ("name", "crawl"),
    [("", None), ("/a", None), ("a/", None), ("a//b", None), ("../a", None), ("_a", None), ("a", ""), ("a", "../b")],
)
def test_names_that_would_leave_their_place_are_refused(lake: Lake, name: str, crawl: str | None) -> None:
    with pytest.raises(LakeError, match="does not match"):
        lake.current(name, crawl)


@pytest.mark.parametrize("uri", ["gs://bucket/x", "s3://", "https://host/x"])
def test_addresses_that_are_neither_folders_nor_buckets_are_refused(uri: str) -> None:
    with pytest.raises(StorageError, match=uri):
        Lake.at(uri)


def test_options_for_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="region"):
        Lake.at(tmp_path, {"region": "x"})


def test_credentials_are_not_shown() -> None:
    lake = Lake.at("s3://bucket/x", {"secret_access_key": "hunter2"})
    assert "hunter2" not in f"{lake!r} {lake.objects!r} {Dataset(lake, 'a', None, '0' * 16)!r}"
    with pytest.raises(StorageError, match="secret_key") as caught:
        Lake.at("s3://bucket/x", {"secret_key": "hunter2"}).current("a", None)
    assert "hunter2" not in str(caught.value)


def test_a_folder_with_awkward_characters_is_a_lake(tmp_path: Path) -> None:
    lake = Lake.at(tmp_path / "läke with space #1 50% [x]*")
    dataset = lake_jobs.commit(lake, shards=1)
    assert dataset.read(0).num_rows == dataset.scan().collect().height == 20
    assert lake_jobs.begin(lake).committed() == dataset
