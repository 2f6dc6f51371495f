"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from curation import FIRST, SECOND, Curation

from corpus_dagster import catalog, cli, reference, sample

ROOT = Path(__file__).resolve().parents[1]


class Command:
    """Runs a command in this process; keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        status = cli.main(arguments)
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return status


@pytest.fixture
def command(curated_sample: Curation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in [name for name in os.environ if name.startswith("CORPUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CORPUS_LAKE", curated_sample.lake.uri)
    return Command(capsys)


def url_of_both(curated_sample: Curation) -> str:
    return next(label["url"] for label in curated_sample.labels(SECOND) if label["duplicate_crawl"] == FIRST)


def test_explain_tells_the_story_of_a_page_in_every_crawl(command: Command, curated_sample: Curation) -> None:
    url = url_of_both(curated_sample)
    assert command("explain", url) == 0
    assert command.out.count(f"{url}\n") >= 2
    assert FIRST in command.out
    assert SECOND in command.out
    assert command("explain", url, "--crawl", SECOND) == 0
    assert f"crawl       {SECOND}" in command.out
    assert f"crawl       {FIRST}" not in command.out


def test_explain_finds_nothing_with_status_one_and_says_where_it_looked(command: Command) -> None:
    assert command("explain", "https://nowhere.example/") == 1
    assert command.out == ""
    assert f"no document with this URL or record id in {FIRST}, {SECOND}" in command.err


def test_explain_in_an_empty_lake_says_so(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUS_LAKE", str(tmp_path))
    assert command("explain", "https://nowhere.example/") == 1
    assert f"the lake {tmp_path}, which holds no filtered crawl" in command.err


def test_what_if_prints_both_funnels(command: Command) -> None:
    assert command("what-if", "--crawl", FIRST, "--set", "word_count.min=300", "--set", "quality.keep.share=0.5") == 0
    lines = command.out.splitlines()
    assert lines[0] == f"{FIRST}: dclm_baseline now, and what if"
    assert lines[2].split() == ["stage", "rule", "now", "what", "if", "change", "undecided"]
    cells = {line.split()[1]: line.split() for line in lines[4:] if len(line.split()) > 4}
    stage, _, now, then, change = cells["word_count"][:5]
    assert stage == "filtered"
    assert int(then.replace(",", "")) - int(now.replace(",", "")) == int(change.replace(",", "")) < 0
    assert int(cells["quality"][4].replace(",", "")) > 0
    assert "note: duplicates are taken as they were found" in command.out


def test_what_if_takes_a_recipe_file(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "longer.yaml"
    path.write_text(
        "name: longer\nversion: 1\ntitle: Longer pages\nextends: dclm_baseline\nset: {word_count.min: 300}\n", "utf-8"
    )
    assert command("what-if", str(path), "--crawl", FIRST) == 0
    by_file = command.out
    assert command("what-if", "--crawl", FIRST, "--set", "word_count.min=300") == 0
    assert command.out == by_file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["what-if", "--crawl", "SAMPLE-2030-01"], "is not in the lake"),
        (["what-if", "--crawl", FIRST, "--set", "word_count"], "expected PATH=VALUE, such as word_count.min=30"),
        (["what-if", "--crawl", FIRST, "--set", "word_cuont.min=3"], "did you mean 'word_count'"),
        (["what-if", "--crawl", FIRST, "--set", "word_count.min=-3"], "word_count"),
        (["what-if", "--crawl", FIRST, "--set", "word_count.min=[1"], "is no YAML value"),
        (["what-if", "missing.yaml", "--crawl", FIRST], "missing.yaml: cannot be read as YAML"),
        (["explain", "x", "--recipe", "dclm_base"], "unknown recipe 'dclm_base'"),
        (["explain", "x", "--crawl", "SAMPLE-2030-01"], "is not in the lake"),
        (["funnel", "--crawl", "SAMPLE-2030-01"], "is not in the lake"),
        (["funnel", "--check", "missing.json"], "missing.json"),
        (["funnel", "--check", str(Path(__file__))], "expected JSON as `funnel --write` writes it"),
        (["funnel", "--write", "/nowhere/at/all.json"], "/nowhere/at/all.json"),
        (["catalogue", "missing.json", "out.tsv"], "missing.json"),
    ],
)
def test_errors_are_one_sentence_and_status_two(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    assert command.err.startswith("corpus-dagster: ")
    assert message in command.err


def test_a_mistyped_setting_is_an_error_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUS_LAEK", "x")
    assert command("funnel") == 2
    assert "CORPUS_LAEK" in command.err


def test_a_command_is_needed(command: Command) -> None:
    with pytest.raises(SystemExit) as stopped:
        command()
    assert stopped.value.code == 2


def test_the_funnel_is_printed_for_each_crawl(command: Command, curated_sample: Curation) -> None:
    assert command("funnel") == 0
    for crawl in sample.CRAWLS:
        assert f"dclm_baseline, {crawl}\n" in command.out
        assert f"{curated_sample.dataset('curated', crawl).rows():,}" in command.out
    assert command("funnel", "--crawl", SECOND) == 0
    assert FIRST not in command.out


def test_a_funnel_without_statistics_is_status_one(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUS_LAKE", str(tmp_path))
    assert command("funnel") == 1
    assert "holds no statistics of dclm_baseline" in command.err


def test_counts_written_are_counts_checked(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "funnel.json"
    assert command("funnel", "--write", str(path)) == 0
    assert command("funnel", "--check", str(path)) == 0
    assert command.err == ""
    counts = json.loads(path.read_text("utf-8"))
    counts[FIRST]["filtered: word_count"]["documents"] += 1
    del counts[SECOND]["curated: quality"]
    path.write_text(json.dumps(counts), "utf-8")
    assert command("funnel", "--check", str(path)) == 1
    first, second = command.err.splitlines()
    assert first.startswith(f"{path}: {FIRST}, filtered: word_count: expected {{'documents': ")
    assert second.startswith(f"{path}: {SECOND}, curated: quality: expected None, found ")


def test_the_sample_is_written_where_it_is_asked_for(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("sample", str(tmp_path / "here")) == 0
    assert command.out == f"{tmp_path / 'here'}\n"
    assert (tmp_path / "here" / "crawl-data" / FIRST / "warc.paths.gz").is_file()
    kept = tmp_path / "work" / f"sample-{sample.fingerprint()}"
    shutil.copytree(tmp_path / "here", kept)
    monkeypatch.setenv("CORPUS_WORK", str(tmp_path / "work"))
    assert command("sample") == 0
    assert command.out == f"{kept}\n"


def test_new_crawls_are_merged_into_a_catalogue(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [crawl.id for crawl in catalog.load()]
    published = [{"id": "CC-MAIN-2099-10"}, *({"id": name} for name in reversed(known))]
    collinfo, output = tmp_path / "collinfo.json", tmp_path / "crawls.tsv"
    collinfo.write_text(json.dumps(published), "utf-8")
    assert command("catalogue", str(collinfo), str(output)) == 0
    assert command.out == f"{output}: {len(known) + 1} crawls, 1 new\n"
    assert [crawl.id for crawl in catalog.load(output)] == [*known, "CC-MAIN-2099-10"]
    # A private catalogue is what the next merge starts from.
    monkeypatch.setenv("CORPUS_CATALOG", str(output))
    assert command("catalogue", str(collinfo), str(output)) == 0
    assert command.out.endswith(" 0 new\n")
    collinfo.write_text("[", "utf-8")
    assert command("catalogue", str(collinfo), str(output)) == 2


def test_the_reference_of_rules_is_current(command: Command) -> None:
    assert command("reference") == 0
    assert command.out == reference.render()
    stored = (ROOT / "docs" / "rules.md").read_text("utf-8")
    assert stored == command.out, "run `corpus-dagster reference > docs/rules.md`"


def test_a_reader_that_stops_reading_is_no_error(curated_sample: Curation) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "corpus_dagster.cli", "reference"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == b""
    process.stderr.close()
