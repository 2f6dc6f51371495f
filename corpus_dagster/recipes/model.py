"""The recipe model: one YAML file names the rules of a corpus, in order, with their thresholds.

A recipe is checked when it is loaded: unknown rules, fields and signals are errors that name the nearest valid name.
This module knows the shape of a recipe; what the rules mean is in `corpus_dagster.rules`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from corpus_dagster.dedup.bloom import MAX_FILTER_BYTES, BloomSettings
from corpus_dagster.errors import nearest
from corpus_dagster.rules import dclm as _dclm
from corpus_dagster.rules import language as _language
from corpus_dagster.rules import url as _url
from corpus_dagster.rules.base import RULES, Step
from corpus_dagster.rules.program import Program, ProgramError
from corpus_dagster.rules.url import WordList

REGISTERING_MODULES = (_dclm, _language, _url)
"""Modules that register rules when imported."""

SHIPPED_FOLDER = Path(__file__).resolve().parent
SUFFIX = ".yaml"

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"
"""A recipe's name is a folder of the lake and a prefix of asset keys."""


class RecipeError(ValueError):
    """A recipe that cannot be used, with file, place and mend."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BloomDedup(_Model):
    """Paragraph and document dedup by a Bloom filter (BFF, mode `old-both`), within groups of shards."""

    method: Literal["bloom"] = "bloom"
    ngram: int = Field(default=13, ge=1, description="tokens of an n-gram")
    min_ngram: int = Field(default=13, ge=1, description="paragraphs with fewer tokens are never removed")
    threshold: float = Field(default=0.8, ge=0, le=1, description="a share of seen n-grams above this removes")
    false_positive_rate: float = Field(default=0.01, gt=0, lt=1, description="of the filter when it is full")
    shards_per_filter: int = Field(default=100, ge=1, description="shards that share one filter: the scope")
    max_filter_bytes: int = Field(
        default=1 << 30, ge=1 << 10, le=MAX_FILTER_BYTES, description="largest filter; a fuller one is reported"
    )
    seed: int = Field(default=0, ge=0, description="of the hash functions")

    def settings(self) -> BloomSettings:
        """What the kernels need."""
        return BloomSettings(
            ngram_min=self.min_ngram,
            ngram_max=self.ngram,
            threshold=self.threshold,
            false_positive_rate=self.false_positive_rate,
            max_filter_bytes=self.max_filter_bytes,
            seed=self.seed,
        )


class Fit(_Model):
    """How the default quality classifier is trained, and on what. A fitted state never follows a backfill."""

    crawls: tuple[str, ...] = Field(min_length=1, description="crawls whose documents are the negatives")
    positives: tuple[str, ...] = Field(
        min_length=1,
        description="JSONL or Parquet files with a `text` field, relative to the recipe; or sample:high_quality",
    )
    documents: int = Field(default=100_000, ge=1, description="most documents of each class, chosen by hash")


class QualityModel(_Model):
    """A fastText classifier: a file to use, or how to train one."""

    path: str | None = Field(default=None, description="fastText model file, such as DCLM's published one")
    positive_label: str = Field(default="__label__hq", description="label whose probability is the score")
    fit: Fit | None = Field(default=None, description="train a classifier instead")

    @model_validator(mode="after")
    def _one_of_both(self) -> QualityModel:
        if (self.path is None) == (self.fit is None):
            raise ValueError("name either `path`, a model file, or `fit`, how to train one")
        return self


class Keep(_Model):
    """What the quality decision keeps: scores of at least `score`, or the best `share` of each crawl."""

    score: float | None = Field(default=None, ge=0, le=1, description="lowest score kept")
    share: float | None = Field(default=None, gt=0, le=1, description="share of the scored documents kept")

    @model_validator(mode="after")
    def _one_of_both(self) -> Keep:
        if (self.score is None) == (self.share is None):
            raise ValueError("name either `score` or `share`")
        return self


class Quality(_Model):
    """The classifier and the decision on its scores."""

    model: QualityModel
    keep: Keep


class Recipe(_Model):
    """A recipe: an ordered program of rules and edits, then deduplication, then a quality decision."""

    name: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1, description="raise it when the meaning changes")
    title: str
    source: str = Field(default="", description="where the recipe was published")
    dialect: str = Field(description="meaning of rules that name none themselves")
    filter: tuple[SerializeAsAny[Step], ...] = Field(min_length=1)
    duplicates: BloomDedup
    quality: Quality
    folder: Path = Field(default=SHIPPED_FOLDER, exclude=True)

    @field_validator("filter", mode="before")
    @classmethod
    def _parse_steps(cls, steps: Any, info: ValidationInfo) -> Any:
        if not isinstance(steps, list):
            return steps
        return tuple(_parse_step(step, i, info.data.get("dialect"), info.context) for i, step in enumerate(steps))

    @model_validator(mode="after")
    def _compiles(self) -> Recipe:
        try:
            _ = self.program
        except ProgramError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def fit_crawls(self) -> tuple[str, ...]:
        """Crawls that its classifier is fitted on."""
        return self.quality.model.fit.crawls if self.quality.model.fit else ()

    @cached_property
    def program(self) -> Program:
        """The compiled filter steps."""
        return Program(self.filter)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        # The program holds functions and is compiled again where it is needed.
        return {**state, "__dict__": {k: v for k, v in state["__dict__"].items() if k != "program"}}

    def filter_config(self) -> dict[str, Any]:
        """The filter steps as JSON, with digests of their lists: what `filtered` depends on.

        Mappings are written as lists of pairs: the order of limits decides the reason of removal, and canonical JSON
        sorts keys.
        """
        steps = [
            {
                key: [list(pair) for pair in value.items()] if isinstance(value, dict) else value
                for key, value in step.model_dump(mode="json").items()
            }
            for step in self.filter
        ]
        lists = {
            words.name: words.digest
            for step in self.filter
            for words in getattr(step, "lists", ())
            if isinstance(words, WordList)
        }
        return {"steps": steps, "lists": lists}

    def digest(self) -> str:
        """SHA-256 of the whole recipe with its lists, for lineage."""
        whole = {**self.model_dump(mode="json"), "lists": self.filter_config()["lists"]}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def override(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with some values replaced, by dotted path: `word_count.min`, `repetition.limits.top_2_gram`,
        `duplicates.threshold`, `quality.keep.share`.

        Raises:
            RecipeError: a path names nothing, or the new value is not allowed there.
        """
        if not values:
            return self
        raw = as_file(self)
        for path, value in values.items():
            _replace(raw, path, value)
        return parse(raw, folder=self.folder, where=f"recipe {self.name!r} with {dict(values)}")


def as_file(recipe: Recipe) -> dict[str, Any]:
    """The recipe as it could stand in a file."""
    raw = recipe.model_dump(mode="json")
    return {**raw, "filter": steps_as_file(raw["filter"])}


def steps_as_file(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Dumped steps as they could stand in a file: lists by their names."""
    return [
        {**step, "lists": [words["name"] for words in step["lists"]]} if "lists" in step else dict(step)
        for step in steps
    ]


def _replace(raw: dict[str, Any], path: str, value: Any) -> None:
    first, *rest = path.split(".")
    steps = {step["name"]: step for step in raw["filter"]}
    roots: dict[str, Any] = {**steps, "duplicates": raw["duplicates"], "quality": raw["quality"]}
    if first not in roots or not rest:
        raise RecipeError(f"override {path!r}: {first!r} names no step with values{nearest(first, roots)}")
    place = roots[first]
    for key in rest[:-1]:
        if not isinstance(place, dict) or not isinstance(place.get(key), dict):
            raise RecipeError(f"override {path!r}: {key!r} holds no values{nearest(key, place)}")
        place = place[key]
    key = rest[-1]
    if key in FIXED_FIELDS:
        raise RecipeError(f"override {path!r}: {key!r} says what the step is; write a recipe of your own to change it")
    if key not in place:
        raise RecipeError(f"override {path!r}: no value {key!r} there{nearest(key, place)}")
    if path.startswith("quality.keep."):
        place.clear()
    place[key] = value


def _parse_step(step: Any, position: int, dialect: str | None, context: Any) -> Step:
    where = f"filter step {position + 1}"
    if isinstance(step, Step):
        return step
    if not isinstance(step, dict) or "rule" not in step:
        raise ValueError(f"{where}: expected a mapping with a `rule`, found {step!r}")
    name = step["rule"]
    if name not in RULES:
        raise ValueError(f"{where}: unknown rule {name!r}{nearest(str(name), RULES)}")
    kind = RULES[name]
    for field in step:
        if field not in kind.model_fields:
            raise ValueError(f"{where} ({name}): unknown field {field!r}{nearest(field, kind.model_fields)}")
    if "dialect" in kind.model_fields:
        step = {"dialect": dialect, **step}
    try:
        return kind.model_validate(step, context=context)
    except ValidationError as error:
        raise ValueError(f"{where} ({name}): {_sentences(error)}") from error


def _sentences(error: ValidationError) -> str:
    """A validation error in one line, place by place."""
    parts: list[str] = []
    for detail in error.errors(include_url=False):
        place = ".".join(str(part) for part in detail["loc"])
        message = str(detail["msg"]).removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = "unknown field"
        parts.append(f"{place}: {message}" if place else message)
    return "; ".join(parts)


def parse(raw: Any, *, folder: Path, where: str) -> Recipe:
    """Build a recipe from the content of a file.

    Args:
        raw: mapping as read from YAML.
        folder: what relative paths of lists, models and positives start from.
        where: file or origin, for errors.

    Raises:
        RecipeError: anything in it is unknown, missing or out of bounds.
    """
    if not isinstance(raw, dict):
        raise RecipeError(f"{where}: a recipe is a mapping, found {type(raw).__name__}")
    known = [name for name in Recipe.model_fields if name != "folder"]
    for field in raw:
        if field not in known:
            raise RecipeError(f"{where}: unknown field {field!r}{nearest(str(field), known)}")
    try:
        return Recipe.model_validate({**raw, "folder": folder}, context={"folder": folder})
    except ValidationError as error:
        raise RecipeError(f"{where}: {_sentences(error)}") from error


def load(path: Path) -> Recipe:
    """Read a recipe file.

    A file may start from a shipped recipe: `extends: dclm_baseline` with a `name` and `set: {quality.keep.share: 0.2}`.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or is not a recipe.
    """
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {error}") from error
    if isinstance(raw, dict) and "extends" in raw:
        return _extend(raw, path)
    return parse(raw, folder=path.parent, where=str(path))


FIXED_FIELDS = ("rule", "name", "dialect")
"""Fields of a step that no override may change: reasons of removal and their order stay those of the recipe."""

EXTENSION_FIELDS = ("name", "version", "title", "extends", "set")


def _extend(raw: dict[str, Any], path: Path) -> Recipe:
    for field in raw:
        if field not in EXTENSION_FIELDS:
            raise RecipeError(f"{path}: unknown field {field!r} beside `extends`{nearest(field, EXTENSION_FIELDS)}")
    base = shipped().get(raw["extends"])
    if base is None:
        raise RecipeError(f"{path}: extends unknown recipe {raw['extends']!r}{nearest(raw['extends'], shipped())}")
    content = as_file(base)
    for field, value in (raw.get("set") or {}).items():
        if field == "quality.model":
            content["quality"]["model"] = value
        else:
            _replace(content, field, value)
    content |= {field: raw[field] for field in ("name", "version", "title") if field in raw}
    if "name" not in raw:
        raise RecipeError(f"{path}: a recipe that extends {base.name!r} needs a `name`; the same one replaces it")
    return parse(content, folder=path.parent, where=str(path))


def shipped() -> dict[str, Recipe]:
    """The recipes of this package, by name."""
    return {recipe.name: recipe for recipe in map(load_cached, sorted(SHIPPED_FOLDER.glob(f"*{SUFFIX}")))}


_CACHE: dict[Path, tuple[int, Recipe]] = {}


def load_cached(path: Path) -> Recipe:
    """As `load`, reading a file again only when it has changed."""
    changed = path.stat().st_mtime_ns
    if path not in _CACHE or _CACHE[path][0] != changed:
        _CACHE[path] = (changed, load(path))
    return _CACHE[path][1]


def available(folder: Path | None) -> dict[str, Recipe]:
    """The shipped recipes and those of a team's folder, by name; a team's recipe replaces a shipped one of its name.

    Raises:
        RecipeError: the folder does not exist, or a file in it is no recipe.
    """
    recipes = shipped()
    if folder is None:
        return recipes
    if not folder.is_dir():
        raise RecipeError(f"recipe folder {folder} does not exist; set CORPUS_RECIPES to a folder of YAML files")
    own = [load_cached(path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    return recipes | {recipe.name: recipe for recipe in own}
