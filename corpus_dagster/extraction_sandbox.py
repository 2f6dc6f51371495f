"""A child process that extracts one page at a time and that the operating system ends when a page runs away.

Extraction holds the interpreter lock in native code, so no signal handler and no thread could interrupt it:
the child's timer keeps its default action, which ends the process. It reads end of file and exits when its
parent is gone. Importing this module costs nothing but the standard library; the child needs only it and
Resiliparse.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

_LENGTH = struct.Struct("<Q")
_MEMORY = "memory"

WALL_FACTOR = 3
"""Wall-clock limit of a page, sending and answering included, in units of the limit on processor time: a child that is
not ended by its own timer does not run, as on a stopped or hopelessly overloaded machine."""

START_SECONDS = 60.0
"""Wall-clock limit of the child's start."""

PIPE_BYTES = 1 << 20
"""Bytes written to or read from a pipe at a time, at most."""

_CHILD = "from corpus_dagster.extraction_sandbox import main; main()"


@dataclass(frozen=True)
class SandboxVerdict:
    """Why a page has no text: processor time, memory, or a crash of native code."""

    reason: Literal["timeout", "memory", "crash"]


class Sandbox:
    """The parent's side. The child starts lazily and again after each verdict."""

    def __init__(self, options: Mapping[str, bool], seconds: float, memory: int) -> None:
        self._config = json.dumps({"options": dict(options), "seconds": seconds, "memory": memory}).encode()
        self._wall = seconds * WALL_FACTOR
        self._child: subprocess.Popen[bytes] | None = None

    def extract(self, markup: bytes) -> str | SandboxVerdict:
        """Text of a page given as UTF-8, or why there is none."""
        child = self._child or self._start()
        deadline = time.monotonic() + self._wall
        try:
            _send(_pipe(child.stdin), markup, deadline)
            answer = _receive(_pipe(child.stdout), deadline)
        except BrokenPipeError:
            answer = None
        except TimeoutError:
            child.kill()
            self._stop()
            return SandboxVerdict("timeout")
        if answer is not None and answer[:1] == b"t":
            return answer[1:].decode("utf-8")
        self._stop()
        if answer is not None:
            return SandboxVerdict(_MEMORY)
        if child.returncode == -signal.SIGPROF:
            return SandboxVerdict("timeout")
        return SandboxVerdict("memory" if child.returncode == -signal.SIGABRT else "crash")

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join([root, *(p for p in sys.path if p)])
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._child = child
        os.set_blocking(_pipe(child.stdin).fileno(), False)
        deadline = time.monotonic() + START_SECONDS
        try:
            _send(_pipe(child.stdin), self._config, deadline)
            ready = _receive(_pipe(child.stdout), deadline) == b"ready"
        except (BrokenPipeError, TimeoutError):
            ready = False
        if not ready:
            self._stop()
            raise RuntimeError(
                f"the extraction process did not start (exit status {child.returncode}); "
                f"run {sys.executable} -c 'import resiliparse' to see why"
            )
        return child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            _pipe(pipe).close()
        try:
            child.wait(0.5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the extraction process has no pipe")
    return pipe


def _send(pipe: IO[bytes], message: bytes, deadline: float) -> None:
    """Write a whole message to a pipe that does not block. Raises TimeoutError when the other side does not read it
    until `deadline`, in `time.monotonic` seconds."""
    for part in (_LENGTH.pack(len(message)), message):
        rest = memoryview(part)
        while rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [pipe], [], left)[1]:
                raise TimeoutError
            rest = rest[os.write(pipe.fileno(), rest[:PIPE_BYTES]) :]


def _receive(pipe: IO[bytes], deadline: float) -> bytes | None:
    """A whole message; None when the other side is gone. Raises TimeoutError at `deadline`."""
    buffer = bytearray()
    wanted = _LENGTH.size
    measured = False
    while len(buffer) < wanted:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        part = os.read(pipe.fileno(), min(wanted - len(buffer), PIPE_BYTES))
        if not part:
            return None
        buffer += part
        if not measured and len(buffer) == wanted:
            wanted = int(_LENGTH.unpack(buffer)[0])
            measured = True
            buffer.clear()
    return bytes(buffer)


def main() -> None:
    """The child: read settings, then pages, until the parent closes the pipe."""
    from resiliparse.extract.html2text import extract_plain_text

    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not reach the parent as an answer.
    os.dup2(2, 1)
    config = json.loads(_read(source) or b"{}")
    options, seconds, memory = config["options"], float(config["seconds"]), int(config["memory"])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _answer(sink, b"ready")
    while (markup := _read(source)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = b"t" + extract_plain_text(markup.decode("utf-8"), **options).encode("utf-8")
        except MemoryError:
            answer = b"m"
        signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(sink, answer)


def _answer(sink: IO[bytes], message: bytes) -> None:
    sink.write(_LENGTH.pack(len(message)))
    sink.write(message)
    sink.flush()


def _read(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(head)[0]
    message = pipe.read(length)
    return message if len(message) == length else None
