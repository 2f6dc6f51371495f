from __future__ import annotations

import pytest

from corpus_dagster.settings import Settings, SettingsError


def test_an_empty_environment_means_the_sample_and_a_lake_beside_the_project() -> None:
    settings = Settings.from_environment({})
    assert (settings.source, settings.lake, settings.workers) == ("sample", "./lake", 0)


def test_variables_replace_the_defaults() -> None:
    settings = Settings.from_environment(
        {"CORPUS_LAKE": "s3://bucket/corpus", "CORPUS_WORKERS": "7", "CORPUS_POOL": "ray", "HOME": "elsewhere"}
    )
    assert (settings.lake, settings.workers, settings.pool) == ("s3://bucket/corpus", 7, "ray")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CORPUS_LAK": "x"}, "did you mean 'CORPUS_LAKE'"),
        ({"CORPUS_WORKERS": "many"}, "not 'many'"),
        ({"CORPUS_POOL": "slurm"}, "`local` or `ray`"),
    ],
)
def test_a_wrong_variable_is_named_with_its_mend(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(environment)
