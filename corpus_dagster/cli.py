"""The command `corpus-dagster`: ask what happened to a page, try other thresholds, look at funnels.

Materialising is Dagster's business: `dg launch`, `dagster asset materialize` or the web interface.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from corpus_dagster import catalog, funnel
from corpus_dagster.errors import nearest
from corpus_dagster.lake import Lake, LakeError
from corpus_dagster.objects import StorageError
from corpus_dagster.recipes import model
from corpus_dagster.recipes.model import Recipe, RecipeError
from corpus_dagster.settings import Settings, SettingsError


class UsageError(ValueError):
    """Arguments or files given to a command cannot be used."""


USER_ERRORS = (LakeError, StorageError, RecipeError, SettingsError, catalog.CatalogError, UsageError, OSError)
"""Errors whose message is the whole answer: they are printed without a traceback."""

DEFAULT_RECIPE = "dclm_baseline"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 nothing found, 2 an error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options, Settings.from_environment())
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has seen enough. The interpreter must not flush into it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except USER_ERRORS as error:
        print(f"corpus-dagster: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="corpus-dagster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    explain = command("explain", _explain, "tell the story of one page: measured, decided, cut")
    explain.add_argument("page", metavar="URL|RECORD-ID")
    explain.add_argument("--crawl", help="only this crawl; without it every crawl of the lake")
    explain.add_argument("--recipe", default=DEFAULT_RECIPE)

    what_if = command("what-if", _what_if, "decide a crawl again from stored signals, with another recipe")
    what_if.add_argument("changed", metavar="RECIPE.yaml", type=Path, nargs="?")
    what_if.add_argument("--crawl", required=True)
    what_if.add_argument("--recipe", default=DEFAULT_RECIPE, help="the recipe whose signals are stored")
    what_if.add_argument(
        "--set", metavar="PATH=VALUE", action="append", default=[], help="one value, such as word_count.min=30"
    )

    show = command("funnel", _funnel, "print the survival funnel of each crawl")
    show.add_argument("--crawl", help="only this crawl")
    show.add_argument("--recipe", default=DEFAULT_RECIPE)
    show.add_argument("--check", type=Path, metavar="FILE", help="fail unless the counts are exactly those of the file")
    show.add_argument("--write", type=Path, metavar="FILE", help="write the counts for a later --check")

    sample = command("sample", _sample, "write the embedded sample crawl")
    sample.add_argument("folder", type=Path, nargs="?", help="where; default: below CORPUS_WORK")

    refresh = command("catalogue", _catalogue, "merge Common Crawl's collinfo.json into a catalogue file")
    refresh.add_argument("collinfo", type=Path, help="collinfo.json, downloaded from index.commoncrawl.org")
    refresh.add_argument("output", type=Path, help="catalogue to write; name it in CORPUS_CATALOG")

    command("reference", _reference, "print the reference of rules and recipes (docs/rules.md)")
    command("compile", _compile, "compile the text kernels now, not in the first run")
    return parser


def _recipe(settings: Settings, name: str) -> Recipe:
    recipes = model.available(settings.recipes)
    if name not in recipes:
        raise RecipeError(f"unknown recipe {name!r}{nearest(name, recipes)}")
    return recipes[name]


def _explain(options: argparse.Namespace, settings: Settings) -> int:
    from corpus_dagster import explain

    lake, recipe = Lake.at(settings.lake), _recipe(settings, options.recipe)
    crawls = [options.crawl] if options.crawl else lake.crawls(f"{recipe.name}/filtered")
    found = 0
    for crawl in crawls:
        for story in explain.stories(lake, recipe, crawl, options.page):
            print(explain.render(story), end="\n\n")
            found += 1
    if not found:
        where = ", ".join(crawls) or f"the lake {settings.lake}, which holds no filtered crawl"
        print(
            f"no document with this URL or record id in {where}. Records that are not pages are counted by reason in "
            "the metadata of `documents`",
            file=sys.stderr,
        )
    return 0 if found else 1


def _what_if(options: argparse.Namespace, settings: Settings) -> int:
    from corpus_dagster.whatif import what_if

    current = _recipe(settings, options.recipe)
    changed = model.load(options.changed) if options.changed else current
    changed = changed.override(dict(_assignment(text) for text in options.set))
    result = what_if(Lake.at(settings.lake), current, changed, options.crawl)
    cells = [
        (
            step.stage,
            step.rule,
            "-" if step.now is None else f"{step.now:,}",
            f"{step.then:,}",
            "-" if step.now is None else f"{step.then - step.now:+,}",
            f"{step.undecided:,}" if step.undecided else "",
        )
        for step in result.steps
    ]
    print(f"{options.crawl}: {current.name} now, and what if\n")
    print(funnel.text_table(("stage", "rule", "now", "what if", "change", "undecided"), cells))
    for note in result.notes:
        print(f"\nnote: {note}")
    return 0


def _assignment(text: str) -> tuple[str, object]:
    import yaml

    path, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text!r}: expected PATH=VALUE, such as word_count.min=30")
    try:
        return path, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text!r}: {value!r} is no YAML value: {error}") from error


def _funnel(options: argparse.Namespace, settings: Settings) -> int:
    lake, recipe = Lake.at(settings.lake), _recipe(settings, options.recipe)
    crawls = [options.crawl] if options.crawl else lake.crawls(f"{recipe.name}/statistics")
    if not crawls:
        print(f"the lake {settings.lake} holds no statistics of {recipe.name}", file=sys.stderr)
        return 1
    tables = {crawl: lake.require(f"{recipe.name}/statistics", crawl).read(0).to_pylist() for crawl in crawls}
    for crawl, steps in tables.items():
        print(f"{recipe.name}, {crawl}\n")
        print(funnel.text_table(funnel.HEADERS, funnel.rows(steps)), end="\n\n")
    counts = {crawl: funnel.counts(steps) for crawl, steps in tables.items()}
    if options.write:
        options.write.write_text(json.dumps(counts, indent=1) + "\n", "utf-8")
    if options.check:
        differences = funnel.differences(_expected(options.check), counts)
        for line in differences:
            print(f"{options.check}: {line}", file=sys.stderr)
        return 1 if differences else 0
    return 0


def _expected(path: Path) -> dict[str, funnel.Counts]:
    try:
        expected = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: expected JSON as `funnel --write` writes it: {error}") from error
    if not isinstance(expected, dict) or not all(isinstance(steps, dict) for steps in expected.values()):
        raise UsageError(f"{path}: expected crawls with their steps, as `funnel --write` writes them")
    return expected


def _sample(options: argparse.Namespace, settings: Settings) -> int:
    from corpus_dagster import sample

    if options.folder:
        sample.write(options.folder)
        print(options.folder)
    else:
        print(sample.sample_folder(settings.work))
    return 0


def _catalogue(options: argparse.Namespace, settings: Settings) -> int:
    known = catalog.load(settings.catalogue)
    merged = catalog.refresh(options.collinfo.read_bytes(), known)
    catalog.write(merged, options.output)
    print(f"{options.output}: {len(merged)} crawls, {len(merged) - len(known)} new")
    return 0


def _reference(options: argparse.Namespace, settings: Settings) -> int:
    from corpus_dagster import reference

    print(reference.render(), end="")
    return 0


def _compile(options: argparse.Namespace, settings: Settings) -> int:
    from corpus_dagster.kernels import compile_all

    for name, seconds in compile_all():
        print(f"{name:<28} {seconds:6.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
