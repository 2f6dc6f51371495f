"""Functions that tests run in worker processes, importable there as pytest puts this folder on the path."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from corpus_dagster import pool
from corpus_dagster.pool import PermanentError, PoolSettings


@dataclass(frozen=True)
class Task:
    number: int
    folder: str = ""


@dataclass(frozen=True)
class Result:
    number: int
    documents: int
    bytes: int
    pid: int


class UnreachableError(Exception):
    """An error of another layer that says of itself that trying again may help."""

    retryable = True


class Unpicklable:
    def __reduce__(self) -> str:
        raise TypeError("this cannot be pickled")


def square(task: Task) -> Result:
    return Result(task.number**2, documents=task.number, bytes=10, pid=os.getpid())


def attempts_of(task: Task) -> int:
    """Count this attempt in the task's own file; returns how many there were, this one included."""
    with open(Path(task.folder, f"attempts-{task.number}"), "ab") as file:
        file.write(b".")
        return file.tell()


def fail_odd_numbers(task: Task) -> Result:
    if task.number % 2:
        raise ValueError(f"number {task.number} is odd\nand that is all")
    return square(task)


def lose_connection_twice(task: Task) -> Result:
    if attempts_of(task) <= 2:
        raise ConnectionResetError(f"connection lost for {task.number}")
    return square(task)


def raise_by_number(task: Task) -> Result:
    attempts_of(task)
    if task.number == 0:
        raise ValueError("deterministic")
    if task.number == 1:
        raise PermanentError("gone for good")
    if task.number == 2:
        raise UnreachableError("503")
    if task.number == 3:
        raise MemoryError
    raise OSError("disk")


def die_on_three(task: Task) -> Result:
    attempts_of(task)
    if task.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(task)


def die_once_on_three(task: Task) -> Result:
    if attempts_of(task) == 1 and task.number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return square(task)


def exit_with_seven(task: Task) -> Result:
    os._exit(7)


def answer_unpicklable(task: Task) -> Unpicklable:
    return Unpicklable()


def use_memory(task: Task) -> Result:
    """Touch `number` MB and let them go."""
    memory = bytearray(task.number << 20)
    for page in range(0, len(memory), 4096):
        memory[page] = 1
    return square(task)


def surroundings(task: Task) -> dict[str, object]:
    return {
        "polars": os.environ.get("POLARS_MAX_THREADS"),
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "variable": os.environ.get("CORPUS_TEST_VARIABLE"),
        "folder": os.getcwd(),
        "interrupt": signal.getsignal(signal.SIGINT),
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "threads": threading.active_count(),
    }


def announce(task: Task) -> None:
    Path(task.folder, f"pid-{os.getpid()}").touch()


def sleep_long(task: Task) -> Result:
    announce(task)
    time.sleep(600)
    return square(task)


def block_in_c(task: Task) -> Result:
    """Sleep in C with the interpreter's lock held, so that neither Python signals nor threads run."""
    announce(task)
    ctypes.PyDLL(None).sleep(600)
    return square(task)


def block_main() -> None:
    """A program with the arguments FOLDER FUNCTION: run tasks that never end in two workers."""
    folder, function = sys.argv[1:]
    pool.run(
        globals()[function],
        [Task(number, folder) for number in range(8)],
        settings=PoolSettings(workers=2),
        name=str,
        on_result=print,
        report=print,
    )
