"""Predictions of supervised fastText models over Arrow string buffers, equal to fastText's to the last bit.

fastText hashes every character n-gram of every word anew, though words repeat. Here a cache holds the matrix
rows of each word, and a text costs one look-up per word and one addition per row. How a model file is laid out
is in `fasttext_file`; training is left to fastText.

The order of all float32 operations is fastText's (`averageRowsToVector`, `dotRow`, `dfs`, `findKBest` of its
0.9), without fused multiply-add, and `exp` and `log` are the C library's; so the results are those of a fastText
built for x86-64 on the same machine. A compiler that fuses (GCC for ARM) gives it other last digits.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen
from corpus_dagster.text.fasttext_file import END_OF_LINE, ModelFile, Words, read_model

NewlinePolicy = Literal["space", "delete"]
"""fastText predicts single lines. `space` ends a word at a line end; `delete` fuses the words around it."""

LABEL_PREFIX = b"__label__"
"""Words with it are no features: fastText takes them for labels of training data."""

_SEPARATORS = b" \n\t\v\f\r\0"
_LETTER, _SEPARATOR, _DELETED = range(3)

_HASH_START = np.uint32(2166136261)
_HASH_PRIME = np.uint32(16777619)
"""FNV-1a. fastText adds bytes as signed char, so that those above 127 set the upper 24 bits as well."""

_WORD_NGRAM_FACTOR = np.uint64(116049371)
"""Of fastText's hash of word n-grams."""

_SMALLEST = 1e-5
"""fastText adds it before it takes a logarithm, so probabilities come out up to 0.00001 too large."""

_FREE = -1
_NOT_NEGATIVE = (1 << 62) - 1
"""Masks an index, so that the compiler leaves out Python's rule for negative ones and uses vector instructions."""

_NO_WORD = -1
NO_LABEL = -1
"""Label index where there are fewer labels than asked for, or no features at all."""

# Sizes of the cache of a model with character n-grams, 9 MB where all is used. On web text of many languages a
# quarter of it is slower, since more words are computed again, and so is eight times as much, since the slots
# no longer fit the processor's cache.
_CACHE_SLOTS = 1 << 17
_CACHE_WORDS = 1 << 16
_CACHE_BYTES = 1 << 20
_CACHE_ROWS = 1 << 20
_LONGEST_CACHED = 64
"""Bytes of a word. Longer ones are mostly addresses and hardly repeat."""
_PROBES = 16
"""Slots looked at for a word. Words made to collide are computed anew each time, as fastText does."""
_STRIDE = 4
"""Row numbers of a word copied without asking how many it has. Most words of the language model have fewer."""

_FILTER_BYTES = 1 << 18
"""One bit for each of fastText's default of 2,000,000 buckets, so that nothing passes in vain."""

_ROWS_AT_ONCE = 2048
"""Row numbers gathered before they are added: more than the n-grams of any cached word (at most 66 * 30)."""


class _Settings(NamedTuple):
    """`ModelFile` has the meaning of most; `words` is their number, `end_row` the row of the end of a line."""

    word_ngrams: int
    shortest: int
    longest: int
    buckets: int
    words: int
    pruned: bool
    hierarchical: bool
    end_row: int


class _Lexicon(NamedTuple):
    """Open-addressing table of the words and, after them, the labels, by fastText's hash."""

    slots: Buffer
    hashes: Buffer
    starts: Buffer
    lengths: Buffer
    data: Buffer


class _Kept(NamedTuple):
    """Open-addressing table from hashes of n-grams to rows; `keys` are -1 where free.

    Most n-grams of a pruned model are missing. `filter` has a bit for each hash, modulo its size, that tells most
    of them without a search; of a model that is not pruned it is all ones.
    """

    keys: Buffer
    rows: Buffer
    filter: Buffer


class _Cache(NamedTuple):
    """Words seen and their rows: open-addressing table of entries, whose fields are below."""

    entries: Buffer
    data: Buffer
    rows: Buffer
    used: Buffer


_KEY, _TAIL, _START, _FIRST_ROW = range(4)
"""Fields of an entry (int64): fastText's hash and the length (0 in a free slot); the last 8 bytes; where those
before them are in `data`; where the row numbers are in `rows`, and how many."""

_LENGTH_BITS = 8
_COUNT_BITS = 12
_COUNT_MASK = (1 << _COUNT_BITS) - 1
_TAIL_BYTES = 8

_USED_WORDS, _USED_BYTES, _USED_ROWS = range(3)
"""Positions in `used`."""


class _Output(NamedTuple):
    """The output layer: `weights` float32[dimensions, labels], so that labels are worked on side by side."""

    weights: Buffer
    norms: Buffer
    left: Buffer
    right: Buffer


class Model:
    """A supervised model with softmax or hierarchical softmax, ready to predict.

    A model has a cache, which no result depends on; a lock lets one thread use it at a time.
    """

    def __init__(self, file: ModelFile) -> None:
        self.labels = file.labels
        """As in the file, with their prefix. Predictions are positions in it."""
        rows = np.ascontiguousarray(file.rows).reshape(-1).view()
        rows.flags.writeable = False
        # A mapped matrix stands where the words end, at any byte. Kernels are compiled for that case only.
        rows.flags.aligned = False
        self._rows = rows
        self._lexicon = _lexicon(file.words)
        self._kept = _kept_table(file.pruned)
        end_row = int(_find(self._lexicon, _END.copy(), 0, len(_END), _hash(_END)))
        self._settings = _Settings(
            word_ngrams=file.word_ngrams,
            shortest=file.shortest,
            longest=file.longest,
            buckets=file.buckets,
            words=file.words.count,
            pruned=file.pruned is not None,
            hierarchical=file.hierarchical,
            end_row=end_row,
        )
        left, right = _huffman_tree(file.label_counts) if file.hierarchical else (_NO_TREE, _NO_TREE)
        self._output = _Output(
            np.ascontiguousarray(file.output.T), np.ascontiguousarray(file.output_norms), left, right
        )
        self._dimensions = file.dimensions
        self._cache = _new_cache(file.longest > 0)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: Path) -> Model:
        """The model in a `.bin` or `.ftz` file.

        A `.bin` stays mapped while it is in use: it may be replaced, but not rewritten in place.

        Raises:
            ModelFileError: it cannot be used; the message says why.
        """
        return cls(read_model(path))

    def predict_buffers(self, offsets: Buffer, data: Buffer, k: int, newlines: NewlinePolicy) -> tuple[Buffer, Buffer]:
        """The k most probable labels of each of n texts, as fastText's `predict` of one line gives them.

        Args:
            offsets: int64[n + 1], ascending positions in `data`.
            data: uint8, UTF-8.
            k: labels wanted, 1 or more; no more come than the model has.
            newlines: what becomes of line ends.

        Returns:
            Positions in `labels`, int32[n, k], most probable first, `NO_LABEL` where there are fewer; their
            probabilities, float32[n, k], 0 there. fastText's probabilities are up to 0.00001 above 1.
        """
        if k < 1:
            raise ValueError(f"{k} labels wanted; expected 1 or more")
        count = len(offsets) - 1
        k = min(k, len(self.labels))
        labels = np.full((count, k), NO_LABEL, np.int32)
        probabilities = np.zeros((count, k), np.float32)
        longest = int(np.diff(offsets).max(initial=0))
        # A word takes two bytes with its separator; one more for the end of the line.
        words = longest // 2 + 2 if self._settings.word_ngrams > 1 else 0
        with self._lock:
            _predict(
                frozen(offsets),
                frozen(data),
                _KINDS[newlines],
                self._settings,
                self._lexicon,
                self._kept,
                self._rows,
                self._cache,
                self._output,
                np.empty(words, np.int32),
                np.empty(longest + 3, np.uint8),
                np.empty(self._dimensions, np.float32),
                labels,
                probabilities,
            )
        return labels, probabilities


def _kinds(newlines: NewlinePolicy) -> Buffer:
    kinds = np.full(256, _LETTER, np.uint8)
    kinds[list(_SEPARATORS)] = _SEPARATOR
    if newlines == "delete":
        kinds[ord("\n")] = _DELETED
    return frozen(kinds)


_KINDS: dict[str, Buffer] = {"space": _kinds("space"), "delete": _kinds("delete")}
_END = frozen(np.frombuffer(END_OF_LINE, np.uint8))
_PREFIX = frozen(np.frombuffer(LABEL_PREFIX, np.uint8))
_NO_TREE = np.empty(0, np.int32)


def _table_size(entries: int) -> int:
    """The power of two that leaves at least half of an open-addressing table free."""
    return 1 << max(2 * entries, 1).bit_length()


def _lexicon(words: Words) -> _Lexicon:
    slots = np.full(_table_size(len(words.starts)), _FREE, np.int32)
    hashes = np.empty(len(words.starts), np.uint32)
    lexicon = _Lexicon(slots, hashes, words.starts, words.lengths, frozen(words.data))
    _fill_lexicon(lexicon)
    return lexicon


def _kept_table(pruned: tuple[Buffer, Buffer] | None) -> _Kept:
    keys, rows = pruned if pruned is not None else (np.empty(0, np.int32), np.empty(0, np.int32))
    size = _table_size(len(keys))
    bits = np.full(1, 0xFF, np.uint8) if pruned is None else np.zeros(_FILTER_BYTES, np.uint8)
    kept = _Kept(np.full(size, _FREE, np.int32), np.zeros(size, np.int32), bits)
    _fill_kept(kept, keys, rows)
    return kept


def _new_cache(needed: bool) -> _Cache:
    # Without character n-grams, a word has one row, which the lexicon tells.
    scale = 1 if needed else 0
    return _Cache(
        entries=np.zeros((_CACHE_SLOTS * scale, 4), np.int64),
        data=np.empty(_CACHE_BYTES * scale, np.uint8),
        # Zeros, since rows are copied four at a time, wanted or not.
        rows=np.zeros(_CACHE_ROWS * scale + _STRIDE, np.int32),
        used=np.zeros(3, np.int64),
    )


def _huffman_tree(counts: Buffer) -> tuple[Buffer, Buffer]:
    """Left and right children, int32[2 * labels - 1], of fastText's tree; leaves first, -1 below them.

    As in fastText, leaves are taken from the last label to the first, the rarest where counts descend, and a
    node is preferred to a leaf of the same count.
    """
    leaves = len(counts)
    left, right = np.full((2, 2 * leaves - 1), _FREE, np.int32)
    weights = counts.tolist()
    leaf, node = leaves - 1, leaves
    for parent in range(leaves, 2 * leaves - 1):
        children = []
        for _ in range(2):
            # `node` may be the one being made, which is heavier than any leaf.
            if leaf >= 0 and (node >= parent or weights[leaf] < weights[node]):
                children.append(leaf)
                leaf -= 1
            else:
                children.append(node)
                node += 1
        left[parent], right[parent] = children
        weights.append(weights[children[0]] + weights[children[1]])
    return left, right


@njit(cache=True, nogil=True)
def _extended(hash_, byte):
    """The hash of a string with one more byte."""
    return np.uint32((hash_ ^ np.uint32(np.int8(byte))) * _HASH_PRIME)


@njit(cache=True, nogil=True)
def _hash(text):
    value = _HASH_START
    for byte in text:
        value = _extended(value, byte)
    return value


@njit(cache=True, nogil=True)
def _same(a, i, b, j, length):
    for k in range(length):  # noqa: SIM110 (a generator, which Numba does not inline)
        if a[i + k] != b[j + k]:
            return False
    return True


@njit(cache=True, nogil=True)
def _find(lexicon, text, start, length, hash_):
    """Number of the word `text[start:start + length]`, or _NO_WORD."""
    mask = len(lexicon.slots) - 1
    slot = np.int64(hash_) & mask
    while lexicon.slots[slot] != _FREE:
        word = lexicon.slots[slot]
        if (
            lexicon.hashes[word] == hash_
            and lexicon.lengths[word] == length
            and _same(lexicon.data, lexicon.starts[word], text, start, length)
        ):
            return np.int64(word)
        slot = (slot + 1) & mask
    return np.int64(_NO_WORD)


@njit(cache=True, nogil=True)
def _fill_lexicon(lexicon):
    mask = len(lexicon.slots) - 1
    for word in range(len(lexicon.starts)):
        start, length = lexicon.starts[word], np.int64(lexicon.lengths[word])
        hash_ = _HASH_START
        for i in range(start, start + length):
            hash_ = _extended(hash_, lexicon.data[i])
        lexicon.hashes[word] = hash_
        slot = np.int64(hash_) & mask
        while lexicon.slots[slot] != _FREE:
            other = lexicon.slots[slot]
            # Of equal words, which only a made-up file has, fastText keeps the last.
            if (
                lexicon.hashes[other] == hash_
                and lexicon.lengths[other] == length
                and _same(lexicon.data, lexicon.starts[other], lexicon.data, start, length)
            ):
                break
            slot = (slot + 1) & mask
        lexicon.slots[slot] = word


@njit(cache=True, nogil=True)
def _mixed(value):
    """Spreads a 32-bit number over all bits (multiplication with the golden ratio, upper half folded in)."""
    value = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(value >> np.uint64(32))


@njit(cache=True, nogil=True)
def _fill_kept(kept, keys, rows):
    mask = len(kept.keys) - 1
    for i in range(len(keys)):
        kept.filter[(keys[i] >> 3) & (_FILTER_BYTES - 1)] |= 1 << (keys[i] & 7)
        slot = _mixed(keys[i]) & mask
        while kept.keys[slot] != _FREE and kept.keys[slot] != keys[i]:
            slot = (slot + 1) & mask
        kept.keys[slot] = keys[i]
        kept.rows[slot] = rows[i]


@njit(cache=True, nogil=True)
def _ngram_rows(settings, kept, gathered, first, last):
    """Replace hashes `gathered[first:last]` of n-grams by their rows, without those that were pruned.

    Returns the end of the rows.
    """
    if not settings.pruned:
        for i in range(first, last):
            gathered[i] += settings.words
        return last
    mask = len(kept.keys) - 1
    end = first
    for i in range(first, last):
        bucket = gathered[i]
        slot = _mixed(bucket) & mask
        while kept.keys[slot] != bucket and kept.keys[slot] != _FREE:
            slot = (slot + 1) & mask
        gathered[end] = settings.words + kept.rows[slot]
        end += kept.keys[slot] == bucket
    return end


@njit(cache=True, nogil=True)
def _add_rows(rows, gathered, count, hidden):
    """Add `count` gathered rows of the matrix to `hidden`, in their order."""
    width = len(hidden)
    for i in range(count):
        at = np.int64(gathered[i]) * width & _NOT_NEGATIVE
        for j in range(width):
            hidden[j] += rows[at + j]


@njit(cache=True, nogil=True)
def _gather_subwords(settings, kept, rows, word, length, gathered, pending, hidden):
    """Gather the character n-grams of `word[:length]`, which has its brackets and a zero behind them.

    Returns how many rows are now gathered, and how many were added to `hidden` meanwhile to make room.
    """
    shortest, longest, buckets = settings.shortest, settings.longest, np.uint32(settings.buckets)
    bits = kept.filter
    bit_mask = len(bits) - 1
    added = 0
    first = pending
    for start in range(length):
        if word[start] & 0xC0 == 0x80:
            continue
        if pending + longest >= len(gathered):
            pending = _ngram_rows(settings, kept, gathered, first, pending)
            _add_rows(rows, gathered, pending, hidden)
            added += pending
            first = pending = 0
        hash_ = _HASH_START
        end = start
        for characters in range(1, longest + 1):
            if end == length:
                break
            hash_ = _extended(hash_, word[end & _NOT_NEGATIVE])
            end += 1
            byte = word[end & _NOT_NEGATIVE]
            while byte & 0xC0 == 0x80:
                hash_ = _extended(hash_, byte)
                end += 1
                byte = word[end & _NOT_NEGATIVE]
            # A bracket alone is no n-gram.
            if characters >= shortest and not (characters == 1 and (start == 0 or end == length)):
                bucket = np.int64(hash_ % buckets)
                # No branch: whether an n-gram was kept cannot be predicted, and a wrong guess costs more than all
                # the rest here.
                gathered[pending & _NOT_NEGATIVE] = bucket
                pending += np.int64(bits[(bucket >> 3) & bit_mask] >> np.uint8(bucket & 7)) & 1
    return _ngram_rows(settings, kept, gathered, first, pending), added


@njit(cache=True, nogil=True)
def _remember(cache, word, length, key, tail, slot, gathered, first, last):
    """Keep a word, which has its brackets, and its rows `gathered[first:last]`; a full cache is emptied before."""
    used = cache.used
    if (
        used[_USED_WORDS] == _CACHE_WORDS
        or used[_USED_BYTES] + length > _CACHE_BYTES
        or used[_USED_ROWS] + last - first > _CACHE_ROWS
    ):
        cache.entries[:, _KEY] = 0
        used[:] = 0
        slot = _mixed(key >> _LENGTH_BITS) & (len(cache.entries) - 1)
    cache.entries[slot, _KEY] = key
    cache.entries[slot, _TAIL] = tail
    cache.entries[slot, _START] = used[_USED_BYTES]
    cache.entries[slot, _FIRST_ROW] = used[_USED_ROWS] << _COUNT_BITS | (last - first)
    for i in range(length - _TAIL_BYTES):
        cache.data[used[_USED_BYTES] + i] = word[1 + i]
    for i in range(last - first):
        cache.rows[used[_USED_ROWS] + i] = gathered[first + i]
    used[_USED_WORDS] += 1
    used[_USED_BYTES] += max(length - _TAIL_BYTES, 0)
    used[_USED_ROWS] += last - first


@njit(cache=True, nogil=True)
def _sum_rows(settings, lexicon, kept, rows, cache, gathered, hashes, word, hidden, kinds, data, start, end):
    """Sum into `hidden` the rows of all features of the text `data[start:end]`; returns how many there are.

    Scratch space: `gathered` for row numbers, `hashes` for the words' where there are word n-grams, `word` for
    the longest word and its brackets.
    """
    entries, cached, cached_rows = cache.entries, cache.data, cache.rows
    mask = len(entries) - 1
    subwords, word_ngrams = settings.longest > 0, settings.word_ngrams > 1
    hidden[:] = 0
    features = 0
    pending = 0
    words = 0
    at = start
    while True:
        while at < end and kinds[data[at]] != _LETTER:
            at += 1
        if at == end:
            break
        first = at
        hash_ = _HASH_START
        tail = np.int64(0)
        while at < end and kinds[data[at]] == _LETTER:
            hash_ = _extended(hash_, data[at])
            tail = tail << 8 | np.int64(data[at])
            at += 1
        length = at - first
        joined = at < end and kinds[data[at]] == _DELETED
        if joined:
            # Line ends within the word are deleted: it is put together where it gets its brackets.
            for i in range(length):
                word[1 + i] = data[first + i]
            while at < end and kinds[data[at]] != _SEPARATOR:
                if kinds[data[at]] == _LETTER:
                    length += 1
                    word[length] = data[at]
                    hash_ = _extended(hash_, data[at])
                    tail = tail << 8 | np.int64(data[at])
                at += 1
        free = -1
        key = np.int64(hash_) << _LENGTH_BITS | length
        if subwords and length <= _LONGEST_CACHED:
            slot = _mixed(hash_) & mask
            hit = False
            for _ in range(_PROBES):
                if entries[slot, _KEY] == key and entries[slot, _TAIL] == tail:
                    hit = True
                    known = entries[slot, _START]
                    for i in range(length - _TAIL_BYTES):
                        byte = word[1 + i] if joined else data[first + i]
                        if cached[known + i] != byte:
                            hit = False
                            break
                    if hit:
                        break
                elif entries[slot, _KEY] == 0:
                    free = slot
                    break
                slot = (slot + 1) & mask
            if hit:
                known = entries[slot, _FIRST_ROW] >> _COUNT_BITS
                count = entries[slot, _FIRST_ROW] & _COUNT_MASK
                if pending + count + _STRIDE > len(gathered):
                    _add_rows(rows, gathered, pending, hidden)
                    features += pending
                    pending = 0
                # Most words have up to four rows; without a loop there is no exit to be mispredicted.
                for i in range(_STRIDE):
                    gathered[pending + i] = cached_rows[known + i]
                for i in range(_STRIDE, count):
                    gathered[pending + i] = cached_rows[known + i]
                pending += count
                if word_ngrams:
                    hashes[words] = np.int32(hash_)
                    words += 1
                continue
        if not joined:
            for i in range(length):
                word[1 + i] = data[first + i]
        if length == len(_END) and _same(_END, 0, word, 1, length):
            break
        number = _find(lexicon, word, 1, length, hash_)
        if number >= settings.words:
            continue
        if number == _NO_WORD and length >= len(_PREFIX) and _same(_PREFIX, 0, word, 1, len(_PREFIX)):
            continue
        if word_ngrams:
            hashes[words] = np.int32(hash_)
            words += 1
        needed = 1 if free < 0 else 2 + (length + 2) * settings.longest
        if pending + needed > len(gathered):
            _add_rows(rows, gathered, pending, hidden)
            features += pending
            pending = 0
        before = pending
        if number != _NO_WORD:
            gathered[pending] = number
            pending += 1
        if subwords:
            word[0], word[1 + length], word[2 + length] = ord("<"), ord(">"), 0
            pending, added = _gather_subwords(settings, kept, rows, word, length + 2, gathered, pending, hidden)
            features += added
            if free >= 0:
                _remember(cache, word, length, key, tail, free, gathered, before, pending)
    if pending == len(gathered):
        _add_rows(rows, gathered, pending, hidden)
        features += pending
        pending = 0
    if settings.end_row != _NO_WORD:
        gathered[pending] = settings.end_row
        pending += 1
    if word_ngrams:
        hashes[words] = np.int32(_hash(_END))
        words += 1
        buckets = np.uint64(settings.buckets)
        before = pending
        for i in range(words):
            # Signed 32-bit numbers widened to 64 bits, as in fastText.
            ngram = np.uint64(np.int64(hashes[i]))
            for j in range(i + 1, min(i + settings.word_ngrams, words)):
                ngram = ngram * _WORD_NGRAM_FACTOR + np.uint64(np.int64(hashes[j]))
                if pending == len(gathered):
                    pending = _ngram_rows(settings, kept, gathered, before, pending)
                    _add_rows(rows, gathered, pending, hidden)
                    features += pending
                    before = pending = 0
                gathered[pending] = np.int64(ngram % buckets)
                pending += 1
        pending = _ngram_rows(settings, kept, gathered, before, pending)
    _add_rows(rows, gathered, pending, hidden)
    return features + pending


# fastText keeps its best labels in a heap of the C++ library. Which of several equal ones it returns, and in
# which order, follows from how that heap moves them; these functions make the same moves as GNU's library.


@njit(cache=True, nogil=True)
def _sift_up(scores, nodes, hole, score, node):
    while hole > 0:
        parent = (hole - 1) // 2
        if not scores[parent] > score:
            break
        scores[hole], nodes[hole] = scores[parent], nodes[parent]
        hole = parent
    scores[hole], nodes[hole] = score, node


@njit(cache=True, nogil=True)
def _pop(scores, nodes, size):
    """Move the least score of a heap to its end and make a heap of the rest."""
    score, node = scores[size - 1], nodes[size - 1]
    scores[size - 1], nodes[size - 1] = scores[0], nodes[0]
    size -= 1
    hole = 0
    while 2 * hole + 2 < size:
        child = 2 * hole + 2
        if scores[child] > scores[child - 1]:
            child -= 1
        scores[hole], nodes[hole] = scores[child], nodes[child]
        hole = child
    if 2 * hole + 2 == size:
        child = 2 * hole + 1
        scores[hole], nodes[hole] = scores[child], nodes[child]
        hole = child
    _sift_up(scores, nodes, hole, score, node)


@njit(cache=True, nogil=True)
def _log(probability):
    return np.float32(math.log(np.float64(probability) + _SMALLEST))


@njit(cache=True, nogil=True)
def _best_labels(settings, output, hidden, products, path, scores, nodes, labels, probabilities):
    """The most probable labels of one text into `labels` and `probabilities`, best first.

    `products` float32[labels], `path` a stack of (node, score) with room for two per label, `scores` and `nodes`
    a heap with room for one more than `labels`.
    """
    count = len(products)
    k = len(labels)
    products[:] = 0
    for j in range(len(hidden)):
        factor = hidden[j]
        row = output.weights[j]
        for i in range(count):
            products[i] += row[i] * factor
    size = 0
    if settings.hierarchical:
        floor = _log(np.float32(0))
        path_nodes, path_scores = path
        path_nodes[0], path_scores[0] = 2 * count - 2, 0
        depth = 1
        while depth:
            depth -= 1
            node, score = path_nodes[depth], path_scores[depth]
            if score < floor or (size == k and score < scores[0]):
                continue
            if output.left[node] == _FREE:
                size = _offer(scores, nodes, size, k, score, node)
                continue
            product = products[node - count] * output.norms[node - count]
            right = np.float32(1.0 / np.float64(np.float32(1) + np.float32(math.exp(-product))))
            path_nodes[depth] = output.right[node]
            path_scores[depth] = np.float32(score + _log(right))
            path_nodes[depth + 1] = output.left[node]
            path_scores[depth + 1] = np.float32(score + _log(np.float32(1.0 - np.float64(right))))
            depth += 2
    else:
        largest = products[0] * output.norms[0]
        for i in range(count):
            products[i] = products[i] * output.norms[i]
            largest = max(largest, products[i])
        total = np.float32(0)
        for i in range(count):
            products[i] = np.float32(math.exp(np.float64(np.float32(products[i] - largest))))
            total += products[i]
        for i in range(count):
            score = _log(products[i] / total)
            if size == k and score < scores[0]:
                continue
            size = _offer(scores, nodes, size, k, score, i)
    for unsorted in range(size, 1, -1):
        _pop(scores, nodes, unsorted)
    for rank in range(size):
        labels[rank] = nodes[rank]
        probabilities[rank] = np.float32(math.exp(scores[rank]))


@njit(cache=True, nogil=True)
def _offer(scores, nodes, size, k, score, node):
    """Put a label into the heap of the k best; returns the heap's size."""
    _sift_up(scores, nodes, size, score, node)
    size += 1
    if size > k:
        _pop(scores, nodes, size)
        size -= 1
    return size


@njit(cache=True, nogil=True)
def _predict(
    offsets,
    data,
    kinds,
    settings,
    lexicon,
    kept,
    rows,
    cache,
    output,
    hashes,
    word,
    hidden,
    labels,
    probabilities,
):
    """Kernel of `Model.predict_buffers`."""
    count, k = len(output.norms), labels.shape[1]
    gathered = np.empty(_ROWS_AT_ONCE, np.int32)
    products = np.empty(count, np.float32)
    path = np.empty(2 * count, np.int32), np.empty(2 * count, np.float32)
    scores, nodes = np.empty(k + 1, np.float32), np.empty(k + 1, np.int32)
    for i in range(len(offsets) - 1):
        features = _sum_rows(
            settings,
            lexicon,
            kept,
            rows,
            cache,
            gathered,
            hashes,
            word,
            hidden,
            kinds,
            data,
            offsets[i],
            offsets[i + 1],
        )
        if features == 0:
            continue
        factor = np.float32(1.0 / features)
        for j in range(len(hidden)):
            hidden[j] *= factor
        _best_labels(settings, output, hidden, products, path, scores, nodes, labels[i], probabilities[i])
