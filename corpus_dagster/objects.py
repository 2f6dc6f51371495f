"""Bytes under names, in a directory or an S3 bucket: the one place that knows how each stores them.

Every write appears whole or not at all. What the bytes mean (parts, receipts, manifests) is
`corpus_dagster.lake`.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import io
import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, JoinError
from obstore.store import LocalStore, ObjectStore, S3Store

Options = tuple[tuple[str, str], ...]

TEMPORARY_SUFFIX = ".tmp"
"""With a leading dot, the mark of a local file that is not finished; nothing reads such a name."""

UPLOAD_CHUNK = 16 << 20
"""Bytes per piece of a multipart upload: S3 allows 10,000 pieces, so objects may reach 160 GB."""

UPLOADS_AT_ONCE = 4
"""Pieces in flight per upload; with `UPLOAD_CHUNK` this bounds the memory of a put to 64 MB."""

CLIENT_OPTIONS = frozenset(
    {"allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "proxy_url", "user_agent"}
)
"""Options of the HTTP client; every other option configures S3 itself (obstore's `S3Config`)."""

TRANSIENT_ERRORS: tuple[type[Exception], ...] = (OSError, GenericError, JoinError)
"""What storage raises when trying again may help: not, say, for want of permission."""

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Environment variables that name an S3 endpoint, read when a bucket is opened, not at import."""


class StorageError(ValueError):
    """A lake's address or options cannot be used."""


@dataclass(frozen=True)
class Objects:
    """A flat space of named byte strings below `uri`; names are relative and use `/`.

    `uri` is an absolute directory or `s3://bucket/prefix`. Values are pickled with their address only; the
    store is opened at first use and shared within a process. Credentials in `options` are kept out of `repr`.
    """

    uri: str
    options: Options = field(default=(), repr=False)

    @classmethod
    def at(cls, uri: str | os.PathLike[str], options: Iterable[tuple[str, str]] = ()) -> Objects:
        """Address a directory (made absolute) or `s3://bucket/prefix`.

        Raises:
            StorageError: the address has another scheme or no bucket, or a directory was given options.
        """
        address = os.fspath(uri)
        settings = tuple(sorted((str(k), str(v)) for k, v in options))
        scheme, separator, rest = address.partition("://")
        if not separator:
            scheme, rest = "file", address
        if scheme == "file":
            if settings:
                raise StorageError(
                    f"{address!r} is a directory; it takes no options, but got {[k for k, _ in settings]}"
                )
            return cls(str(Path(rest).expanduser().absolute()))
        if scheme != "s3":
            raise StorageError(f"{address!r}: scheme {scheme!r} is unknown; give a directory or s3://bucket/prefix")
        if not rest.strip("/"):
            raise StorageError(f"{address!r} names no bucket; expected s3://bucket/prefix")
        return cls(f"s3://{rest.strip('/')}", settings)

    @property
    def is_local(self) -> bool:
        """Whether the objects are files of a directory on this machine."""
        return not self.uri.startswith("s3://")

    def location(self, path: str) -> str:
        """Absolute file name or S3 URI of an object, for people and for Polars."""
        return f"{self.uri}/{path}" if path else self.uri

    def read(self, path: str) -> bytes:
        """The object's bytes.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return bytes(obstore.get(self._existing(path), path).bytes())

    def write(self, path: str, content: bytes) -> None:
        """Create or replace an object."""
        with self.stage(path) as staged:
            staged.write(content)
            staged.publish()

    def create(self, path: str, content: bytes) -> bool:
        """Create an object unless it exists; of several writers exactly one gets True.

        On S3 this is a put with `If-None-Match: *`; a store that ignores the condition lets the last one win.
        """
        with self.stage(path) as staged:
            staged.write(content)
            return staged.publish(replace=False)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of every object below the folder `prefix`, by name relative to it; no unfinished files."""
        store = self._store()
        if store is None:
            return {}
        head = f"{prefix}/"
        found: dict[str, int] = {}
        for chunk in obstore.list(store, prefix, chunk_size=1000):
            for entry in chunk:
                name = entry["path"].removeprefix(head)
                if not _is_temporary(name.rpartition("/")[2]):
                    found[name] = entry["size"]
        return found

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below `prefix`, sorted."""
        store = self._store()
        if store is None:
            return []
        listing = obstore.list_with_delimiter(store, prefix)
        return sorted(p.rstrip("/").rpartition("/")[2] for p in listing["common_prefixes"])

    def exists(self, path: str) -> bool:
        """Whether the object exists."""
        store = self._store()
        if store is None:
            return False
        try:
            obstore.head(store, path)
        except FileNotFoundError:
            return False
        return True

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; absent ones are no error. Folders left empty in a directory are removed."""
        store = self._store()
        if store is None:
            return
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(store, path)
            if self.is_local:
                self._remove_empty_folders(path)

    def stage(self, path: str) -> Staged:
        """A new object: write to it, then publish it. Leaving its `with` block discards the rest."""
        return _StagedFile(Path(self.location(path))) if self.is_local else _StagedUpload(self._existing(path), path)

    def open(self, path: str, size: int) -> str | RangeReader:
        """What pyarrow reads the object from: a file name, or a reader of byte ranges."""
        return self.location(path) if self.is_local else RangeReader(self._existing(path), path, size)

    def download(self, path: str, target: Staged) -> None:
        """Copy an object's bytes, in pieces, into one in the making elsewhere."""
        for piece in obstore.get(self._existing(path), path).stream():
            target.write(piece)

    def sweep(self, prefix: str, *, recursive: bool = True) -> int:
        """Remove unfinished files that killed writers left below a folder; returns how many.

        A living writer holds a lock on its unfinished file, so files of a run in progress stay. An object
        store has none to sweep: there, parts are staged in nameless files of the system's temporary
        directory.
        """
        if not self.is_local:
            return 0
        removed = 0
        for folder, below, names in os.walk(self.location(prefix)):
            if not recursive:
                below.clear()
            removed += sum(_remove_if_abandoned(Path(folder, name)) for name in names if _is_temporary(name))
        return removed

    def polars_options(self) -> dict[str, str] | None:
        """The options under the names Polars gives them."""
        if self.is_local:
            return None
        named = {k if k in CLIENT_OPTIONS else _polars_name(k): v for k, v in self.options}
        return _plain_http(self.options) | named

    def _store(self) -> ObjectStore | None:
        """The opened store; None for a directory that nothing was written to yet."""
        if self.is_local and not os.path.isdir(self.uri):
            return None
        return _open_store(self.uri, self.options)

    def _existing(self, path: str) -> ObjectStore:
        store = self._store()
        if store is None:
            raise FileNotFoundError(f"{self.location(path)}: there is no directory {self.uri}")
        return store

    def _remove_empty_folders(self, path: str) -> None:
        folder = Path(self.location(path)).parent
        while folder != Path(self.uri):
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone already
                return
            folder = folder.parent


class Staged(contextlib.AbstractContextManager["Staged"]):
    """An object being written. `size` and `sha256` describe what was written so far.

    It is a binary file as far as pyarrow needs one: sequential writes only.
    """

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, content: bytes | memoryview) -> int:
        """Append bytes."""
        self._hash.update(content)
        self.size += len(content)
        return self._file.write(content)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size

    def flush(self) -> None:
        """Nothing to do before `publish`; pyarrow calls it."""

    def publish(self, *, replace: bool = True) -> bool:
        """Make the object visible under its name, whole. False when it existed and must not be replaced."""
        raise NotImplementedError

    def discard(self) -> None:
        """Forget everything written."""
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.discard()


class _StagedFile(Staged):
    """A file under a temporary name beside its target, locked while its writer lives."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._published = False
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._path = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
            super().__init__(open(self._path, "xb"))  # noqa: SIM115 - closed by discard
            _lock(self._file)
            if os.fstat(self._file.fileno()).st_nlink:
                return
            self._file.close()  # a sweep took it between its creation and its lock

    def publish(self, *, replace: bool = True) -> bool:
        self._file.flush()
        # Without this a power cut can leave a renamed file of the right size and the wrong bytes.
        os.fsync(self._file.fileno())
        if replace:
            os.replace(self._path, self._target)
            self._published = True
            return True
        try:
            os.link(self._path, self._target)
        except FileExistsError:
            return False
        return True

    def discard(self) -> None:
        if not self._published:
            self._path.unlink(missing_ok=True)
        super().discard()


class _StagedUpload(Staged):
    """A nameless local file, put whole into an object store; nothing is left when its writer dies."""

    def __init__(self, store: ObjectStore, path: str) -> None:
        super().__init__(tempfile.TemporaryFile())  # noqa: SIM115 - closed by discard
        self._store = store
        self._path = path

    def publish(self, *, replace: bool = True) -> bool:
        self._file.seek(0)
        try:
            if replace:
                obstore.put(
                    self._store,
                    self._path,
                    self._file,
                    chunk_size=UPLOAD_CHUNK,
                    max_concurrency=UPLOADS_AT_ONCE,
                )
            else:
                obstore.put(self._store, self._path, self._file.read(), mode="create")
        except AlreadyExistsError:
            return False
        return True


class RangeReader(io.RawIOBase):
    """A read-only, seekable file over an object: each read is one request for exactly its bytes."""

    def __init__(self, store: ObjectStore, path: str, size: int) -> None:
        self._store = store
        self._path = path
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position of the next read."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes from the position; all that are left when negative or None."""
        left = self._size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        content = bytes(obstore.get_range(self._store, self._path, start=self._position, length=wanted))
        self._position += len(content)
        return content

    def readall(self) -> bytes:
        """All bytes from the position on."""
        return self.read()


@functools.lru_cache(maxsize=16)
def _open_store(uri: str, options: Options) -> ObjectStore:
    if not uri.startswith("s3://"):
        return LocalStore(uri)
    try:
        return open_bucket(uri, options)
    except (BaseError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise StorageError(f"{uri}: options {sorted(dict(options))} do not open a bucket: {first_line}") from error


def open_bucket(
    uri: str, options: Options, *, client: Mapping[str, Any] | None = None, retries: Mapping[str, Any] | None = None
) -> S3Store:
    """Open `s3://bucket/prefix`; HTTP without TLS is allowed where the endpoint asks for it.

    Args:
        uri: address of the bucket.
        options: of obstore and of its HTTP client.
        client: options of the HTTP client that hold where `options` has none.
        retries: obstore's retry policy; None for its own.

    Raises:
        BaseError: an option is unknown or wrong.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    http = {**(client or {}), **_plain_http(options), **{k: v for k, v in options if k in CLIENT_OPTIONS}}
    config = {k: v for k, v in options if k not in CLIENT_OPTIONS}
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=cast(Any, config),
        client_options=cast(Any, http),
        retry_config=cast(Any, dict(retries) if retries else None),
    )


def _plain_http(options: Options) -> dict[str, str]:
    """Allow HTTP without TLS where an endpoint asks for it by its scheme, as self-hosted stores do."""
    endpoints = [v for k, v in options if k in ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url")]
    endpoints += [os.environ.get(name, "") for name in ENDPOINT_VARIABLES]
    first = next(filter(None, endpoints), "")
    return {"allow_http": "true"} if first.startswith("http://") else {}


def _polars_name(option: str) -> str:
    name = option.removeprefix("aws_")
    return "aws_endpoint_url" if name in ("endpoint", "endpoint_url") else f"aws_{name}"


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def _lock(file: IO[bytes]) -> None:
    """Lock an unfinished file for as long as it is open here; file systems without locks leave it."""
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def _remove_if_abandoned(path: Path) -> bool:
    """Delete an unfinished file unless its writer, who holds its lock, still lives."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # locked by its writer, renamed meanwhile, or on a file system without locks
        return False
    return True
