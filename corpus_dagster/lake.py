"""Sharded datasets: layout, fingerprint, receipts, manifest and CURRENT.

A stage can be killed anywhere and resumed; a reader sees only whole datasets. How bytes reach a directory or a
bucket is `corpus_dagster.objects`; how shards are spread over processes is `corpus_dagster.pool`.

    <lake>/<dataset>/crawl=<crawl>/CURRENT              names the committed fingerprint
    <lake>/<dataset>/crawl=<crawl>/_verdicts/<digest>.json notes that outlive fingerprints
    <lake>/<dataset>/crawl=<crawl>/<fingerprint>/
        part-00000.parquet                              rows of the table `data`, per input shard
        <table>/part-00000.parquet                      rows of any other table
        _shards/00000.json                              receipt, written after its parts
        _timings/00000.json                             duration; outside every digest
        _manifest.json                                  written last, once

A dataset without crawls (a fitted model) leaves out the `crawl=<crawl>` folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus_dagster.objects import Objects, Staged
from corpus_dagster.schemas import TableSchema

if TYPE_CHECKING:
    import polars as pl

MAIN_TABLE = "data"
"""The table whose parts lie directly in the dataset's folder."""

MANIFEST = "_manifest.json"
CURRENT = "CURRENT"
RECEIPTS = "_shards"
TIMINGS = "_timings"
VERDICTS = "_verdicts"

VERDICT_DIGITS = 32
"""Hexadecimal digits of the name of a file of verdicts: 128 bits."""

ROW_GROUP_BYTES = 64 << 20
"""Uncompressed size at which a row group ends: large enough to scan fast, small enough to hold in memory."""

PARQUET_SETTINGS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "version": "2.6",
    "data_page_version": "1.0",
    "data_page_size": 1 << 20,
    "write_batch_size": 1024,
    "use_dictionary": True,
    "write_statistics": True,
    "store_schema": True,
}
"""All that decides the bytes of a part besides its rows and the pyarrow release; a change changes digests."""

SAMPLES = "samples"
"""The only counter key that holds a list; lists are concatenated in the order of shards."""

SAMPLES_KEPT = 20
"""Samples kept per list: enough to look at, too few to weigh on a manifest."""

REQUESTS_AT_ONCE = 32
"""Receipts fetched from an object store at a time: 90,000 of them take minutes, not an hour."""

FINGERPRINT_DIGITS = 16
"""64 bits: names stay short, and two configurations of one dataset do not meet by chance."""

MANIFESTS_REMEMBERED = 64
"""Manifests a process keeps parsed. A worker reads each of its inputs' manifests once, not once per shard."""

_DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_CRAWL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_DIGITS}}}")
_RECEIPT_NAME = re.compile(rf"{RECEIPTS}/(\d+)\.json")


class LakeError(Exception):
    """A dataset is missing, damaged, contradicted or misused; the message says where and what to do."""


@dataclass(frozen=True)
class Identity:
    """All that decides what a dataset holds, besides its name, crawl and tables.

    `config` is plain JSON. `inputs` maps upstream datasets (or source files) to their digests, `models` maps
    model files to theirs.
    """

    code_version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, name: str, crawl: str | None, tables: Mapping[str, TableSchema]) -> str:
        """Sixteen hexadecimal digits: equal exactly when everything that decides the content is equal.

        Raises:
            LakeError: a value is not plain JSON.
        """
        content = {
            "name": name,
            "crawl": crawl,
            "tables": {table: _columns(schema) for table, schema in tables.items()},
            **self.as_json(),
        }
        return _digest(content)[:FINGERPRINT_DIGITS]

    def as_json(self) -> dict[str, Any]:
        """The identity as it stands in a manifest."""
        content = {
            "code_version": self.code_version,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
            "models": dict(self.models),
        }
        _require_json(content, "identity")
        return content


@dataclass(frozen=True)
class Lake:
    """Datasets below a directory or `s3://bucket/prefix`. Cheap, picklable; storage is opened at first use.

    `options` are obstore's S3 options (`endpoint`, `region`, `access_key_id`, `allow_http`, ...); without
    them the machine's own AWS environment and role count.
    """

    uri: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def at(cls, uri: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Lake:
        """The lake at a directory (made absolute) or an S3 address.

        Raises:
            corpus_dagster.objects.StorageError: the address cannot be used.
        """
        objects = Objects.at(uri, (options or {}).items())
        return cls(objects.uri, objects.options)

    @property
    def objects(self) -> Objects:
        """The bytes of the lake."""
        return Objects(self.uri, self.options)

    def current(self, name: str, crawl: str | None) -> Dataset | None:
        """The committed dataset that readers should use, or None.

        Raises:
            LakeError: CURRENT names a dataset whose manifest is absent or unreadable.
        """
        folder = _folder(name, crawl)
        fingerprint = self._current_fingerprint(folder)
        if fingerprint is None:
            return None
        dataset = Dataset(self, name, crawl, fingerprint)
        if _read_manifest(dataset) is None:
            raise LakeError(
                f"{self.objects.location(folder)}/{CURRENT} names {fingerprint}, which has no {MANIFEST}; "
                f"materialise {name!r} again, or delete {CURRENT}"
            )
        return dataset

    def require(self, name: str, crawl: str | None) -> Dataset:
        """The current dataset.

        Raises:
            LakeError: there is none yet; the message names the command that makes it.
        """
        dataset = self.current(name, crawl)
        if dataset is None:
            partition = f" --partition {crawl}" if crawl else ""
            of_crawl = f" of crawl {crawl}" if crawl else ""
            raise LakeError(
                f"dataset {name!r}{of_crawl} is not in the lake {self.uri}; make it with "
                f"`dg launch --assets {name}{partition}`"
            )
        return dataset

    def begin(self, name: str, crawl: str | None, *, identity: Identity, tables: Mapping[str, TableSchema]) -> Build:
        """Start, resume or recognise the dataset of this identity; sweeps up what killed runs left."""
        for table in tables:
            if not _TABLE_NAME.fullmatch(table):
                raise LakeError(f"dataset {name!r}: table name {table!r} does not match {_TABLE_NAME.pattern}")
        folder = _folder(name, crawl)
        build = Build(self, name, crawl, identity.fingerprint(name, crawl, tables), identity, dict(tables))
        self.objects.sweep(f"{folder}/{build.fingerprint}")
        self.objects.sweep(f"{folder}/{VERDICTS}")
        self.objects.sweep(folder, recursive=False)
        return build

    def crawls(self, name: str) -> list[str]:
        """Crawls of which the dataset is committed, sorted."""
        folders = self.objects.folders(_folder(name, None))
        crawls = [f.removeprefix("crawl=") for f in folders if f.startswith("crawl=")]
        return sorted(c for c in crawls if self.objects.exists(f"{_folder(name, c)}/{CURRENT}"))

    def prune(self, name: str, crawl: str | None, *, keep: Collection[str] = (), dry_run: bool = True) -> list[str]:
        """Delete superseded versions of a dataset: every fingerprint but CURRENT's and those in `keep`.

        Unfinished versions go too, so run it while nothing writes or reads older versions. Returns the
        fingerprints it deletes; with `dry_run`, the default, only names them.

        Raises:
            LakeError: nothing is committed, so there is nothing to tell old versions from.
        """
        folder = _folder(name, crawl)
        kept = self._current_fingerprint(folder)
        if kept is None:
            raise LakeError(
                f"{self.objects.location(folder)} has no {CURRENT}: no version is committed, none is pruned"
            )
        doomed = [f for f in self.objects.folders(folder) if _FINGERPRINT.fullmatch(f) and f != kept and f not in keep]
        if not dry_run:
            for fingerprint in doomed:
                below = f"{folder}/{fingerprint}"
                # The manifest first: what is half deleted must not look committed.
                self.objects.delete([f"{below}/{MANIFEST}"])
                self.objects.delete(f"{below}/{path}" for path in self.objects.sizes(below))
        return doomed

    def _current_fingerprint(self, folder: str) -> str | None:
        path = f"{folder}/{CURRENT}"
        try:
            fingerprint = self.objects.read(path).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise LakeError(
                f"{self.objects.location(path)} holds {fingerprint[:40]!r}, expected a fingerprint of "
                f"{FINGERPRINT_DIGITS} hexadecimal digits; delete it and materialise the dataset again"
            )
        return fingerprint


@dataclass(frozen=True)
class Build:
    """One dataset being made, under its fingerprint. Picklable: workers get it and write shards."""

    lake: Lake
    name: str
    crawl: str | None
    fingerprint: str
    identity: Identity = field(repr=False)
    tables: dict[str, TableSchema] = field(repr=False)

    @property
    def path(self) -> str:
        """Folder of this fingerprint, relative to the lake."""
        return f"{_folder(self.name, self.crawl)}/{self.fingerprint}"

    @property
    def uri(self) -> str:
        """Folder of this fingerprint."""
        return self.lake.objects.location(self.path)

    def committed(self) -> Dataset | None:
        """The dataset, made CURRENT, when it is committed and all its parts are there; else None.

        A committed dataset that lost parts counts as unfinished: its shards are done again, to the same
        bytes.

        Raises:
            LakeError: the manifest cannot be read.
        """
        dataset = Dataset(self.lake, self.name, self.crawl, self.fingerprint)
        manifest = _read_manifest(dataset)
        if manifest is None:
            return None
        sizes = self.lake.objects.sizes(self.path)
        if any(_damage(entry, sizes) for entry in manifest.content["parts"]):
            return None
        self._point_current()
        return dataset

    def finished(self) -> frozenset[int]:
        """Shards that need no work: their receipt is sound and every part it names has the size it says."""
        sizes = self.lake.objects.sizes(self.path)
        numbers = [int(m[1]) for m in map(_RECEIPT_NAME.fullmatch, sizes) if m]
        receipts = self._receipts(numbers)
        return frozenset(n for n, receipt in receipts.items() if receipt and not _damage(receipt, sizes))

    def shard(self, number: int) -> ShardWriter:
        """A writer for one shard, to be used in a `with` block."""
        if number < 0:
            raise LakeError(f"{self.name}: shard number {number} is negative")
        return ShardWriter(self, number)

    def commit(self, shards: Collection[int]) -> Dataset:
        """Write the manifest over exactly these shards and make the dataset CURRENT. Doing it again changes
        nothing.

        Raises:
            LakeError: a receipt or a part is missing or damaged; or another writer committed other content
            under
                this fingerprint.
        """
        numbers = sorted(set(shards))
        sizes = self.lake.objects.sizes(self.path)
        receipts = self._receipts(numbers)
        problems: list[str] = []
        for number in numbers:
            receipt = receipts[number]
            problem = _damage(receipt, sizes) if receipt else "no sound receipt"
            if problem:
                problems.append(f"shard {number}: {problem}")
        if problems:
            more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
            raise LakeError(
                f"{self.uri} cannot be committed: {'; '.join(problems[:10])}{more}. Run the stage again: "
                "finished shards are kept, these are done again"
            )
        content = self._manifest([receipt for n in numbers if (receipt := receipts[n])])
        dataset = Dataset(self.lake, self.name, self.crawl, self.fingerprint)
        if _read_manifest(dataset) is None:
            self.lake.objects.create(f"{self.path}/{MANIFEST}", _json_bytes(content))
        manifest = _read_manifest(dataset)
        if manifest is None:
            raise LakeError(f"{self.uri}/{MANIFEST} vanished while it was committed; run the stage again")
        if manifest.content["digest"] != content["digest"]:
            raise LakeError(
                f"{self.uri}/{MANIFEST} is committed with digest {manifest.content['digest']} over "
                f"{len(manifest.content['parts'])} shards, but this run made {content['digest']} over "
                f"{len(numbers)} shards from the same configuration, code and inputs. Either the two runs "
                "were given other shards, which belong in the configuration, or the stage is not "
                "deterministic; the first commit stands"
            )
        self._point_current()
        return dataset

    def verdicts(self, about: str) -> dict[str, str]:
        """Reasons recorded for single records, by record; they outlive fingerprints.

        Args:
            about: what the records belong to and what was tried with them, such as a file's path and an extractor;
                notes about anything else are never returned.

        Raises:
            LakeError: the notes cannot be read.
        """
        path = self._verdict_path(about)
        try:
            content = self.lake.objects.read(path)
        except FileNotFoundError:
            return {}
        reasons = (_parse(content) or {}).get("reasons")
        if not isinstance(reasons, dict) or not all(isinstance(v, str) for v in reasons.values()):
            raise LakeError(
                f"{self.lake.objects.location(path)} holds no JSON object of reasons; delete it, and the "
                "guards decide anew for the records of this file"
            )
        return reasons

    def record_verdict(self, about: str, record: str, reason: str) -> None:
        """Note durably that a record was given up, and why. The first reason stands; one writer per `about`."""
        reasons = self.verdicts(about)
        if record not in reasons:
            reasons[record] = reason
            notes = {"about": about, "reasons": reasons}
            self.lake.objects.write(self._verdict_path(about), _json_bytes(notes, indent=1))

    def _verdict_path(self, about: str) -> str:
        name = hashlib.sha256(about.encode()).hexdigest()[:VERDICT_DIGITS]
        return f"{_folder(self.name, self.crawl)}/{VERDICTS}/{name}.json"

    def _point_current(self) -> None:
        path = f"{_folder(self.name, self.crawl)}/{CURRENT}"
        content = f"{self.fingerprint}\n".encode()
        with contextlib.suppress(FileNotFoundError):
            if self.lake.objects.read(path) == content:
                return
        self.lake.objects.write(path, content)

    def _receipts(self, numbers: Sequence[int]) -> dict[int, dict[str, Any] | None]:
        """Receipts by shard; None where there is none or it is not one of this dataset."""
        contents = _read_many(self.lake.objects, [f"{self.path}/{_receipt_path(n)}" for n in numbers])
        found: dict[int, dict[str, Any] | None] = {}
        for number, content in zip(numbers, contents, strict=True):
            receipt = None if content is None else _parse(content)
            sound = (
                receipt is not None
                and receipt.get("shard") == number
                and receipt.get("fingerprint") == self.fingerprint
                and isinstance(receipt.get("tables"), dict)
                and receipt["tables"].keys() == self.tables.keys()
                and isinstance(receipt.get("files"), dict)
                and isinstance(receipt.get("counters"), dict)
            )
            found[number] = receipt if sound else None
        return found

    def _manifest(self, receipts: Iterable[dict[str, Any]]) -> dict[str, Any]:
        totals: dict[str, Any] = {}
        parts: list[dict[str, Any]] = []
        owners: dict[str, int] = {}
        for receipt in receipts:
            for name in receipt["files"]:
                if owners.setdefault(name, receipt["shard"]) != receipt["shard"]:
                    raise LakeError(
                        f"{self.uri}: shards {owners[name]} and {receipt['shard']} both wrote the file "
                        f"{name!r}; give files of different shards different names"
                    )
            _add_counters(totals, receipt["counters"], where=f"{self.uri} shard {receipt['shard']}")
            parts.append({key: receipt[key] for key in ("shard", "tables", "files")})
        return {
            "name": self.name,
            "crawl": self.crawl,
            "fingerprint": self.fingerprint,
            "identity": self.identity.as_json(),
            "tables": {table: _columns(schema, described=True) for table, schema in self.tables.items()},
            "parts": parts,
            "totals": totals,
            "digest": _content_digest(
                {table: _columns(schema) for table, schema in self.tables.items()}, parts, totals
            ),
        }


class ShardWriter(contextlib.AbstractContextManager["ShardWriter"]):
    """Writes the parts, files and receipt of one shard; all or nothing.

    Leaving the `with` block without an exception publishes the parts, then the receipt. With one, nothing
    that was written remains. `counters` is a nested dictionary of integers, summed key by key over shards; a
    list may stand under the key `samples` alone.
    """

    def __init__(self, build: Build, number: int) -> None:
        self.build = build
        self.number = number
        self.counters: dict[str, Any] = {}
        self._parts: dict[str, _PartWriter] = {}
        self._files: dict[str, Staged] = {}
        self._seconds: float | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> ShardWriter:
        with contextlib.ExitStack() as stack:
            # Every table gets its part, if without rows: readers then need not ask which exist.
            for table, schema in self.build.tables.items():
                path = f"{self.build.path}/{_part_path(table, self.number)}"
                staged = stack.enter_context(self.build.lake.objects.stage(path))
                self._parts[table] = _PartWriter(staged, schema)
            self._stack = stack.pop_all()
        return self

    def write(self, batch: pa.RecordBatch | pa.Table, table: str = MAIN_TABLE) -> None:
        """Append rows to a table. How rows are cut into batches does not change the bytes of the part.

        Raises:
            corpus_dagster.schemas.SchemaError: the columns are not those of the table's schema.
            LakeError: the dataset has no such table.
        """
        if table not in self._parts:
            raise LakeError(f"{self.build.name}: no table {table!r}; it has {sorted(self.build.tables)}")
        self._parts[table].write(batch)

    def count(self, path: str | tuple[str, ...], n: SupportsIndex = 1) -> None:
        """Add to a counter: a key, or a tuple of keys from the outermost inwards."""
        *above, last = (path,) if isinstance(path, str) else path
        counters = self.counters
        for key in above:
            counters = counters.setdefault(key, {})
        counters[last] = counters.get(last, 0) + operator.index(n)

    def put_file(self, name: str, local_path: str | os.PathLike[str]) -> None:
        """Add a file (a model, say) to the dataset under a plain name; `Dataset.file` gives it back."""
        if not _CRAWL_NAME.fullmatch(name) or name == CURRENT or name.startswith("part-"):
            raise LakeError(
                f"{self.build.name}: {name!r} is no name for a file of a dataset; use letters, digits, . _ -"
            )
        if name in self._files:
            raise LakeError(f"{self.build.name} shard {self.number}: file {name!r} is put twice")
        staged = self._stack.enter_context(self.build.lake.objects.stage(f"{self.build.path}/{name}"))
        with open(local_path, "rb") as source:
            shutil.copyfileobj(source, staged, 1 << 20)
        self._files[name] = staged

    def note_seconds(self, seconds: float) -> None:
        """Keep how long the shard took, beside the data and outside every digest."""
        self._seconds = seconds

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            try:
                if exc_type is None:
                    self._publish()
            finally:
                for part in self._parts.values():
                    part.close()

    def _publish(self) -> None:
        where = f"{self.build.name} shard {self.number}"
        counters: dict[str, Any] = {}
        _add_counters(counters, self.counters, where=where)
        receipt = {
            "shard": self.number,
            "fingerprint": self.build.fingerprint,
            "tables": {
                table: {"file": _part_path(table, self.number), **part.finish()} for table, part in self._parts.items()
            },
            "files": {name: {"bytes": s.size, "sha256": s.sha256} for name, s in self._files.items()},
            "counters": counters,
        }
        self._refuse_other_bytes(receipt)
        for part in self._parts.values():
            part.staged.publish()
        for staged in self._files.values():
            staged.publish()
        objects = self.build.lake.objects
        objects.write(f"{self.build.path}/{_receipt_path(self.number)}", _json_bytes(receipt, indent=1))
        if self._seconds is not None:
            timing = _json_bytes({"seconds": round(self._seconds, 3)})
            objects.write(f"{self.build.path}/{_timing_path(self.number)}", timing)

    def _refuse_other_bytes(self, receipt: dict[str, Any]) -> None:
        """Keep committed parts from being replaced by others: a repair must come to the same bytes.

        Raises:
            LakeError: the shard is committed with other bytes.
        """
        build = self.build
        manifest = _read_manifest(Dataset(build.lake, build.name, build.crawl, build.fingerprint))
        entry = manifest.parts.get(self.number) if manifest else None
        if entry is not None and _hashes(entry) != _hashes(receipt):
            raise LakeError(
                f"{build.uri}: shard {self.number} is committed, and now came out with other bytes from the "
                "same configuration, code and inputs: the stage is not deterministic, or its code changed "
                "without its code version; the committed parts stay"
            )


@dataclass(frozen=True)
class PartFile:
    """One Parquet file of a committed dataset."""

    shard: int
    table: str
    path: str
    uri: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A committed dataset: immutable, read only through its manifest.

    Pickles as an address and reads its manifest at first use, so it may stand in the description of every
    task.
    """

    lake: Lake
    name: str
    crawl: str | None
    fingerprint: str

    @property
    def path(self) -> str:
        """Folder of the dataset, relative to the lake."""
        return f"{_folder(self.name, self.crawl)}/{self.fingerprint}"

    @property
    def uri(self) -> str:
        """Folder of the dataset."""
        return self.lake.objects.location(self.path)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest: identity, tables, parts, totals and digest. Not to be changed."""
        return self._loaded.content

    @property
    def digest(self) -> str:
        """SHA-256 over the content alone: configuration that changed nothing does not change it."""
        return self.manifest["digest"]

    @property
    def totals(self) -> dict[str, Any]:
        """Counters summed over the receipts of all shards. Not to be changed."""
        return self.manifest["totals"]

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards, ascending."""
        return list(self._loaded.parts)

    @property
    def tables(self) -> list[str]:
        """Names of the tables, sorted."""
        return sorted(self.manifest["tables"])

    @property
    def files(self) -> list[str]:
        """Names of the files beside the tables, sorted."""
        return sorted(self._loaded.files)

    @property
    def bytes(self) -> int:
        """Size of all parts and files as stored."""
        parts = sum(p["bytes"] for entry in self._loaded.parts.values() for p in entry["tables"].values())
        return parts + sum(f["bytes"] for f in self._loaded.files.values())

    def rows(self, table: str = MAIN_TABLE) -> int:
        """Rows of a table."""
        self._require_table(table)
        return sum(entry["tables"][table]["rows"] for entry in self._loaded.parts.values())

    def seconds(self) -> float:
        """Working time of all shards together, as far as it was noted."""
        paths = [f"{self.path}/{_timing_path(n)}" for n in self.shards]
        timings = [_parse(content) for content in _read_many(self.lake.objects, paths) if content is not None]
        return sum(float(timing["seconds"]) for timing in timings if timing)

    def conforms(self, schema: TableSchema, table: str = MAIN_TABLE) -> bool:
        """Whether the table has exactly the columns of a schema: names, order, types and nullability."""
        self._require_table(table)
        written = [{key: c[key] for key in ("name", "type", "nullable")} for c in self.manifest["tables"][table]]
        return written == _columns(schema)

    def part(self, shard: int, table: str = MAIN_TABLE) -> PartFile:
        """The Parquet file of a shard.

        Raises:
            LakeError: the dataset has no such shard or table.
        """
        self._require_table(table)
        entry = self._loaded.parts.get(shard)
        if entry is None:
            raise LakeError(f"{self.uri} has no shard {shard}; its {len(self.shards)} shards begin {self.shards[:10]}")
        part = entry["tables"][table]
        path = f"{self.path}/{part['file']}"
        return PartFile(
            shard, table, path, self.lake.objects.location(path), part["rows"], part["bytes"], part["sha256"]
        )

    def read(self, shard: int, table: str = MAIN_TABLE, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a shard, with the columns in the order asked for."""
        with self._open(self.part(shard, table), columns) as file:
            return _select(file.read(columns=_names(columns), use_threads=False), columns)

    def batches(
        self,
        shard: int,
        table: str = MAIN_TABLE,
        columns: Sequence[str] | None = None,
        batch_rows: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a shard, row group by row group, so that memory stays at about one (64 MB of values).

        A batch is a whole row group, or at most `batch_rows` rows of one. A part without rows yields nothing.
        """
        with self._open(self.part(shard, table), columns) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=_names(columns), use_threads=False)
                yield from _select(rows, columns).combine_chunks().to_batches(max_chunksize=batch_rows)

    def scan(self, table: str = MAIN_TABLE) -> pl.LazyFrame:
        """A lazy Polars frame over the table's parts, in the order of shards."""
        import polars as pl

        parts = [self.part(shard, table).uri for shard in self.shards]
        if not parts:
            schema = pa.schema([(c["name"], _arrow_type(c["type"])) for c in self.manifest["tables"][table]])
            return pl.LazyFrame(pl.from_arrow(schema.empty_table()))
        return pl.scan_parquet(
            parts, glob=False, hive_partitioning=False, storage_options=self.lake.objects.polars_options()
        )

    def file(self, name: str) -> Path:
        """A local path of a file of the dataset; a remote one is fetched once, into the user's cache folder.

        Raises:
            LakeError: there is no such file, or what was fetched is not what was committed.
        """
        entry = self._loaded.files.get(name)
        if entry is None:
            raise LakeError(f"{self.uri} has no file {name!r}; it has {self.files}")
        path = f"{self.path}/{name}"
        objects = self.lake.objects
        if objects.is_local:
            return Path(objects.location(path))
        cache = Objects.at(_cache_folder())
        cached = f"{entry['sha256']}/{name}"
        target = Path(cache.location(cached))
        if not target.is_file() or target.stat().st_size != entry["bytes"]:
            cache.sweep(entry["sha256"])
            with cache.stage(cached) as staged:
                objects.download(path, staged)
                if staged.sha256 != entry["sha256"]:
                    raise LakeError(
                        f"{objects.location(path)} has sha256 {staged.sha256}, but was committed with "
                        f"{entry['sha256']}; materialise {self.name!r} again"
                    )
                staged.publish()
        return target

    def _open(self, part: PartFile, columns: Sequence[str] | None) -> pq.ParquetFile:
        known = [c["name"] for c in self.manifest["tables"][part.table]]
        if unknown := [c for c in columns or () if c not in known]:
            raise LakeError(f"{self.uri}: table {part.table!r} has no columns {unknown}; it has {known}")
        try:
            file = pq.ParquetFile(self.lake.objects.open(part.path, part.bytes), pre_buffer=True)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise LakeError(
                f"{part.uri} cannot be read ({error}); the dataset was damaged after its commit: materialise "
                f"{self.name!r} again, and only what is damaged is redone"
            ) from error
        if file.metadata.num_rows != part.rows:
            file.close()
            raise LakeError(
                f"{part.uri} has {file.metadata.num_rows} rows, its manifest says {part.rows}; it was "
                f"changed after its commit: delete it and materialise {self.name!r} again"
            )
        return file

    def _require_table(self, table: str) -> None:
        if table not in self.manifest["tables"]:
            raise LakeError(f"{self.uri} has no table {table!r}; it has {self.tables}")

    @property
    def _loaded(self) -> _Manifest:
        manifest = _MANIFESTS.get(self) or _read_manifest(self)
        if manifest is None:
            raise LakeError(f"{self.uri} has no {MANIFEST}: the dataset was deleted after it was resolved")
        return manifest


class _Manifest:
    """A parsed manifest with its look-ups."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    @cached_property
    def parts(self) -> dict[int, dict[str, Any]]:
        return {entry["shard"]: entry for entry in self.content["parts"]}

    @cached_property
    def files(self) -> dict[str, dict[str, Any]]:
        return {name: file for entry in self.content["parts"] for name, file in entry["files"].items()}


_MANIFESTS: dict[Dataset, _Manifest] = {}
"""Manifests read by this process, oldest first. They never change once written."""


def _read_manifest(dataset: Dataset) -> _Manifest | None:
    """Read and remember a manifest; None when there is none.

    Raises:
        LakeError: it is not whole: not JSON, of another dataset, or its digest does not fit its content.
    """
    path = f"{dataset.path}/{MANIFEST}"
    objects = dataset.lake.objects
    try:
        content = _parse(objects.read(path))
    except FileNotFoundError:
        _MANIFESTS.pop(dataset, None)
        return None
    problem = "it is not a JSON object" if content is None else _manifest_problem(content, dataset)
    if content is None or problem:
        raise LakeError(
            f"{objects.location(path)} is damaged: {problem}. Delete it and materialise {dataset.name!r} "
            "again: finished shards are kept"
        )
    manifest = _Manifest(content)
    while len(_MANIFESTS) >= MANIFESTS_REMEMBERED:
        _MANIFESTS.pop(next(iter(_MANIFESTS)), None)
    _MANIFESTS[dataset] = manifest
    return manifest


def _manifest_problem(content: dict[str, Any], dataset: Dataset) -> str | None:
    missing = {"name", "crawl", "fingerprint", "tables", "parts", "totals", "digest"} - content.keys()
    if missing:
        return f"it lacks {sorted(missing)}"
    if (content["name"], content["crawl"], content["fingerprint"]) != (
        dataset.name,
        dataset.crawl,
        dataset.fingerprint,
    ):
        return f"it describes {content['name']!r} {content['crawl']} {content['fingerprint']}"
    tables = {
        table: [{key: c[key] for key in ("name", "type", "nullable")} for c in columns]
        for table, columns in content["tables"].items()
    }
    if _content_digest(tables, content["parts"], content["totals"]) != content["digest"]:
        return "its digest does not fit its content"
    return None


class _PartWriter:
    """Cuts rows into row groups and encodes them. The bytes depend on the rows, not on their batches."""

    def __init__(self, staged: Staged, schema: TableSchema) -> None:
        self.staged = staged
        self._schema = schema
        self._writer = pq.ParquetWriter(staged, schema.arrow, **PARQUET_SETTINGS)
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._rows = 0

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        table = self._schema.conform(batch)
        self._rows += table.num_rows
        ends = np.cumsum(row_bytes(table)) + self._pending_bytes
        start = 0
        while start < table.num_rows:
            stop = int(np.searchsorted(ends, ROW_GROUP_BYTES)) + 1
            self._pending.append(table.slice(start, stop - start))
            if stop > table.num_rows:
                self._pending_bytes = int(ends[-1])
                return
            self._write_row_group()
            ends -= ends[stop - 1]
            start = stop

    def finish(self) -> dict[str, Any]:
        """Encode what is left; returns rows, bytes and sha256 of the part."""
        if self._pending:
            self._write_row_group()
        self._writer.close()
        return {"rows": self._rows, "bytes": self.staged.size, "sha256": self.staged.sha256}

    def close(self) -> None:
        """Let go of the encoder, which else writes its footer when it is collected, to a file closed by then."""
        with contextlib.suppress(OSError):
            self._writer.close()

    def _write_row_group(self) -> None:
        # One chunk, because the encoder ends data pages where chunks end.
        rows = pa.concat_tables(self._pending).combine_chunks()
        self._pending = []
        self._pending_bytes = 0
        self._writer.write_table(rows, row_group_size=rows.num_rows)


def row_bytes(table: pa.Table) -> np.ndarray:
    """Size of each row's values, int64[rows]: byte lengths of strings plus the width of everything else.

    A measure for cutting row groups: it is a function of the rows, whatever batches and buffers hold them.
    """
    sizes = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            lengths = pc.fill_null(pc.binary_length(column), 0)  # pyright: ignore[reportAttributeAccessIssue]
            sizes += lengths.to_numpy().astype(np.int64, copy=False)
        elif pa.types.is_list(kind):
            lengths = pc.fill_null(pc.list_value_length(column), 0)  # pyright: ignore[reportAttributeAccessIssue]
            sizes += lengths.to_numpy().astype(np.int64, copy=False) * _width(kind.value_type)
        else:
            sizes += _width(kind)
    return sizes


def _width(kind: pa.DataType) -> int:
    """Bytes of a value of fixed width; 8 for others, which the schemas of the lake do not nest."""
    return max(1, kind.bit_width // 8) if pa.types.is_primitive(kind) or pa.types.is_fixed_size_binary(kind) else 8


def _folder(name: str, crawl: str | None) -> str:
    """Folder of a dataset relative to the lake.

    Raises:
        LakeError: the name or crawl cannot be part of a path.
    """
    if not _DATASET_NAME.fullmatch(name):
        raise LakeError(f"dataset name {name!r} does not match {_DATASET_NAME.pattern}")
    if crawl is None:
        return name
    if not _CRAWL_NAME.fullmatch(crawl):
        raise LakeError(f"crawl name {crawl!r} of dataset {name!r} does not match {_CRAWL_NAME.pattern}")
    return f"{name}/crawl={crawl}"


def _part_path(table: str, shard: int) -> str:
    name = f"part-{shard:05d}.parquet"
    return name if table == MAIN_TABLE else f"{table}/{name}"


def _receipt_path(shard: int) -> str:
    return f"{RECEIPTS}/{shard:05d}.json"


def _timing_path(shard: int) -> str:
    return f"{TIMINGS}/{shard:05d}.json"


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "corpus-dagster"


def _names(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _select(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """The columns in the order asked for; Parquet readers keep that of the file."""
    return table if columns is None else table.select(list(columns))


def _columns(schema: TableSchema, *, described: bool = False) -> list[dict[str, Any]]:
    """The columns of a table as JSON."""
    return [
        {"name": c.name, "type": str(c.type), "nullable": c.nullable}
        | ({"description": c.description} if described else {})
        for c in schema.columns
    ]


def _damage(entry: Mapping[str, Any], sizes: Mapping[str, int]) -> str | None:
    """What is wrong with the stored parts of a receipt or manifest entry, judged by their sizes."""
    expected = {part["file"]: part["bytes"] for part in entry["tables"].values()}
    expected |= {name: file["bytes"] for name, file in entry["files"].items()}
    for name, size in sorted(expected.items()):
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != size:
            return f"{name} has {sizes[name]} bytes, its receipt says {size}"
    return None


def _content_digest(tables: Mapping[str, Any], parts: Iterable[Mapping[str, Any]], totals: Mapping[str, Any]) -> str:
    return _digest({"tables": tables, "parts": [_hashes(entry) for entry in parts], "totals": totals})


def _hashes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a receipt or an entry of a manifest says about content alone."""
    return {
        "shard": entry["shard"],
        "tables": {table: part["sha256"] for table, part in entry["tables"].items()},
        "files": {name: file["sha256"] for name, file in entry["files"].items()},
    }


def _add_counters(totals: dict[str, Any], counters: Mapping[str, Any], *, where: str, above: str = "") -> None:
    """Add nested counters to totals.

    Raises:
        LakeError: a value is neither an integer nor a dictionary of such, or a key is both.
    """
    for key, value in counters.items():
        path = f"{above}{key}"
        if not isinstance(key, str):
            raise LakeError(f"{where}: counter key {path!r} is {type(key).__name__}, expected text")
        if isinstance(value, Mapping):
            below = totals.setdefault(key, {})
            if not isinstance(below, dict):
                raise LakeError(f"{where}: counter {path!r} is a dictionary here and a number elsewhere")
            _add_counters(below, value, where=where, above=f"{path}/")
        elif key == SAMPLES and isinstance(value, list | tuple):
            _require_json(value, f"{where}: counter {path}")
            kept = totals.setdefault(key, [])
            kept.extend(value[: SAMPLES_KEPT - len(kept)])
        else:
            try:
                number = operator.index(value)
            except TypeError:
                raise LakeError(
                    f"{where}: counter {path!r} is {type(value).__name__}, expected an integer (sums of "
                    f"other numbers depend on their order) or, under the key {SAMPLES!r}, a list"
                ) from None
            so_far = totals.setdefault(key, 0)
            if not isinstance(so_far, int):
                raise LakeError(f"{where}: counter {path!r} is a number here and a dictionary or list elsewhere")
            totals[key] = so_far + number


def _require_json(value: Any, where: str) -> None:
    """Refuse what JSON would turn into something else, such as keys that are not text.

    Raises:
        LakeError: naming the place of the value.
    """
    if isinstance(value, Mapping):
        for key, below in value.items():
            if not isinstance(key, str):
                raise LakeError(f"{where}: key {key!r} is {type(key).__name__}, expected text")
            _require_json(below, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for position, below in enumerate(value):
            _require_json(below, f"{where}[{position}]")
    elif isinstance(value, float) and not np.isfinite(value):
        raise LakeError(f"{where} is {value}, which JSON cannot hold")
    elif not (value is None or type(value) in (bool, int, float, str)):
        raise LakeError(f"{where} is {type(value).__name__}, expected plain JSON: text, number, true, false, null")


def _json_bytes(value: Any, *, indent: int | None = None) -> bytes:
    """Canonical JSON: sorted keys, one form per value."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, sort_keys=True, indent=indent, separators=separators, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass") + (b"" if indent is None else b"\n")


def _digest(value: Any) -> str:
    return hashlib.sha256(_json_bytes(value)).hexdigest()


def _parse(content: bytes) -> dict[str, Any] | None:
    """The JSON object in these bytes; None when they hold anything else."""
    try:
        value = json.loads(content.decode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_many(objects: Objects, paths: Sequence[str]) -> list[bytes | None]:
    """Contents in the order of the paths, None for absent ones; an object store is asked side by side."""

    def read(path: str) -> bytes | None:
        try:
            return objects.read(path)
        except FileNotFoundError:
            return None

    if objects.is_local or len(paths) < 2:
        return [read(path) for path in paths]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        return list(threads.map(read, paths))


def _arrow_type(name: str) -> pa.DataType:
    """The Arrow type of its own text, for the types the schemas of the lake use."""
    if match := re.fullmatch(r"timestamp\[(\w+), tz=(\S+)\]", name):
        return pa.timestamp(match[1], tz=match[2])
    if match := re.fullmatch(r"fixed_size_binary\[(\d+)\]", name):
        return pa.binary(int(match[1]))
    return pa.type_for_alias(name)
