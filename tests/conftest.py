"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import curation
import pytest
from curation import Curation

from corpus_dagster import sample
from corpus_dagster.lake import Lake


def pytest_configure() -> None:
    """Undo what a shell does to its background jobs: ignored signals are inherited by the programs that tests end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real web data beside the checkout; the test is skipped, and says so, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA.name}/ beside the checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded sample, written once; for reading only."""
    return sample.sample_folder(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def curated_sample(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Curation:
    """Both crawls of the sample, curated by the shipped recipe; for reading only."""
    lake, recipe = Lake.at(tmp_path_factory.mktemp("curated")), curation.shipped()
    curation.curate(lake, sample_root, recipe, sample.CRAWLS)
    return Curation(lake, sample_root, recipe, sample.CRAWLS)
