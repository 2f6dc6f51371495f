"""Rules on URLs: host lists, substrings and words. Lists are data of the recipe; see `WordList`.

Source of the meanings: DCLM's `url_substring_filter` as configured for DCLM-Baseline. One difference, on purpose:
the original strips "www" so that ".host" is left and such hosts never match its list; here a leading "www." is
ignored on both sides.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from corpus_dagster.rules.base import Batch, Check, ColumnName, Rule, Signals, Taken, register
from corpus_dagster.schemas import Column

BUILTIN = "builtin:"
BUILTIN_FOLDER = Path(__file__).resolve().parents[1] / "data" / "urls"

MATCHES = Column("matches", pa.int32(), "distinct entries of the list that match the URL")


class WordList(BaseModel):
    """A list of hosts or words, one a line, `#` starting a comment; `.gz` is unpacked; a folder is its `domains` file.

    `builtin:NAME` is a short list shipped here. Any other name is a path, relative to the recipe's file: the lists of
    UT1 (a folder per category), datatrove and DCLM can be used as they come.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    path: Path = Field(exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        if value.startswith(BUILTIN):
            path = BUILTIN_FOLDER / f"{value.removeprefix(BUILTIN)}.txt"
        else:
            folder = (info.context or {}).get("folder", Path())
            path = Path(folder) / value
        if path.is_dir():
            path /= "domains"
        if not path.is_file():
            raise ValueError(f"list {value!r} is not at {path}; give a path relative to the recipe or builtin:NAME")
        return {"name": value, "path": path}

    @property
    def digest(self) -> str:
        """SHA-256 of the file, for the fingerprint of what it decides."""
        state = self.path.stat()
        return _file_digest(self.path, state.st_mtime_ns, state.st_size)

    def entries(self) -> tuple[str, ...]:
        """The entries, lower-cased, sorted, without comments and repetitions."""
        return _entries(self.path, self.digest)

    def __getstate__(self) -> dict[Any, Any]:
        # A worker must decide by the list that the fingerprint names: the digest goes along and is compared there.
        return {**super().__getstate__(), "digest": self.digest}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        expected = state.pop("digest")
        super().__setstate__(state)
        if self.digest != expected:
            raise ListChangedError(f"list {self.name!r} at {self.path} was changed while a run used it; run again")


Contents = tuple[tuple[Path, str], ...]
"""Files of lists and their digests: what is remembered of lists is forgotten when a file changes."""


class ListChangedError(RuntimeError):
    """A list has other content than the one a run began with."""


@cache
def _file_digest(path: Path, changed: int, size: int) -> str:
    """SHA-256, read again when the file's time or size has changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _entries(path: Path, digest: str) -> tuple[str, ...]:
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ListChangedError(f"list {path} was changed while a run used it; run again")
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    lines = (line.split("#", 1)[0].strip().lower() for line in raw.decode("utf-8", "replace").splitlines())
    return tuple(sorted({line for line in lines if line}))


Lists = Annotated[tuple[WordList, ...], Field(min_length=1)]


def _contents(lists: tuple[WordList, ...]) -> Contents:
    return tuple((words.path, words.digest) for words in lists)


def _all_entries(contents: Contents) -> tuple[str, ...]:
    return tuple(sorted({entry for path, digest in contents for entry in _entries(path, digest)}))


@dataclass(frozen=True)
class UrlMatches:
    """Counts the list entries that a URL matches."""

    name: str
    kind: Literal["host", "substring", "word"]
    lists: tuple[WordList, ...]
    ignored: str = ""
    parents: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The one column of matches."""
        return (MATCHES,)

    def measure(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """Matches per document, int32."""
        match self.kind:
            case "host":
                matches = self._hosts(batch.hosts)
            case "substring":
                matches = self._substrings(batch.urls)
            case "word":
                matches = self._words(batch.urls)
        return {MATCHES.name: matches}

    def _hosts(self, hosts: pl.Series) -> np.ndarray:
        listed = _host_set(_contents(self.lists))
        plain = hosts.str.strip_prefix("www.")
        matched = plain.is_in(listed)
        if self.parents:
            while True:
                plain = plain.str.extract(r"^[^.]+\.(.+)$").fill_null("")
                if not (plain != "").any():
                    break
                matched |= plain.is_in(listed)
        return matched.to_numpy().astype(np.int32)

    def _substrings(self, urls: pl.Series) -> np.ndarray:
        plain = urls.str.to_lowercase()
        for character in self.ignored:
            plain = plain.str.replace_all(character, "", literal=True)
        found = plain.str.extract_many(list(_all_entries(_contents(self.lists))), leftmost=True)
        return found.list.unique().list.len().to_numpy().astype(np.int32)

    def _words(self, urls: pl.Series) -> np.ndarray:
        single, pattern = _word_patterns(_contents(self.lists))
        plain = urls.str.to_lowercase()
        tokens = plain.str.extract_all(r"\w+")
        counts = (
            pl.DataFrame({"row": np.arange(len(plain)), "token": tokens})
            .explode("token")
            .filter(pl.col("token").is_in(single))
            .unique()
            .group_by("row")
            .len()
        )
        matches = np.zeros(len(plain), dtype=np.int32)
        matches[counts["row"].to_numpy()] = counts["len"].to_numpy()
        if pattern is not None:
            matches += np.array([len(set(pattern.findall(url))) for url in plain], dtype=np.int32)
        return matches


@cache
def _host_set(contents: Contents) -> pl.Series:
    return pl.Series([entry.removeprefix("www.") for entry in _all_entries(contents)], dtype=pl.String).implode()


@cache
def _word_patterns(contents: Contents) -> tuple[pl.Series, re.Pattern[str] | None]:
    """Entries that are one run of word characters, and one pattern for the others."""
    entries = _all_entries(contents)
    single = [e for e in entries if re.fullmatch(r"\w+", e)]
    others = sorted((e for e in entries if not re.fullmatch(r"\w+", e)), key=lambda e: (-len(e), e))
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, others))})\b") if others else None
    return pl.Series(single, dtype=pl.String).implode(), pattern


class _UrlRule(Rule):
    gate: ClassVar[bool] = True
    lists: Lists
    max_matches: int = Field(default=0, ge=0, description="more distinct matches than this remove the document")

    def _measure(self) -> UrlMatches:
        raise NotImplementedError

    def measures(self) -> tuple[Taken, ...]:
        return (self._measure(),)

    def checks(self, column: ColumnName) -> tuple[Check, ...]:
        needed = column(self._measure(), MATCHES.name)

        def judge(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
            return signals[needed] > self.max_matches, signals[needed].astype(np.float64)

        return (Check(self.name, (needed,), f"matches <= {self.max_matches}", judge),)


@register("url_hosts")
class UrlHosts(_UrlRule):
    """Removes documents whose host is on a list (exact host; with `parents` any parent domain as well)."""

    parents: bool = Field(default=False, description="an entry also bans its sub-domains")

    def _measure(self) -> UrlMatches:
        return UrlMatches(self.name, "host", self.lists, parents=self.parents)


@register("url_substrings")
class UrlSubstrings(_UrlRule):
    """Removes documents whose URL, lower-cased and without the ignored characters, contains an entry."""

    ignore: str = Field(default="", description="characters taken out of the URL first")

    def _measure(self) -> UrlMatches:
        return UrlMatches(self.name, "substring", self.lists, ignored=self.ignore)


@register("url_words")
class UrlWords(_UrlRule):
    """Removes documents whose URL, lower-cased, contains entries between word boundaries."""

    def _measure(self) -> UrlMatches:
        return UrlMatches(self.name, "word", self.lists)
