"""Crawls and their files: the shipped, ordered list of Common Crawl's crawls, and the choice of files of one crawl.

Knows names and listings as bytes. Fetching them is `corpus_dagster.source`, reading archives `corpus_dagster.warc`.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

import xxhash

from corpus_dagster import sample

COLUMNS = ("crawl", "pages")
"""Header of a catalogue file."""

COLLINFO_URL = "https://index.commoncrawl.org/collinfo.json"
"""Common Crawl's own list of its crawls, newest first."""

MAX_LISTING = 1 << 28
"""Longest listing of paths, in bytes unpacked; 100,000 paths of a large crawl take 14 MB."""

ArchiveKind = Literal["warc", "wet"]
"""What a crawl's files hold: pages, or text taken from them by the crawl's owner."""

# CC-MAIN-2024-10 by year and week; CC-MAIN-2008-2009 and CC-MAIN-2012 before there were weeks in the names.
_COMMON_CRAWL = re.compile(r"CC-MAIN-(\d{4})(?:-(\d{2})|-\d{4})?")
_CRAWL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class CatalogError(ValueError):
    """A catalogue, a list of crawls or a listing of paths is not what it should be."""


@dataclass(frozen=True)
class Crawl:
    """One crawl.

    Attributes:
        id: its name, such as CC-MAIN-2024-10; the partition key.
        pages: response records, where the crawl's statistics are known.
    """

    id: str
    pages: int | None = None


def load(path: Path | None = None) -> tuple[Crawl, ...]:
    """The crawls of a catalogue, in its order, oldest first.

    Args:
        path: tab-separated file with the header `crawl`, `pages`; lines that start with `#` are comments. None for the
            list shipped with the package.

    Raises:
        CatalogError: the file cannot be read or a line is wrong; the error names file and line.
    """
    if path is None:
        shipped = files("corpus_dagster").joinpath("data", "crawls.tsv")
        return _parse(shipped.read_text(encoding="utf-8"), "the shipped catalogue")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"catalogue {path} cannot be read as UTF-8 text: {error}") from error
    return _parse(text, str(path))


def _parse(text: str, name: str) -> tuple[Crawl, ...]:
    crawls: list[Crawl] = []
    lines_of: dict[str, int] = {}
    header = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{name}, line {number}"
        cells = [cell.strip() for cell in line.split("\t")]
        if not header:
            if tuple(cells) != COLUMNS:
                raise CatalogError(f"{where}: expected the header {'<tab>'.join(COLUMNS)}, found {line!r}")
            header = True
            continue
        if len(cells) != len(COLUMNS):
            raise CatalogError(
                f"{where}: expected {len(COLUMNS)} cells divided by tabs, found {len(cells)} in {line!r}"
            )
        crawl, pages = cells
        if not _CRAWL_ID.fullmatch(crawl):
            raise CatalogError(f"{where}: {crawl!r} is no name of a crawl: use letters, digits, '.', '_' and '-'")
        if crawl in lines_of:
            raise CatalogError(f"{where}: {crawl} stands in line {lines_of[crawl]} already; remove one of them")
        if pages and not (pages.isascii() and pages.isdigit()):
            raise CatalogError(f"{where}: pages of {crawl} must be a whole number or empty, found {pages!r}")
        lines_of[crawl] = number
        crawls.append(Crawl(crawl, int(pages) if pages else None))
    if not header:
        raise CatalogError(f"{name}: expected the header {'<tab>'.join(COLUMNS)}, found no line but comments")
    return tuple(crawls)


def write(crawls: Iterable[Crawl], path: Path) -> None:
    """Write a catalogue that `load` reads.

    Raises:
        OSError: the file cannot be written.
    """
    lines = ["# Crawls, oldest first. pages: response records, empty where not known.", "\t".join(COLUMNS)]
    for crawl in crawls:
        values = (getattr(crawl, field.name) for field in fields(crawl))
        lines.append("\t".join("" if value is None else str(value) for value in values))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def for_source(source: str, catalogue: Path | None = None) -> tuple[Crawl, ...]:
    """The crawls that a source offers.

    Args:
        source: `sample`, a local folder laid out as Common Crawl's bucket, or a URI.
        catalogue: private catalogue; it decides for every source but the sample.

    Returns:
        The sample's crawls; else those of the catalogue; else those that stand under `crawl-data/` of a local folder;
        else the shipped list.

    Raises:
        CatalogError: the catalogue is wrong, or the folder holds no crawl.
    """
    if source == "sample":
        return tuple(Crawl(crawl) for crawl in sample.CRAWLS)
    if catalogue is not None:
        return load(catalogue)
    folder = _local_folder(source)
    return load() if folder is None else _crawls_in(folder)


def _local_folder(source: str) -> Path | None:
    # A letter and a colon is a drive of Windows, not a scheme.
    if source.startswith("file://"):
        return Path(unquote(urlsplit(source).path))
    return None if "://" in source else Path(source)


def _crawls_in(folder: Path) -> tuple[Crawl, ...]:
    data = folder / "crawl-data"
    listings = [f"{kind}.paths.gz" for kind in get_args(ArchiveKind)]
    folders = data.iterdir() if data.is_dir() else ()
    names = [entry.name for entry in folders if any((entry / listing).is_file() for listing in listings)]
    if not names:
        raise CatalogError(
            f"no crawl in {folder}: expected crawl-data/<crawl>/warc.paths.gz or wet.paths.gz in it; set the source to "
            "`sample`, to a folder laid out like this, or to the URI of one"
        )
    return tuple(Crawl(name) for name in sorted(names, key=lambda name: (_age(name) or (0, 0), name)))


def _age(crawl_id: str) -> tuple[int, int] | None:
    """Year and week of one of Common Crawl's names; None for other names."""
    match = _COMMON_CRAWL.fullmatch(crawl_id)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None


def _published(collinfo: bytes | str) -> list[str]:
    try:
        entries = json.loads(collinfo)
    except ValueError as error:
        raise CatalogError(f"{COLLINFO_URL} is expected to be JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise CatalogError(f"{COLLINFO_URL} is expected to be a list of crawls, found {str(entries)[:60]!r}")
    names: list[str] = []
    for number, entry in enumerate(entries):
        name = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _CRAWL_ID.fullmatch(name):
            raise CatalogError(f"{COLLINFO_URL}, entry {number}: expected an `id`, found {str(entry)[:80]!r}")
        names.append(name)
    # The published list is newest first; crawls under other names (news, tests) are no main crawls.
    return [name for name in dict.fromkeys(reversed(names)) if _age(name)]


def missing(known: Sequence[Crawl], collinfo: bytes | str) -> list[str]:
    """Main crawls that are published and not known, oldest first.

    Raises:
        CatalogError: `collinfo` is not Common Crawl's list.
    """
    ids = {crawl.id for crawl in known}
    return [name for name in _published(collinfo) if name not in ids]


def refresh(collinfo: bytes | str, known: Sequence[Crawl]) -> tuple[Crawl, ...]:
    """The known crawls and the published ones that were missing, each before the first younger one.

    Nothing that is known is dropped or moved, whether it is published or not.

    Args:
        collinfo: contents of Common Crawl's collinfo.json.
        known: crawls, oldest first.

    Raises:
        CatalogError: `collinfo` is not Common Crawl's list.
    """
    merged = list(known)
    for name in missing(known, collinfo):
        age = _age(name) or (0, 0)
        place = next((i for i, crawl in enumerate(merged) if (_age(crawl.id) or (0, 0)) > age), len(merged))
        merged.insert(place, Crawl(name))
    return tuple(merged)


def paths_listing(crawl: str, kind: ArchiveKind = "warc") -> str:
    """Path of a crawl's list of files below the source.

    That Common Crawl names the list of its crawls before 2013, which are ARC files, `warc.paths.gz` too is unverified.

    Args:
        crawl: its name.
        kind: `warc` for pages as they were fetched (ARC as well), `wet` for the text that was taken from them.
    """
    return f"crawl-data/{crawl}/{kind}.paths.gz"


def parse_paths(listing: bytes) -> list[str]:
    """The paths of a crawl's files, in the order of the listing.

    Args:
        listing: contents of `warc.paths.gz` or `wet.paths.gz`.

    Raises:
        CatalogError: not gzip, incomplete, too long, empty, or a path that is absolute, leaves the source or stands
            twice.
    """
    try:
        text = _unpack(listing).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CatalogError(f"the listing of paths is not UTF-8: {error}") from error
    lines_of: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        path = line.strip()
        if not path:
            continue
        fault = _fault(path)
        if fault:
            raise CatalogError(
                f"line {number} of the listing of paths: {path[:200]!r} {fault}; expected a path below the source"
            )
        if path in lines_of:
            raise CatalogError(
                f"line {number} of the listing of paths: {path[:200]!r} stands in line {lines_of[path]} already"
            )
        lines_of[path] = number
    if not lines_of:
        raise CatalogError("the listing of paths is empty")
    return list(lines_of)


def _unpack(listing: bytes) -> bytes:
    parts: list[bytes] = []
    room = MAX_LISTING
    rest = listing
    while rest:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            part = unpacker.decompress(rest, room + 1)
        except zlib.error as error:
            raise CatalogError(f"the listing of paths is no sound gzip file ({error}): fetch it again") from error
        room -= len(part)
        if room < 0:
            raise CatalogError(f"the listing of paths unpacks to more than {MAX_LISTING} bytes")
        if not unpacker.eof:
            raise CatalogError("the listing of paths ends within its gzip stream: fetch it again")
        parts.append(part)
        rest = unpacker.unused_data
    return b"".join(parts)


def _fault(path: str) -> str:
    if _SCHEME.match(path):
        return "names a scheme or a drive"
    if path.startswith("/") or "\\" in path:
        return "is absolute or holds a backslash"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "holds an empty, '.' or '..' element"
    if not path.isprintable():
        return "holds a character that cannot be printed"
    return ""


def choose(paths: Sequence[str], share: float = 1.0, max_files: int | None = None) -> list[tuple[int, str]]:
    """A part of a crawl's files, chosen by the hash of their paths.

    Of two choices from the same list the larger holds the smaller. Any share above 0 gives at least one file.

    Args:
        paths: the crawl's whole list.
        share: share of the files, 0 < share <= 1, rounded up to whole files.
        max_files: most files to choose; None for no limit.

    Returns:
        Shard number (index in the whole list) and path, sorted by shard number.

    Raises:
        CatalogError: `share` or `max_files` is out of range.
    """
    if not 0 < share <= 1:
        raise CatalogError(f"share of files must be above 0 and at most 1, found {share}")
    if max_files is not None and max_files < 1:
        raise CatalogError(f"the most files to read must be 1 or more, found {max_files}; leave it out for no limit")
    # Rounded first: 0.07 * 100 is a little more than 7 in binary.
    wanted = math.ceil(round(share * len(paths), 9))
    if max_files is not None:
        wanted = min(wanted, max_files)
    ranked = sorted(range(len(paths)), key=lambda i: (xxhash.xxh3_64_intdigest(paths[i].encode()), i))
    return [(shard, paths[shard]) for shard in sorted(ranked[:wanted])]
