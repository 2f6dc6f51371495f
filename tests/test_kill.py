"""The pipeline killed at random times, again and again: the lake ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import curation
import lake_jobs
import pytest
from curation import FIRST
from test_resume import group_is_gone

from corpus_dagster.lake import Lake
from corpus_dagster.recipes import model

TESTS = Path(__file__).parent
SEED = 20250127

LONGEST = 1.5
"""Seconds that a run may live beyond the stage it is let to end, chosen evenly between 0 and this: about one stage."""

RECIPE = """\
name: own
version: 1
title: The shipped rules with a filter for two files.
extends: dclm_baseline
set: {duplicates.shards_per_filter: 2}
"""


@pytest.fixture(scope="module")
def inputs(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small source, and the file of a recipe that trains its classifier on it."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "own.yaml").write_text(RECIPE, "utf-8")
    return curation.excerpt(sample_root, folder / "source", FIRST, files=4, every=12, copies=8), folder / "own.yaml"


@pytest.fixture(scope="module")
def undisturbed(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of a lake that was made in one go, in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(folder, inputs)
    return lake_jobs.snapshot(folder)


def finish(folder: Path, inputs: tuple[Path, Path]) -> list[str]:
    """Run to the end; names of the stages that still had something to do."""
    root, recipe = inputs
    outcomes = curation.curate(Lake.at(folder), root, model.load(recipe), [FIRST])
    return [stage for (stage, _), outcome in outcomes.items() if not outcome.reused]


@contextlib.contextmanager
def program(folder: Path, inputs: tuple[Path, Path]) -> Iterator[subprocess.Popen[str]]:
    """All stages with two workers, as a program with a session of its own, of which nothing may outlive the block."""
    root, recipe = inputs
    process = subprocess.Popen(
        [sys.executable, "-c", "import curation; curation.main()", str(folder), str(root), str(recipe), "2", FIRST],
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


def killed(folder: Path, inputs: tuple[Path, Path], stages: int, seconds: float) -> list[str]:
    """Start the program, kill it, and it alone, some seconds after it ended so many stages; the stages it ended."""
    with program(folder, inputs) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        lines = [process.stdout.readline() for _ in range(stages)]
        time.sleep(seconds)
        process.kill()
        # The workers hold the pipe as well: its end is theirs.
        ended = [line.split()[0] for line in (*lines, *process.stdout.read().splitlines())]
        process.wait()
        assert group_is_gone(process.pid, 10), "a worker outlived its program"
    return ended


def kill_and_compare(
    folder: Path, inputs: tuple[Path, Path], undisturbed: dict[str, bytes], kills: int, seed: int
) -> list[str]:
    """Kill runs over a lake until it is whole, then the next one, `kills` times in all; each must end like the
    undisturbed one. Returns, for every kill, the stage that had ended before it."""
    dice = random.Random(seed)
    hit: list[str] = []
    for number in itertools.count():
        lake = folder / str(number)
        reached = 0
        while len(hit) < kills:
            ended = killed(lake, inputs, reached + dice.randint(0, 1), dice.uniform(0, LONGEST))
            if ended[-1:] == ["statistics"]:
                break
            hit.append(ended[-1] if ended else "nothing")
            reached = len(ended)
        left = finish(lake, inputs)
        assert lake_jobs.snapshot(lake) == undisturbed, f"lake {number}, finished with {left} after {hit}"
        assert lake_jobs.leftovers(lake) == []
        shutil.rmtree(lake)
        if len(hit) >= kills:
            return hit
    raise AssertionError


def test_a_pipeline_killed_a_few_times_ends_with_the_same_bytes(
    tmp_path: Path, inputs: tuple[Path, Path], undisturbed: dict[str, bytes]
) -> None:
    hit = kill_and_compare(tmp_path, inputs, undisturbed, kills=5, seed=SEED)
    assert len(set(hit)) >= 3, f"the kills must hit at different places, but hit after {hit}"


@pytest.mark.slow
def test_a_pipeline_killed_many_times_ends_with_the_same_bytes(
    tmp_path: Path, inputs: tuple[Path, Path], undisturbed: dict[str, bytes]
) -> None:
    hit = kill_and_compare(tmp_path, inputs, undisturbed, kills=24, seed=SEED + 1)
    assert len(set(hit)) >= 6, f"the kills must hit at different places, but hit after {hit}"


def test_the_undisturbed_lake_holds_every_stage(undisturbed: dict[str, bytes]) -> None:
    stages = ("warc_files", "documents", *(f"own/{stage}" for stage in ("quality_model", *curation.CRAWL_STAGES[1:])))
    for stage in stages:
        assert any(path.startswith(f"{stage}/") and path.endswith("/CURRENT") for path in undisturbed), stage
    assert sum(path.endswith(".parquet") for path in undisturbed) > 40
