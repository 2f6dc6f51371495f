"""Model files of fastText: the bytes of a `.bin` or `.ftz` of a supervised model as checked arrays.

A file is not trusted: every length is compared with what is there before it is used. Nothing is computed with
a model here. The layout is that of fastText 0.9 (file version 12), little-endian throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen

MAGIC = 793712314
VERSIONS = (11, 12)
"""In version 11, supervised models have no character n-grams, whatever their settings say."""

SUPERVISED = 3
"""The model kinds of fastText are cbow 1, skip-gram 2, supervised 3."""
LOSSES = {1: "hierarchical softmax", 2: "negative sampling", 3: "softmax", 4: "one-vs-all"}
HIERARCHICAL_SOFTMAX = 1
SOFTMAX = 3

LARGEST_CHARACTER_NGRAM = 30
"""Kernels reserve room for all n-grams of a short word; fastText's default is 6."""
LARGEST_WEIGHT = 1e10
"""Trained weights are below 100. Beyond this limit sums of float32 might overflow, and a probability be no number."""
LARGEST_COUNT_SUM = 10**15
"""fastText's Huffman tree gives an unmade node this count, so that counts must stay below."""
LARGEST_ROWS = 2**31 - 1
"""fastText numbers rows with int32."""
LARGEST_DEQUANTISED = 4 << 30
"""Bytes of a quantised matrix written out in full; the packaged language model takes 3 MB."""

END_OF_LINE = b"</s>"
"""What fastText reads at the end of a line, and what ends one in the middle of it."""

CENTROIDS = 256
"""Of each part of a product quantiser: a code is one byte."""

_SETTINGS = (
    "dim",
    "ws",
    "epoch",
    "minCount",
    "neg",
    "wordNgrams",
    "loss",
    "model",
    "bucket",
    "minn",
    "maxn",
    "lrUpdateRate",
)
"""Names of fastText's options, in the order of their values (int32) in the file."""

_NOT_PRUNED = -1


class ModelFileError(ValueError):
    """A file is not a fastText model, is damaged, or holds a model that cannot be evaluated here."""


@dataclass(frozen=True, eq=False)
class Words:
    """The dictionary: entry i is `data[starts[i]:starts[i] + lengths[i]]` (uint8; int64; int32).

    The first `count` entries are words, the others the labels.
    """

    count: int
    data: Buffer
    starts: Buffer
    lengths: Buffer


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A supervised model.

    Attributes:
        dimensions: of the vectors.
        hierarchical: hierarchical softmax instead of softmax.
        word_ngrams: longest n-gram of words; 1 is none.
        shortest: character n-gram, in characters.
        longest: character n-gram, in characters; 0 is none.
        buckets: into which n-grams are hashed.
        words: the known words; the rows of `rows` begin with theirs.
        labels: with their prefix.
        label_counts: how often each was seen in training, int64[labels].
        pruned: hashes of the n-grams that were kept, and their rows after those of the words, int32[k] each;
            None where all were kept.
        rows: vectors of words and n-grams, float32[m, dimensions]. Of a `.bin` it is the file itself, mapped, so
            that processes share it.
        output: vectors of the labels, float32[labels, dimensions].
        output_norms: by which a product with `output` is multiplied afterwards, float32[labels].
    """

    dimensions: int
    hierarchical: bool
    word_ngrams: int
    shortest: int
    longest: int
    buckets: int
    words: Words
    labels: tuple[str, ...]
    label_counts: Buffer
    pruned: tuple[Buffer, Buffer] | None
    rows: Buffer
    output: Buffer
    output_norms: Buffer


def read_model(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: the file is missing, is no supervised fastText model of a known version, is damaged, or
            its loss is neither softmax nor hierarchical softmax.
    """
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}; correct the path")
    # An empty file cannot be mapped.
    content = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    reader = _Reader(path, frozen(content.view(np.ndarray)))
    magic, version = (reader.number(np.int32, name) for name in ("magic number", "version"))
    if magic != MAGIC:
        raise ModelFileError(
            f"{path} begins with {magic}, a fastText model with {MAGIC}; name a .bin or .ftz that fastText wrote"
        )
    if version not in VERSIONS:
        raise ModelFileError(f"{path} has file version {version}; expected one of {VERSIONS}")
    settings = {name: reader.number(np.int32, name) for name in _SETTINGS}
    reader.number(np.float64, "t")
    if version == 11:
        settings["maxn"] = 0
    _check_settings(reader, settings)
    words, labels, counts, pruned = _dictionary(reader)
    quantised = reader.flag("quantised input")
    if pruned is not None and not quantised:
        raise reader.error("a pruned dictionary", "one only where the input matrix is quantised")
    rows, norms = _matrix(reader, "input", settings["dim"], quantised)
    if norms is not None:
        rows = _scaled(reader, rows, norms)
    output_quantised = reader.flag("quantised output")
    output, output_norms = _matrix(reader, "output", settings["dim"], quantised and output_quantised)
    if len(output) != len(labels):
        raise reader.error(f"an output matrix of {len(output)} rows", f"one for each of {len(labels)} labels")
    if reader.position != len(reader.content):
        raise reader.error(f"{len(reader.content) - reader.position} bytes more", "the end of the file")
    uses_ngrams = settings["maxn"] > 0 or settings["wordNgrams"] > 1
    if pruned is not None:
        needed = words.count + int(pruned[1].max(initial=-1)) + 1
    else:
        needed = words.count + (settings["bucket"] if uses_ngrams else 0)
    if not needed <= len(rows) <= LARGEST_ROWS:
        raise reader.error(
            f"an input matrix of {len(rows)} rows", f"{needed} for words and n-grams, at most {LARGEST_ROWS}"
        )
    return ModelFile(
        dimensions=settings["dim"],
        hierarchical=settings["loss"] == HIERARCHICAL_SOFTMAX,
        word_ngrams=settings["wordNgrams"],
        shortest=settings["minn"],
        longest=settings["maxn"],
        buckets=settings["bucket"],
        words=words,
        labels=labels,
        label_counts=counts,
        pruned=pruned,
        rows=rows,
        # A copy: small, and better aligned than in the file.
        output=output.copy(),
        output_norms=np.ones(len(output), np.float32) if output_norms is None else output_norms,
    )


class _Reader:
    """Takes values from the front of a file, none beyond its end."""

    def __init__(self, path: Path, content: Buffer) -> None:
        self.path = path
        self.content = content
        self.position = 0

    def error(self, found: str, expected: str) -> ModelFileError:
        return ModelFileError(
            f"{self.path}: at byte {self.position} found {found}, expected {expected}; the file is damaged or of "
            "another kind, copy or train it again"
        )

    def array(self, kind: type[np.generic], count: int, what: str) -> Buffer:
        size = count * np.dtype(kind).itemsize
        left = len(self.content) - self.position
        if not 0 <= size <= left:
            raise self.error(f"{left} bytes until the end of the file", f"{size} bytes of {what}")
        values = self.content[self.position : self.position + size].view(np.dtype(kind).newbyteorder("<"))
        self.position += size
        return values

    def number(self, kind: type[np.generic], what: str) -> int:
        return self.array(kind, 1, what)[0].item()

    def flag(self, what: str) -> bool:
        value = self.number(np.uint8, f"the flag of {what}")
        if value > 1:
            raise self.error(f"{value} as the flag of {what}", "0 or 1")
        return value == 1


def _check_settings(reader: _Reader, settings: dict[str, int]) -> None:
    if settings["model"] != SUPERVISED:
        raise ModelFileError(
            f"{reader.path} is not a supervised model (its kind is {settings['model']}, expected {SUPERVISED}); "
            "only a classifier has labels to predict"
        )
    if settings["loss"] not in (HIERARCHICAL_SOFTMAX, SOFTMAX):
        name = LOSSES.get(settings["loss"], "unknown to fastText")
        raise ModelFileError(
            f"{reader.path} was trained with loss {settings['loss']} ({name}); expected softmax or hierarchical "
            "softmax, train it with one of these"
        )
    limits = {"dim": (1, 1 << 16), "wordNgrams": (0, 1 << 10), "minn": (0, LARGEST_CHARACTER_NGRAM)}
    uses_ngrams = settings["maxn"] > 0 or settings["wordNgrams"] > 1
    limits["maxn"] = (0, LARGEST_CHARACTER_NGRAM)
    limits["bucket"] = (1 if uses_ngrams else 0, np.iinfo(np.int32).max)
    for name, (least, most) in limits.items():
        if not least <= settings[name] <= most:
            raise reader.error(f"{name} {settings[name]}", f"{least} to {most}")


def _dictionary(reader: _Reader) -> tuple[Words, tuple[str, ...], Buffer, tuple[Buffer, Buffer] | None]:
    """Words, labels, counts of the labels, and the n-grams kept by pruning."""
    size, words, labels = (reader.number(np.int32, f"the number of {n}") for n in ("entries", "words", "labels"))
    if words < 0 or labels < 1 or size != words + labels:
        raise reader.error(f"{size} entries, {words} words and {labels} labels", "words and labels to be all entries")
    reader.number(np.int64, "the number of tokens")
    kept = reader.number(np.int64, "the number of n-grams")
    # The shortest entry has no letter, a zero, a count and a type.
    if size > (len(reader.content) - reader.position) // 10:
        raise reader.error("the rest of the file", f"{size} dictionary entries")
    starts, lengths = np.empty(size, np.int64), np.empty(size, np.int32)
    counts, types = np.empty(size, np.int64), np.empty(size, np.uint8)
    first = reader.position
    position, read = _scan_entries(reader.content, first, starts, lengths, counts, types)
    reader.position = int(position)
    if read < size:
        raise reader.error("the end of the file", f"{size} dictionary entries, of which {read} are here")
    wrong = np.flatnonzero(types != (np.arange(size) >= words))
    if len(wrong):
        raise reader.error(f"entry {wrong[0]} of type {types[wrong[0]]}", f"{words} words (0), then labels (1)")
    names = []
    for i in range(words, size):
        name = reader.content[starts[i] : starts[i] + lengths[i]].tobytes()
        try:
            names.append(name.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise reader.error(f"a label {name!r}", "labels in UTF-8") from error
        if name == END_OF_LINE:
            raise reader.error(f"a label {name!r}", "it to be a word, the end of a line")
    label_counts = counts[words:]
    # As Python integers, which do not overflow.
    if label_counts.min() < 0 or sum(label_counts.tolist()) >= LARGEST_COUNT_SUM:
        raise reader.error("counts of labels that are negative or too large", f"a sum below {LARGEST_COUNT_SUM}")
    pruned = None
    if kept != _NOT_PRUNED:
        if kept < 0:
            raise reader.error(f"{kept} kept n-grams", "-1 (not pruned) or more")
        pairs = reader.array(np.int32, 2 * kept, "kept n-grams").reshape(-1, 2)
        if len(pairs) and pairs.min() < 0:
            raise reader.error("a negative n-gram", "hashes and rows from 0")
        pruned = pairs[:, 0].copy(), pairs[:, 1].copy()
    text = reader.content[first : int(position)].copy()
    return Words(words, text, starts - first, lengths), tuple(names), label_counts, pruned


@njit(cache=True, nogil=True)
def _scan_entries(content, position, starts, lengths, counts, types):
    """Entries of a dictionary: bytes up to a zero, count (int64), type (int8).

    Returns the position behind them and how many there were, fewer than `starts` has room for at the file's end.
    """
    for i in range(len(starts)):
        end = position
        while end < len(content) and content[end] != 0:
            end += 1
        if end + 10 > len(content) or end - position > 0x7FFFFFFF:
            return position, i
        starts[i] = position
        lengths[i] = end - position
        count = np.uint64(0)
        for k in range(8):
            count |= np.uint64(content[end + 1 + k]) << np.uint64(8 * k)
        counts[i] = np.int64(count)
        types[i] = content[end + 9]
        position = end + 10
    return position, len(starts)


def _matrix(reader: _Reader, name: str, dimensions: int, quantised: bool) -> tuple[Buffer, Buffer | None]:
    """A matrix float32[m, dimensions] and, where they are apart, its rows' norms float32[m]."""
    if not quantised:
        rows = reader.number(np.int64, f"the rows of the {name} matrix")
        columns = reader.number(np.int64, f"the columns of the {name} matrix")
        if rows < 0 or columns != dimensions:
            raise reader.error(f"a matrix of {rows} x {columns}", f"{dimensions} columns")
        values = reader.array(np.float32, rows * columns, f"the {name} matrix").reshape(rows, columns)
        _check_weights(reader, values, name)
        return values, None
    with_norms = reader.flag(f"norms of the {name} matrix")
    rows = reader.number(np.int64, f"the rows of the {name} matrix")
    columns = reader.number(np.int64, f"the columns of the {name} matrix")
    size = reader.number(np.int32, f"the number of codes of the {name} matrix")
    if rows < 0 or columns != dimensions:
        raise reader.error(f"a matrix of {rows} x {columns}", f"{dimensions} columns")
    if rows * columns * 4 > LARGEST_DEQUANTISED:
        raise reader.error(f"a quantised matrix of {rows} x {columns}", f"at most {LARGEST_DEQUANTISED} bytes")
    codes = reader.array(np.uint8, size, f"the codes of the {name} matrix")
    centroids = _centroids(reader, columns, f"the {name} matrix")
    if size != rows * len(centroids):
        raise reader.error(f"{size} codes", f"{rows} times {len(centroids)}")
    codes = codes.reshape(rows, len(centroids))
    values = np.empty((rows, columns), np.float32)
    column = 0
    for part, centroid in enumerate(centroids):
        values[:, column : column + centroid.shape[1]] = centroid[codes[:, part]]
        column += centroid.shape[1]
    if not with_norms:
        return values, None
    norm_codes = reader.array(np.uint8, rows, f"the codes of norms of the {name} matrix")
    (norms,) = _centroids(reader, 1, f"norms of the {name} matrix")
    return values, norms[norm_codes, 0]


def _centroids(reader: _Reader, dimensions: int, name: str) -> list[Buffer]:
    """The centroids of each part of a vector, float32[256, width of the part]."""
    found, parts, width, last = (reader.number(np.int32, f"the quantiser of {name}") for _ in range(4))
    # All parts are equally wide, but the last one may be narrower.
    if found != dimensions or width < 1 or parts != -(-dimensions // width) or last != dimensions - (parts - 1) * width:
        raise reader.error(
            f"a quantiser of {found} dimensions in {parts} parts of {width}, the last of {last}",
            f"the parts to cover {dimensions} dimensions",
        )
    values = reader.array(np.float32, dimensions * CENTROIDS, f"the centroids of {name}")
    _check_weights(reader, values, f"centroids of {name}")
    bounds = [min(part * width, dimensions) * CENTROIDS for part in range(parts + 1)]
    return [values[a:b].reshape(CENTROIDS, -1) for a, b in pairwise(bounds)]


def _scaled(reader: _Reader, rows: Buffer, norms: Buffer) -> Buffer:
    # fastText multiplies with the norm in float32 before it adds a row, so that this can be done beforehand.
    with np.errstate(over="ignore"):
        rows *= norms[:, None]
    _check_weights(reader, rows, "input matrix with norms")
    return rows


_WEIGHTS_AT_ONCE = 1 << 22


def _check_weights(reader: _Reader, values: Buffer, name: str) -> None:
    flat = values.reshape(-1)
    for first in range(0, len(flat), _WEIGHTS_AT_ONCE):
        part = flat[first : first + _WEIGHTS_AT_ONCE]
        # Not `>`: the comparison must fail for what is not a number, too.
        if not (max(-float(part.min()), float(part.max())) <= LARGEST_WEIGHT):
            raise reader.error(f"a weight beyond {LARGEST_WEIGHT:g} in the {name}", "finite, trained weights")
