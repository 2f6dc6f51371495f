"""The pool's promises, kept on a real Ray cluster of this machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lake_jobs
import pool_workers as workers
import pytest
from pool_workers import Task

from corpus_dagster import pool
from corpus_dagster.lake import Lake
from corpus_dagster.pool import PoolSettings, ShardsFailed, TaskOutcome

TESTS = Path(__file__).parent

RAY = PoolSettings(kind="ray", backoff_seconds=0.01, report_seconds=0.2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        # Ray starts its workers with the driver's environment, not with its sys.path.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def run(
    function: Callable[[Task], Any], tasks: list[Task], settings: PoolSettings = RAY
) -> list[TaskOutcome[Task, Any]]:
    outcomes: list[TaskOutcome[Task, Any]] = []
    pool.run(
        function,
        tasks,
        settings=settings,
        name=lambda task: f"shard {task.number}",
        on_result=outcomes.append,
        report=lambda line: None,
    )
    return outcomes


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
class TestCluster:
    def test_every_task_is_done_once_in_workers_of_one_thread(self) -> None:
        outcomes = run(workers.square, [Task(n) for n in range(20)])
        assert sorted((o.task.number, o.result.number) for o in outcomes) == [(n, n * n) for n in range(20)]
        assert os.getpid() not in {outcome.result.pid for outcome in outcomes}
        (outcome,) = run(workers.surroundings, [Task(0)])
        assert (outcome.result["polars"], outcome.result["omp"]) == ("1", "1")

    def test_the_lake_is_that_of_local_processes(self, tmp_path: Path) -> None:
        lake_jobs.run(Lake.at(tmp_path / "ray"), settings=RAY)
        lake_jobs.run(Lake.at(tmp_path / "here"))
        assert lake_jobs.snapshot(tmp_path / "ray") == lake_jobs.snapshot(tmp_path / "here")

    def test_failures_are_retried_and_named_as_by_local_processes(self, tmp_path: Path) -> None:
        with pytest.raises(ShardsFailed) as caught:
            run(workers.raise_by_number, [Task(n, str(tmp_path)) for n in range(5)])
        assert [(f.name, f.attempts) for f in caught.value.failures] == [
            (f"shard {n}", attempts) for n, attempts in enumerate([1, 1, 3, 3, 3])
        ]
        assert "ValueError: deterministic" in str(caught.value)
        assert "in raise_by_number" in str(caught.value)

    def test_a_task_that_kills_its_worker_is_named_and_the_others_are_done(self, tmp_path: Path) -> None:
        settings = PoolSettings(kind="ray", backoff_seconds=0.01, retries=1)
        with pytest.raises(ShardsFailed) as caught:
            run(workers.die_on_three, [Task(n, str(tmp_path)) for n in range(5)], settings)
        (failure,) = caught.value.failures
        assert (failure.name, failure.attempts, caught.value.done) == ("shard 3", 2, 4)
        assert (tmp_path / "attempts-3").stat().st_size == 2

    def test_an_interruption_cancels_what_is_under_way(self, tmp_path: Path) -> None:
        class Interruption(BaseException):
            pass

        def interrupt_when_two_are_busy(line: str) -> None:
            if len(list(tmp_path.iterdir())) == 2:
                raise Interruption

        with pytest.raises(Interruption):
            pool.run(
                workers.sleep_long,
                [Task(n, str(tmp_path)) for n in range(6)],
                settings=RAY,
                name=str,
                on_result=print,
                report=interrupt_when_two_are_busy,
            )
        pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.iterdir()]
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"corpus-dagster\[ray\]"):
        run(workers.square, [Task(0)])
