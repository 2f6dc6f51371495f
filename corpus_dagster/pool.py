"""Run a function over tasks in worker processes: retries, failure budget, progress, and no process left
behind.

Knows nothing of shards, lakes or text. A task that kills its worker is found out and named, which is why this
is not `concurrent.futures`: that gives up the whole pool and cannot say which task did it. Ray is
`corpus_dagster.pool_ray`.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import multiprocessing as mp
import os
import pickle
import resource
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from corpus_dagster.objects import TRANSIENT_ERRORS

T = TypeVar("T")
R = TypeVar("R")

THREAD_LIMITS = {
    "POLARS_MAX_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""One thread per worker, as other workers have the other cores. Libraries read these when imported."""

PRELOADED = [
    "numpy",
    "pyarrow.parquet",
    "pyarrow.compute",
    "numba",
    "obstore",
    "hashlib",
    "corpus_dagster.lake",
    "corpus_dagster.stages.documents",
]
"""Imported once by the fork server, not by each worker. Polars is not: its threads do not survive a fork."""

STOP_SECONDS = 5.0
"""How long an idle worker may take to end by itself before it is killed."""

TRACEBACK_LINES = 25
"""Last lines of a worker's traceback that an error repeats: the frames of the failing function."""


class PermanentError(Exception):
    """Trying again cannot help, even where the cause looks like input or output. Never retried."""

    retryable = False


class ShardsFailed(Exception):  # noqa: N818 - it says what happened
    """Tasks that failed for good, all named, each with its attempts, its cause and the worker's traceback."""

    def __init__(self, failures: Sequence[TaskFailure], done: int, not_started: int) -> None:
        self.failures = tuple(failures)
        self.done = done
        self.not_started = not_started
        lines = [f"{len(failures)} failed, {done} done"]
        if not_started:
            lines[0] += f", {not_started} not started because the failure budget is spent"
        lines[0] += ". What is done is kept; mend the cause and run again."
        for failure in self.failures:
            lines.append(f"{failure.name}: {failure.cause} (attempts: {failure.attempts})")
            lines.extend(f"    {line}" for line in failure.traceback.splitlines()[-TRACEBACK_LINES:])
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class TaskFailure:
    """A task that failed for good."""

    name: str
    attempts: int
    cause: str
    traceback: str


@dataclass(frozen=True)
class TaskOutcome(Generic[T, R]):
    """A task that succeeded: its result, the seconds its last attempt took, its worker's peak memory in bytes.

    The peak is that of the attempt where the kernel lets it be reset (Linux), otherwise of the worker's life
    so far; in this process it is always the latter.
    """

    task: T
    result: R
    seconds: float
    peak_rss: int


@dataclass(frozen=True)
class PoolSettings:
    """How tasks are run.

    Attributes:
        kind: processes of this machine, or tasks of a Ray cluster.
        workers: processes; 0 is one per usable core. One worker means this very process, unless `isolated`.
        isolated: a single worker is a process of its own, whose death this one survives.
        retries: further attempts of a task whose worker died, or which failed for want of input or output:
            `OSError`, a storage error, or an exception with a true attribute `retryable`. Anything else is
            deterministic, as all stages are, and fails at its first attempt.
        backoff_seconds: pause before the second attempt; doubled before each further one.
        max_failures: tasks that may fail before no further ones are started.
        report_seconds: time between lines of progress.
        memory_bytes: memory a task claims of a Ray cluster, 0 for no claim; local workers are not limited.
    """

    kind: Literal["local", "ray"] = "local"
    workers: int = 0
    isolated: bool = False
    retries: int = 2
    backoff_seconds: float = 1.0
    max_failures: int = 10
    report_seconds: float = 15.0
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("local", "ray"):
            raise ValueError(f"pool kind {self.kind!r} is unknown; expected 'local' or 'ray'")
        for name, least in (("workers", 0), ("retries", 0), ("max_failures", 1), ("memory_bytes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"pool setting {name} is {getattr(self, name)}, expected at least {least}")

    @property
    def processes(self) -> int:
        """Number of workers, with 0 resolved."""
        return self.workers or usable_cores()


class Counted(Protocol):
    """Results that progress can count: documents, and bytes of input."""

    @property
    def documents(self) -> int:
        """Documents the task handled."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes the task read."""
        ...


@dataclass(frozen=True)
class Success:
    """What one attempt brought."""

    result: Any
    seconds: float
    peak_rss: int


@dataclass(frozen=True)
class Trouble:
    """Why one attempt failed."""

    cause: str
    traceback: str
    retryable: bool


class Backend(Protocol):
    """Where attempts run. One thread drives it; attempts are known by the index of their task."""

    def has_room(self) -> bool:
        """Whether another attempt may be submitted."""
        ...

    def submit(self, index: int, task: Any) -> None:
        """Start an attempt, now or as soon as a worker is free."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, Success | Trouble]]:
        """Attempts that ended; waits at most that long for the first."""
        ...

    def close(self) -> None:
        """End everything at once, attempts under way included."""
        ...


def run(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    settings: PoolSettings,
    name: Callable[[T], str],
    on_result: Callable[[TaskOutcome[T, R]], None],
    report: Callable[[str], None],
) -> None:
    """Call `function` on every task; hand each outcome to `on_result`, in this thread, in the order they
    come.

    With more than one worker, `function` must be importable, and tasks and results picklable. Nothing may
    depend on the order of outcomes. Any exception in this thread (an interrupt, an error of `on_result`) ends
    all workers at once and goes on its way.

    Raises:
        ShardsFailed: tasks failed for good; raised after all others have ended, or when the budget is spent.
    """
    if not tasks:
        return
    failures: list[tuple[int, TaskFailure]] = []
    attempts = [0] * len(tasks)
    # Ready time, then position: a heap, so that tasks waiting for another attempt do not hold up the others.
    queue: list[tuple[float, int]] = [(0.0, index) for index in range(len(tasks))]
    running: set[int] = set()
    progress = Progress(report, total=len(tasks), every=settings.report_seconds)
    with contextlib.closing(_backend(function, len(tasks), settings)) as backend:
        while running or (queue and len(failures) < settings.max_failures):
            while queue and queue[0][0] <= time.monotonic() and backend.has_room():
                if len(failures) >= settings.max_failures:
                    break
                index = heapq.heappop(queue)[1]
                attempts[index] += 1
                running.add(index)
                backend.submit(index, tasks[index])
            for index, ended in backend.wait(_patience(queue, progress, backend)):
                running.discard(index)
                task = tasks[index]
                if isinstance(ended, Success):
                    progress.count(ended.result)
                    on_result(TaskOutcome(task, ended.result, ended.seconds, ended.peak_rss))
                elif ended.retryable and attempts[index] <= settings.retries:
                    pause = settings.backoff_seconds * 2 ** (attempts[index] - 1)
                    heapq.heappush(queue, (time.monotonic() + pause, index))
                    report(f"{name(task)}: {ended.cause}; attempt {attempts[index] + 1} in {pause:g} s")
                else:
                    failure = TaskFailure(name(task), attempts[index], ended.cause, ended.traceback)
                    failures.append((index, failure))
                    report(f"{failure.name} failed: {failure.cause}")
            progress.tick()
    if failures:
        in_order = [failure for _, failure in sorted(failures, key=lambda pair: pair[0])]
        raise ShardsFailed(in_order, done=progress.done, not_started=len(queue))
    progress.tick(last=True)


def attempt(function: Callable[[Any], Any], task: Any) -> Success | Trouble:
    """Run one attempt in the current process; an exception becomes a `Trouble`, an interrupt does not."""
    started = time.perf_counter()
    try:
        result = function(task)
    except Exception as error:
        # Not too broad: whatever a stage raises has to reach the error that names its shard.
        return trouble(error)
    return Success(result, time.perf_counter() - started, peak_rss())


def trouble(error: Exception) -> Trouble:
    """An exception as text, and whether its kind is worth another attempt."""
    retryable = bool(getattr(error, "retryable", isinstance(error, (*TRANSIENT_ERRORS, MemoryError))))
    cause = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return Trouble(cause, "".join(traceback.format_exception(error)), retryable)


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def peak_rss() -> int:
    """Peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Progress:
    """Lines of progress, at most one every so many seconds: each is a row in an orchestrator's database."""

    def __init__(
        self,
        report: Callable[[str], None],
        *,
        total: int,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = 0
        self._report = report
        self._total = total
        self._every = every
        self._clock = clock
        self._documents = 0
        self._bytes = 0
        self._started = self._reported = clock()

    def count(self, result: Counted | Any) -> None:
        """Note a finished task, with its documents and bytes where the result tells them."""
        self.done += 1
        self._documents += getattr(result, "documents", 0)
        self._bytes += getattr(result, "bytes", 0)

    def seconds_to_line(self) -> float:
        """Time until the next line is due."""
        return max(0.0, self._reported + self._every - self._clock())

    def tick(self, *, last: bool = False) -> None:
        """Report when a line is due, and at the end."""
        if self.seconds_to_line() > 0 and not last:
            return
        now = self._clock()
        self._reported = now
        self._report(self.line(now - self._started))

    def line(self, elapsed: float) -> str:
        """Shards done, documents/s, MB/s, share and remaining time."""
        words = [f"{self.done:,} of {self._total:,} shards ({self.done / self._total:.0%})"]
        if elapsed > 0 and self._documents:
            words.append(f"{self._documents / elapsed:,.0f} documents/s")
        if elapsed > 0 and self._bytes:
            words.append(f"{self._bytes / elapsed / 1e6:,.1f} MB/s")
        if self.done == self._total:
            words.append(f"in {_duration(elapsed)}")
        elif self.done:
            words.append(f"about {_duration(elapsed / self.done * (self._total - self.done))} left")
        return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _patience(queue: Sequence[tuple[float, int]], progress: Progress, backend: Backend) -> float:
    """How long to wait for an attempt to end: until a line is due, or a waiting task may go."""
    limit = progress.seconds_to_line()
    if queue and backend.has_room():
        limit = min(limit, max(0.0, queue[0][0] - time.monotonic()))
    return limit


def _backend(function: Callable[[Any], Any], tasks: int, settings: PoolSettings) -> Backend:
    if settings.kind == "ray":
        from corpus_dagster.pool_ray import RayTasks

        return RayTasks(function, settings)
    if settings.processes == 1 and not settings.isolated:
        return _ThisProcess(function)
    return _Processes(function, min(settings.processes, tasks))


class _ThisProcess:
    """Attempts run in this process, one by one, when they are waited for."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._waiting: list[tuple[int, Any]] = []

    def has_room(self) -> bool:
        return not self._waiting

    def submit(self, index: int, task: Any) -> None:
        self._waiting.append((index, task))

    def wait(self, seconds: float) -> list[tuple[int, Success | Trouble]]:
        if not self._waiting:
            time.sleep(seconds)
            return []
        index, task = self._waiting.pop()
        return [(index, attempt(self._function, task))]

    def close(self) -> None:
        self._waiting.clear()


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: connection.Connection
    lifeline: connection.Connection
    index: int | None = None


class _Processes:
    """Worker processes, each with one task at a time, so that a death has exactly one task to blame.

    Each worker holds the reading end of a pipe, its lifeline, whose writing end only this process has. When
    that is closed, by `close` or because this process is gone however it went, the kernel kills the worker.
    """

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self._function = pickle.dumps(function)
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._workers: list[_Worker] = []
        self._limit = workers

    def has_room(self) -> bool:
        return len(self._workers) < self._limit or any(w.index is None for w in self._workers)

    def submit(self, index: int, task: Any) -> None:
        content = pickle.dumps(task)
        worker = next((w for w in self._workers if w.index is None), None) or self._start()
        worker.index = index
        try:
            worker.pipe.send_bytes(content)
        except OSError:  # it died idle; the sentinel tells `wait` so
            return

    def wait(self, seconds: float) -> list[tuple[int, Success | Trouble]]:
        by_handle: dict[Any, _Worker] = {}
        for worker in self._workers:
            by_handle[worker.pipe] = worker
            by_handle[worker.process.sentinel] = worker
        if not by_handle:
            time.sleep(seconds)
            return []
        ended: list[tuple[int, Success | Trouble]] = []
        ready = {id(w): w for w in map(by_handle.__getitem__, connection.wait(list(by_handle), seconds))}
        for worker in ready.values():
            answer = self._receive(worker)
            if answer is not None and worker.index is not None:
                ended.append((worker.index, answer))
                worker.index = None
        return ended

    def close(self) -> None:
        for worker in self._workers:
            if worker.index is not None:
                worker.lifeline.close()
            worker.pipe.close()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            self._bury(worker)
        self._workers.clear()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        held_by_worker, lifeline = self._context.Pipe(duplex=False)
        try:
            with theirs, held_by_worker, _environment(THREAD_LIMITS), _no_main_module():
                surroundings = _Surroundings(dict(os.environ), os.getcwd())
                process = self._context.Process(
                    target=_work,
                    args=(self._function, surroundings, theirs, held_by_worker),
                    name="corpus-worker",
                    daemon=True,
                )
                process.start()
            worker = _Worker(process, ours, lifeline)
            self._workers.append(worker)
        except BaseException:  # an interrupt between the start and the list must not lose the worker
            lifeline.close()
            raise
        return worker

    def _receive(self, worker: _Worker) -> Success | Trouble | None:
        """The answer of a worker, or the account of its death; None when it died idle and nothing is lost."""
        try:
            if worker.pipe.poll():
                return pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):  # it died with its answer unsent or half sent
            pass
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join(STOP_SECONDS)
        cause = f"its worker {_exit_in_words(self._bury(worker))}"
        return Trouble(cause, "", retryable=True) if worker.index is not None else None

    def _bury(self, worker: _Worker) -> int | None:
        """Kill what still lives, and give back what it held; returns its exit code."""
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join()
        code = worker.process.exitcode
        worker.process.close()
        worker.lifeline.close()
        return code


def _exit_in_words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exited with status {code}"
    words = f"was killed by signal {-code}"
    with contextlib.suppress(ValueError):
        words += f" ({signal.Signals(-code).name})"
    return words + (", perhaps for want of memory" if -code == signal.SIGKILL else "")


@dataclass(frozen=True)
class _Surroundings:
    """What a worker shares with this process as it is now; the fork server keeps that of its own first start."""

    environment: dict[str, str] = field(repr=False)
    folder: str

    def enter(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)


def _work(
    function: bytes,
    surroundings: _Surroundings,
    pipe: connection.Connection,
    lifeline: connection.Connection,
) -> None:
    """Body of a worker: take a task, run it, answer; end when the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with(lifeline)
    surroundings.enter()
    while True:
        try:
            content = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        _reset_peak_rss()
        try:
            # Here, not at the start: an import that fails becomes the error of a task.
            answer = pickle.dumps(attempt(pickle.loads(function), pickle.loads(content)))
        except Exception as error:
            # Not too broad: unpickling imports modules and may raise anything; it has to be reported, not
            # swallowed.
            answer = pickle.dumps(trouble(error))
        try:
            pipe.send_bytes(answer)
        except OSError:
            return


def _die_with(lifeline: connection.Connection) -> None:
    """Have the kernel kill this process when the other end of the lifeline is gone.

    The usual prctl(PR_SET_PDEATHSIG) would follow the fork server, which outlives the parent as long as any
    worker lives. A signal also ends workers inside C code that never lets go of the interpreter. The thread
    serves systems without F_SETSIG.
    """
    descriptor = lifeline.fileno()
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
        if lifeline.poll():  # it was closed before the signal was set up
            os._exit(1)
        return

    def watch() -> None:
        lifeline.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _reset_peak_rss() -> None:
    """Let the kernel's peak begin anew; where it cannot, peaks are those of the worker's whole life."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for what is started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide `__main__`, which multiprocessing would import in each worker.

    That would be Dagster's own start-up, a second per worker, or a script without a guard, run again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
