"""Where archive files come from: a directory, an HTTP server or an S3 bucket, all laid out as Common Crawl
lays them out.

Paths in, bytes or a seekable stream out. What the bytes mean is `corpus_dagster.warc`; which files to read is
`corpus_dagster.catalog`.
"""

from __future__ import annotations

import functools
import io
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import HTTPStore, ObjectStore

from corpus_dagster.objects import CLIENT_OPTIONS, Options, open_bucket

T = TypeVar("T")

CHUNK_BYTES = 8 << 20
"""Bytes per request. Common Crawl asks for few, large requests; with one chunk read ahead this holds at most
24 MB."""

ATTEMPTS = 8
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
"""Seconds between attempts: 0.5, 1, 2 and so on to 30, about 90 s in all. No jitter: workers drift apart by
the pages they read, and a fixed schedule can be tested."""

REQUEST_TIMEOUT = "120s"
"""Longest time for one request. A chunk takes seconds on a sound line; a stalled one is asked for again."""

_FINAL = (InvalidPathError, NotSupportedError, PermissionDeniedError, UnauthenticatedError)


class SourceError(OSError):
    """Reading failed after all attempts. The message names source, path and offset."""


class SourceRefusedError(SourceError):
    """There is no such file, or it may not be read: trying again cannot help."""

    retryable = False


@dataclass(frozen=True)
class Source:
    """A tree of files. Frozen and picklable: workers get it and open their own connection at first use.

    Attributes:
        uri: absolute directory, `http(s)://host/prefix` or `s3://bucket/prefix`.
        options: of obstore (`region`, `endpoint`, `access_key_id`, `skip_signature`, `timeout` ...), sorted;
            what is not set is taken from the AWS environment. Kept out of `repr`.
    """

    uri: str
    options: Options = field(default=(), repr=False)

    @classmethod
    def at(cls, uri: str | os.PathLike[str], options: Mapping[str, str] | None = None) -> Source:
        """Address a source.

        Raises:
            ValueError: the scheme is unknown, or the address names no bucket or host.
        """
        address = os.fspath(uri)
        settings = tuple(sorted((options or {}).items()))
        scheme, separator, rest = address.partition("://")
        if not separator or scheme == "file":
            return cls(str(Path(rest if separator else address).expanduser().absolute()))
        if scheme not in ("http", "https", "s3"):
            raise ValueError(f"source {address!r}: expected a directory, http(s)://host or s3://bucket")
        if not rest.strip("/"):
            raise ValueError(f"source {address!r} names no {'bucket' if scheme == 's3' else 'host'}")
        return cls(f"{scheme}://{rest.rstrip('/')}", settings)

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine."""
        return "://" not in self.uri

    @property
    def identity(self) -> str | None:
        """What tells this source from another: its address without user, password and query. None for a directory:
        the same files are the same source on any machine."""
        if self.is_local:
            return None
        parts = urlsplit(self.uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def location(self, path: str) -> str:
        """The full address of a file, for messages."""
        return f"{self.uri}/{path}"

    def read(self, path: str) -> bytes:
        """A whole file; meant for lists of paths.

        Raises:
            SourceError: it cannot be read.
        """
        if self.is_local:
            with self._open_local(path) as file:
                return file.read()
        return self._try(path, 0, lambda store: bytes(obstore.get(store, path).bytes()))

    def size(self, path: str) -> int | None:
        """Bytes of a file where that costs no request; None elsewhere.

        Raises:
            SourceError: a local file is not there.
        """
        if not self.is_local:
            return None
        with self._open_local(path) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, path: str) -> BinaryIO:
        """A seekable binary stream over a file.

        Raises:
            SourceError: it is not there, may not be read, or the source does not answer.
        """
        if self.is_local:
            return self._open_local(path)
        size = self._try(path, 0, lambda store: obstore.head(store, path)["size"])
        return cast(BinaryIO, io.BufferedReader(_RangeReader(self, path, size), 1 << 16))

    def _open_local(self, path: str) -> BinaryIO:
        name = Path(self.uri) / path
        try:
            return open(name, "rb", buffering=1 << 16)
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
            raise SourceRefusedError(f"cannot read {name}: {error.strerror}") from error

    def fetch(self, path: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of a remote file, with retries."""
        return self._try(path, start, lambda store: bytes(obstore.get_range(store, path, start=start, end=end)))

    def _try(self, path: str, offset: int, request: Callable[[ObjectStore], T]) -> T:
        store = _store(self.uri, self.options)
        where = f"{self.location(path)} at byte {offset:,}"
        for attempt in range(ATTEMPTS):
            try:
                return request(store)
            except (NotFoundError, FileNotFoundError) as error:
                raise SourceRefusedError(f"no file {self.location(path)}: {_first_line(error)}") from error
            except _FINAL as error:
                raise SourceRefusedError(
                    f"{where} may not be read: {_first_line(error)}; check the credentials of the source"
                ) from error
            except (BaseError, OSError) as error:
                if attempt + 1 == ATTEMPTS:
                    raise SourceError(
                        f"{where} could not be read in {ATTEMPTS} attempts; the last: {_first_line(error)}"
                    ) from error
                time.sleep(min(FIRST_DELAY * 2**attempt, LONGEST_DELAY))
        raise AssertionError("unreachable: the last attempt returns or raises")


class _RangeReader(io.RawIOBase):
    """Sequential reading in large chunks, the next one fetched while this one is used. At most two requests
    at once, and two only after a seek, while the chunk that is no longer wanted arrives."""

    def __init__(self, source: Source, path: str, size: int) -> None:
        self._source = source
        self._path = path
        self._size = size
        self._position = 0
        self._start = 0
        self._chunk = b""
        self._ahead: tuple[int, Future[bytes]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the start of {self._path}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if not len(view) or self._position >= self._size:
            return 0
        if not self._start <= self._position < self._start + len(self._chunk):
            self._load()
        at = self._position - self._start
        part = self._chunk[at : at + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _load(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == self._position:
            chunk = ahead[1].result()
        else:
            if ahead is not None:
                ahead[1].cancel()
            chunk = self._fetch(self._position)
        if not chunk:
            raise SourceError(
                f"{self._source.location(self._path)} sent nothing at byte {self._position:,} of {self._size:,}"
            )
        self._start, self._chunk = self._position, chunk
        following = self._start + len(chunk)
        if following < self._size:
            self._ahead = (following, self._thread.submit(self._fetch, following))

    def _fetch(self, start: int) -> bytes:
        return self._source.fetch(self._path, start, min(start + CHUNK_BYTES, self._size))

    def close(self) -> None:
        if not self.closed:
            self._ahead = None
            self._chunk = b""
            self._thread.shutdown(wait=False, cancel_futures=True)
        super().close()


@functools.lru_cache(maxsize=16)
def _store(uri: str, options: Options) -> ObjectStore:
    # Retries are ours: obstore's are jittered, and say nothing of the path and the offset.
    retries: Any = {"max_retries": 0}
    if uri.startswith("s3://"):
        return open_bucket(uri, options, client={"timeout": REQUEST_TIMEOUT}, retries=retries)
    client: dict[str, Any] = {"timeout": REQUEST_TIMEOUT, "allow_http": uri.startswith("http://")}
    client |= {name: value for name, value in options if name in CLIENT_OPTIONS}
    return HTTPStore.from_url(uri, client_options=cast(Any, client), retry_config=retries)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
