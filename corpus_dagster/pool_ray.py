"""The pool's tasks on a Ray cluster: the same function, retries and errors, with Ray placing the work.

Nothing is cached or moved by Ray but task descriptions and results; data goes through the lake. Needs the
extra `ray`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from corpus_dagster.pool import THREAD_LIMITS, PoolSettings, Success, Trouble, attempt

WAITING_PER_CORE = 2
"""Tasks in flight per core of the cluster: one at work, one to follow, so no core waits for the driver."""


class RayTasks:
    """Attempts as Ray tasks. Joins the cluster of `RAY_ADDRESS`, or starts one on this machine for its own
    lifetime.

    Raises:
        ModuleNotFoundError: Ray is not installed; the message names the extra.
    """

    def __init__(self, function: Callable[[Any], Any], settings: PoolSettings) -> None:
        try:
            import ray
            import ray.exceptions
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the pool is set to ray, which is not installed: install corpus-dagster[ray], or set CORPUS_POOL=local",
                name="ray",
            ) from error
        self._ray = ray
        self._started_here = not ray.is_initialized()
        if self._started_here:
            ray.init(**_cluster(settings))
        cores = int(ray.cluster_resources().get("CPU", 1))
        self._limit = settings.workers or cores * WAITING_PER_CORE
        # Retries are the pool's, which counts and reports them; Ray's own would multiply them unseen.
        claims: dict[str, Any] = {"memory": settings.memory_bytes} if settings.memory_bytes else {}
        self._remote = ray.remote(num_cpus=1, max_retries=0, runtime_env={"env_vars": THREAD_LIMITS}, **claims)(attempt)
        self._function = ray.put(function)
        self._running: dict[Any, int] = {}

    def has_room(self) -> bool:
        """Whether fewer tasks are in flight than the cluster should know of."""
        return len(self._running) < self._limit

    def submit(self, index: int, task: Any) -> None:
        """Hand an attempt to Ray."""
        self._running[self._remote.remote(self._function, task)] = index

    def wait(self, seconds: float) -> list[tuple[int, Success | Trouble]]:
        """Attempts that ended."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [(self._running.pop(reference), self._outcome(reference)) for reference in ready]

    def close(self) -> None:
        """Cancel what is in flight, and leave the cluster, or end it when it was started here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._started_here:
            self._ray.shutdown()

    def _outcome(self, reference: Any) -> Success | Trouble:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            # `attempt` lets nothing through: what arrives here could not be pickled on one of the ways.
            return Trouble(_first_line(error), str(error), retryable=False)
        except self._ray.exceptions.RayError as error:
            # A worker or node that died, or ran out of memory.
            return Trouble(_first_line(error), str(error), retryable=True)


def _cluster(settings: PoolSettings) -> dict[str, Any]:
    """Arguments of `ray.init`; Ray itself reads RAY_ADDRESS, and takes cores only for a new cluster."""
    if os.environ.get("RAY_ADDRESS"):
        return {"log_to_driver": False}
    return {"log_to_driver": False, "include_dashboard": False, "num_cpus": settings.processes}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"
