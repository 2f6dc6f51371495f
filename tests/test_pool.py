"""Tasks in worker processes and in this one: results, retries, failures, deaths, cancellation."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pool_workers as workers
import pytest
from pool_workers import Task

from corpus_dagster import pool
from corpus_dagster.pool import PoolSettings, Progress, ShardsFailed, TaskOutcome

TESTS = Path(__file__).parent

HERE = PoolSettings(workers=1, backoff_seconds=0.01)
TWO = PoolSettings(workers=2, backoff_seconds=0.01)
BOTH = pytest.mark.parametrize("settings", [HERE, TWO], ids=["here", "two workers"])


def run(
    function: Callable[[Task], Any], tasks: list[Task], settings: PoolSettings, lines: list[str] | None = None
) -> list[TaskOutcome[Task, Any]]:
    outcomes: list[TaskOutcome[Task, Any]] = []
    pool.run(
        function,
        tasks,
        settings=settings,
        name=lambda task: f"shard {task.number}",
        on_result=outcomes.append,
        report=(lines if lines is not None else []).append,
    )
    return outcomes


def alive(pid: int) -> bool:
    """Whether a process still runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def children() -> set[int]:
    """Workers of this process: what multiprocessing knows of."""
    import multiprocessing

    return {child.pid for child in multiprocessing.active_children() if child.pid}


# Results


@BOTH
def test_every_task_is_done_once(settings: PoolSettings) -> None:
    outcomes = run(workers.square, [Task(n) for n in range(50)], settings)
    assert sorted((o.task.number, o.result.number) for o in outcomes) == [(n, n * n) for n in range(50)]
    assert all(o.seconds >= 0 and o.peak_rss > 1 << 20 for o in outcomes)
    assert not children()


def test_one_worker_is_this_process_unless_isolated() -> None:
    assert run(workers.square, [Task(1)], HERE)[0].result.pid == os.getpid()
    assert run(workers.square, [Task(1)], PoolSettings(workers=1, isolated=True))[0].result.pid != os.getpid()


def test_several_workers_share_the_tasks() -> None:
    outcomes = run(workers.square, [Task(n) for n in range(200)], TWO)
    pids = {outcome.result.pid for outcome in outcomes}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_no_tasks_are_no_work() -> None:
    assert run(workers.square, [], TWO) == []


def test_peak_memory_is_that_of_the_task() -> None:
    settings = PoolSettings(workers=1, isolated=True)
    outcomes = run(workers.use_memory, [Task(0), Task(150), Task(0)], settings)
    before, during, after = (outcome.peak_rss for outcome in outcomes)
    assert during - before > 140 << 20
    assert during - after > 100 << 20


def test_workers_have_the_surroundings_of_this_moment_one_thread_and_no_main_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(workers.square, [Task(0)], PoolSettings(workers=1, isolated=True))  # starts the fork server, at the latest
    monkeypatch.setenv("CORPUS_TEST_VARIABLE", "now")
    monkeypatch.chdir(tmp_path)
    (outcome,) = run(workers.surroundings, [Task(0)], PoolSettings(workers=1, isolated=True))
    assert outcome.result == {
        "polars": "1",
        "omp": "1",
        "variable": "now",
        "folder": str(tmp_path),
        "interrupt": signal.SIG_IGN,
        "main": outcome.result["main"],
        "threads": 1,
    }
    assert outcome.result["main"] != sys.modules["__main__"].__file__


def test_the_environment_of_this_process_stays_as_it_was() -> None:
    before = dict(os.environ)
    run(workers.square, [Task(1)], TWO)
    assert dict(os.environ) == before


# Failures


@BOTH
def test_failing_tasks_are_named_after_all_others_have_ended(settings: PoolSettings) -> None:
    outcomes: list[TaskOutcome[Task, Any]] = []
    with pytest.raises(ShardsFailed) as caught:
        pool.run(
            workers.fail_odd_numbers,
            [Task(n) for n in range(7)],
            settings=settings,
            name=lambda task: f"shard {task.number}",
            on_result=outcomes.append,
            report=lambda line: None,
        )
    assert sorted(outcome.task.number for outcome in outcomes) == [0, 2, 4, 6]
    error = caught.value
    assert [(f.name, f.attempts, f.cause) for f in error.failures] == [
        (f"shard {n}", 1, f"ValueError: number {n} is odd") for n in (1, 3, 5)
    ]
    assert (error.done, error.not_started) == (4, 0)
    assert str(error).startswith("3 failed, 4 done. What is done is kept")
    assert re.search(r"shard 3: ValueError: number 3 is odd \(attempts: 1\)\n +Traceback", str(error))
    assert "in fail_odd_numbers" in str(error)


@BOTH
def test_lost_connections_are_retried(settings: PoolSettings, tmp_path: Path) -> None:
    lines: list[str] = []
    outcomes = run(workers.lose_connection_twice, [Task(n, str(tmp_path)) for n in range(3)], settings, lines)
    assert sorted(outcome.task.number for outcome in outcomes) == [0, 1, 2]
    assert "shard 1: ConnectionResetError: connection lost for 1; attempt 2 in 0.01 s" in lines
    assert "shard 1: ConnectionResetError: connection lost for 1; attempt 3 in 0.02 s" in lines


@BOTH
def test_only_what_trying_again_may_mend_is_tried_again(settings: PoolSettings, tmp_path: Path) -> None:
    with pytest.raises(ShardsFailed) as caught:
        run(workers.raise_by_number, [Task(n, str(tmp_path)) for n in range(5)], settings)
    assert [f.attempts for f in caught.value.failures] == [1, 1, 3, 3, 3]
    assert [(tmp_path / f"attempts-{n}").stat().st_size for n in range(5)] == [1, 1, 3, 3, 3]


@BOTH
def test_no_task_is_started_once_the_failure_budget_is_spent(settings: PoolSettings) -> None:
    budget = PoolSettings(workers=settings.workers, max_failures=2)
    with pytest.raises(ShardsFailed, match="not started because the failure budget is spent") as caught:
        run(workers.fail_odd_numbers, [Task(1)] * 40, budget)
    assert 2 <= len(caught.value.failures) <= 3  # the other worker's task was under way
    assert len(caught.value.failures) + caught.value.not_started == 40


def test_a_task_that_kills_its_worker_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    with pytest.raises(ShardsFailed) as caught:
        run(workers.die_on_three, [Task(n, str(tmp_path)) for n in range(8)], TWO)
    (failure,) = caught.value.failures
    assert (failure.name, failure.attempts) == ("shard 3", 3)
    assert failure.cause == "its worker was killed by signal 9 (SIGKILL), perhaps for want of memory"
    assert caught.value.done == 7
    assert [(tmp_path / f"attempts-{n}").stat().st_size for n in range(8)] == [1, 1, 1, 3, 1, 1, 1, 1]
    assert not children()


def test_a_task_whose_worker_dies_once_is_done_by_another(tmp_path: Path) -> None:
    lines: list[str] = []
    outcomes = run(workers.die_once_on_three, [Task(n, str(tmp_path)) for n in range(6)], TWO, lines)
    assert sorted(outcome.task.number for outcome in outcomes) == list(range(6))
    assert any("signal 11 (SIGSEGV); attempt 2" in line for line in lines)


def test_a_worker_that_exits_is_told_by_its_status() -> None:
    with pytest.raises(ShardsFailed, match="its worker exited with status 7"):
        run(workers.exit_with_seven, [Task(0)], PoolSettings(workers=2, retries=0))


def test_a_result_that_cannot_be_pickled_is_a_failure_that_says_so() -> None:
    with pytest.raises(ShardsFailed, match="TypeError: this cannot be pickled"):
        run(workers.answer_unpicklable, [Task(0)], TWO)


def test_a_function_that_workers_cannot_import_is_a_failure_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_here(task: Task) -> None: ...

    only_here.__qualname__ = only_here.__name__
    monkeypatch.setattr(workers, "only_here", only_here, raising=False)
    monkeypatch.setattr(only_here, "__module__", "pool_workers")
    with pytest.raises(ShardsFailed, match=r"AttributeError: .*only_here"):
        run(only_here, [Task(0)], TWO)


def test_an_error_of_the_receiver_ends_the_workers_at_once(tmp_path: Path) -> None:
    def refuse(outcome: TaskOutcome[Task, Any]) -> None:
        raise RuntimeError("disk full")

    started = time.monotonic()
    with pytest.raises(RuntimeError, match="disk full"):
        pool.run(workers.square, [Task(n) for n in range(20)], settings=TWO, name=str, on_result=refuse, report=print)
    assert not children()
    assert time.monotonic() - started < pool.STOP_SECONDS


@pytest.mark.parametrize(
    ("values", "message"),
    [({"kind": "spark"}, "'spark'"), ({"workers": -1}, "workers is -1"), ({"max_failures": 0}, "at least 1")],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoolSettings(**values)


# Cancellation


class Interruption(BaseException):
    """What an orchestrator raises in the main thread when a run is cancelled."""


@pytest.mark.parametrize("function", [workers.sleep_long, workers.block_in_c], ids=["sleeping", "in C"])
def test_an_interruption_ends_busy_workers_at_once(tmp_path: Path, function: Callable[[Task], Any]) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise Interruption

    def two_are_busy_then_alarm(line: str) -> None:
        if len(list(tmp_path.iterdir())) == 2:
            os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interruption):
            pool.run(
                function,
                [Task(n, str(tmp_path)) for n in range(6)],
                settings=PoolSettings(workers=2, report_seconds=0.05),
                name=str,
                on_result=print,
                report=two_are_busy_then_alarm,
            )
    finally:
        signal.signal(signal.SIGALRM, before)
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    assert not any(map(alive, pids))


def start_program(folder: Path, function: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import pool_workers; pool_workers.block_main()", str(folder), function],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def session_members(session: int) -> list[int]:
    """Processes of a session that still run: workers, fork server and all."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session, *_ = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of_session) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("function", ["sleep_long", "block_in_c"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_no_process_outlives_a_program_that_was_ended(tmp_path: Path, function: str, sent: signal.Signals) -> None:
    program = start_program(tmp_path, function)
    try:
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 30)
        assert len(session_members(program.pid)) >= 3
        program.send_signal(sent)
        program.wait(10)
        assert wait_until(lambda: not session_members(program.pid), 5)
    finally:
        for pid in session_members(program.pid):
            os.kill(pid, signal.SIGKILL)


# Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_told_by_time_and_not_by_shard() -> None:
    clock, lines = Clock(), list[str]()
    progress = Progress(lines.append, total=40, every=10, clock=clock)
    for second in range(25):
        clock.now = 100.0 + second
        progress.count(workers.Result(0, documents=1000, bytes=2_000_000, pid=0))
        progress.tick()
    assert lines == [
        "11 of 40 shards (28%), 1,100 documents/s, 2.2 MB/s, about 26 s left",
        "21 of 40 shards (52%), 1,050 documents/s, 2.1 MB/s, about 18 s left",
    ]


def test_progress_counts_shards_where_results_tell_no_more() -> None:
    clock, lines = Clock(), list[str]()
    progress = Progress(lines.append, total=2, every=10, clock=clock)
    for minutes in (10, 100):
        clock.now = 100.0 + 60 * minutes
        progress.count(None)
        progress.tick()
    assert lines == ["1 of 2 shards (50%), about 10 min left", "2 of 2 shards (100%), in 1.7 h"]


def test_a_pool_reports_while_its_tasks_run(tmp_path: Path) -> None:
    lines: list[str] = []
    run(workers.square, [Task(n) for n in range(4)], PoolSettings(workers=2, report_seconds=3600), lines)
    assert len(lines) == 1
    assert lines[0].startswith("4 of 4 shards (100%)")
