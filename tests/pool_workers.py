"""Functions that tests run in worker processes, importable there as pytest puts this folder on the path."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


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


def square(task: Task) -> Result:
    return Result(task.number**2, documents=task.number, bytes=10, pid=os.getpid())
