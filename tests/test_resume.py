"""Runs that are killed anywhere and started again end with the same bytes as undisturbed ones."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lake_jobs
import pytest

from corpus_dagster import pool
from corpus_dagster.lake import Lake, LakeError
from corpus_dagster.pool import PoolSettings, ShardsFailed, TaskFailure
from corpus_dagster.stages.run import run_stage

TESTS = Path(__file__).parent

PAUSE = 0.12
"""Seconds a shard takes at least: so much of a run, not only its start, can be hit by a kill."""

SEED = 20240305
KILLS = 20


@contextlib.contextmanager
def program(folder: Path, workers: int) -> Iterator[subprocess.Popen[str]]:
    """The stage as a program of its own session; nothing of the session may outlive the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import lake_jobs; lake_jobs.main()", str(folder), str(workers), str(PAUSE)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def group_is_gone(group: int, seconds: float) -> bool:
    """Whether no process of a group is left, zombies of adopted children apart, within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        members = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, _, of_group, *_ = path.read_text().rpartition(")")[2].split()
                if int(of_group) == group and state not in "ZX":
                    members.append(path)
        if not members:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    lake_jobs.run(Lake.at(folder))
    return lake_jobs.snapshot(folder)


def kill_when(folder: Path, receipts: int, seconds: float, *, whole_group: bool) -> bool:
    """Start the stage and kill it that long after it has so many receipts; whether it was interrupted."""
    with program(folder, workers=2) as process:
        while len(list(folder.rglob("_shards/[0-9]*.json"))) < receipts and process.poll() is None:
            time.sleep(0.002)
        time.sleep(seconds)
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        process.wait()
        assert group_is_gone(process.pid, 5), "a worker outlived its program"
    return not any(line.startswith("committed") for line in lines)


def test_kill_nine_at_random_times_and_run_again_gives_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    draw = random.Random(SEED)
    interruptions, lakes = 0, 0
    states: set[int] = set()
    while interruptions < KILLS:
        lakes += 1
        folder = tmp_path / str(lakes)
        # Several kills per lake, so that restarts are killed as well as first runs.
        for receipts in sorted(draw.choices(range(7), k=4)):
            if not kill_when(folder, receipts, draw.uniform(0, PAUSE), whole_group=draw.random() < 0.5):
                break
            interruptions += 1
            states.add(len(lake_jobs.begin(Lake.at(folder), rows=200).finished()))
        lake_jobs.run(Lake.at(folder))
        assert lake_jobs.snapshot(folder) == undisturbed, f"lake {lakes}"
        assert lake_jobs.leftovers(folder) == [], f"lake {lakes}"
    assert len(states) >= 3, f"kills must hit runs at different stages, but found only {states} shards done"


def kill_at(folder: Path, event: int, shards: int = 2) -> bool:
    """Run the stage in a process that dies at its `event`-th use of a file; False when it ended before."""
    failed: tuple[TaskFailure, ...] = ()
    try:
        pool.run(
            lake_jobs.run_until,
            [lake_jobs.Fatal(str(folder), event, shards)],
            settings=PoolSettings(workers=1, isolated=True, retries=0),
            name=str,
            on_result=lambda outcome: None,
            report=lambda line: None,
        )
    except ShardsFailed as error:
        failed = error.failures
    assert all("SIGKILL" in failure.cause for failure in failed)
    return bool(failed)


def test_killed_before_any_use_of_a_file_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    lake_jobs.run(Lake.at(clean), shards=2, rows=20)
    expected = lake_jobs.snapshot(clean)
    event = 0
    for event in itertools.count(1):
        folder = tmp_path / str(event)
        if not kill_at(folder, event):
            break
        lake_jobs.run(Lake.at(folder), shards=2, rows=20)
        assert lake_jobs.snapshot(folder) == expected, f"killed at use {event}"
        assert lake_jobs.leftovers(folder) == [], f"killed at use {event}"
    assert event > 30, "the run must have used its files often enough to mean something"


def test_killed_again_at_every_restart_a_run_still_comes_to_its_end(tmp_path: Path) -> None:
    clean, folder = tmp_path / "clean", tmp_path / "again"
    lake_jobs.run(Lake.at(clean), shards=6, rows=20)
    starts = 0
    # Each start gets far enough to finish one shard, and is killed in the next.
    while kill_at(folder, 20, shards=6):
        starts += 1
        assert starts < 20
    assert starts >= 3
    assert lake_jobs.snapshot(folder) == lake_jobs.snapshot(clean)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_does_not_change_a_byte(
    tmp_path: Path, undisturbed: dict[str, bytes], workers: int
) -> None:
    lake_jobs.run(Lake.at(tmp_path), settings=PoolSettings(workers=workers, isolated=True))
    assert lake_jobs.snapshot(tmp_path) == undisturbed


def test_a_second_run_is_no_work(tmp_path: Path) -> None:
    first = lake_jobs.run(Lake.at(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = lake_jobs.run(Lake.at(tmp_path))
    assert (first.reused, first.resumed_shards, first.done_shards) == (False, 0, 6)
    assert (second.reused, second.resumed_shards, second.done_shards) == (True, 6, 0)
    assert second.dataset == first.dataset
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_finished_shards_survive_the_failure_of_another_and_are_not_done_again(tmp_path: Path) -> None:
    build = lake_jobs.begin(Lake.at(tmp_path), rows=200)
    tasks = [lake_jobs.ShardTask(build, shard) for shard in range(6)]

    def run(settings: PoolSettings, function: object) -> object:
        return run_stage(
            build,
            tasks,
            function,  # pyright: ignore[reportArgumentType]
            settings=settings,
            shards_of=lambda task: (task.shard,),
            report=lambda line: None,
        )

    with pytest.raises(ShardsFailed, match=f"pages {lake_jobs.CRAWL}, shard 4: ValueError: page 7 is odd"):
        run(PoolSettings(workers=2), lake_jobs.write_shard_but_four)
    assert build.finished() == {0, 1, 2, 3, 5}
    assert build.lake.current("pages", lake_jobs.CRAWL) is None
    outcome = lake_jobs.run(Lake.at(tmp_path))
    assert (outcome.resumed_shards, outcome.done_shards) == (5, 1)


def test_a_task_of_several_shards_is_done_whole(tmp_path: Path) -> None:
    build = lake_jobs.begin(Lake.at(tmp_path))
    with build.shard(1) as writer:
        lake_jobs.fill(writer, 10)
    written: list[tuple[int, ...]] = []

    def write(shards: tuple[int, ...]) -> None:
        written.append(shards)
        for shard in shards:
            with build.shard(shard) as writer:
                lake_jobs.fill(writer, 10)

    outcome = run_stage(
        build,
        [(0, 1), (2, 3)],
        write,
        settings=PoolSettings(workers=1),
        shards_of=lambda task: task,
        report=lambda line: None,
    )
    assert written == [(0, 1), (2, 3)]
    assert (outcome.resumed_shards, outcome.done_shards, outcome.dataset.shards) == (0, 4, [0, 1, 2, 3])


def test_other_shards_under_the_same_fingerprint_are_refused_before_any_work(tmp_path: Path) -> None:
    lake_jobs.run(Lake.at(tmp_path), shards=3)
    with pytest.raises(LakeError, match="committed over 3 shards, this run has 4"):
        lake_jobs.run(Lake.at(tmp_path), shards=4)
    assert lake_jobs.begin(Lake.at(tmp_path), rows=200).finished() == {0, 1, 2}


@pytest.mark.parametrize(("tasks", "message"), [([(0,), (0,)], "shard 0 is named by two"), ([()], "names no shard")])
def test_tasks_that_do_not_divide_the_shards_are_refused(
    tmp_path: Path, tasks: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_stage(
            lake_jobs.begin(Lake.at(tmp_path)),
            tasks,
            print,
            settings=PoolSettings(workers=1),
            shards_of=lambda task: task,
            report=print,
        )
