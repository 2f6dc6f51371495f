"""Algebra of deletions over a string column: apply them, compose them, count them.

A deletion is a byte span [start, end) of one document; edits elsewhere only find spans, and only this module
takes bytes out. Nothing here knows why a span is deleted, beyond carrying a small label along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen


@dataclass(frozen=True, eq=False)
class Spans:
    """Deletions of n documents, m in all.

    Within a document spans are sorted, disjoint and not empty, and count bytes from the document's start. Two
    spans that touch are one span, unless their labels differ.

    Attributes:
        offsets: int64[n + 1]; the spans of document i are those from offsets[i] to offsets[i + 1].
        starts: int64[m], first byte of each span.
        ends: int64[m], byte after the last one of each span.
        labels: int8[m], what found the span; None where one rule found them all.
    """

    offsets: Buffer
    starts: Buffer
    ends: Buffer
    labels: Buffer | None = None

    def __post_init__(self) -> None:
        count = len(self.starts)
        if len(self.offsets) == 0 or self.offsets[-1] != count or len(self.ends) != count:
            last = self.offsets[-1] if len(self.offsets) else "none"
            raise ValueError(
                f"spans do not fit together: {count} starts, {len(self.ends)} ends, last offset {last}; "
                "expected as many ends as starts, and that number as the last offset"
            )
        if self.labels is not None and len(self.labels) != count:
            raise ValueError(f"{len(self.labels)} labels for {count} spans; expected one label per span")

    @property
    def documents(self) -> int:
        """Number of documents n."""
        return len(self.offsets) - 1

    @property
    def touched(self) -> Buffer:
        """bool[n]: the document has a span."""
        return np.diff(self.offsets) > 0

    @classmethod
    def none(cls, documents: int, *, labelled: bool = False) -> Spans:
        """No deletion in any of `documents` documents."""
        nothing = np.zeros(0, np.int64)
        labels = np.zeros(0, np.int8) if labelled else None
        return cls(np.zeros(documents + 1, np.int64), nothing, nothing, labels)

    @classmethod
    def filled(cls, offsets: Buffer, starts: Buffer, ends: Buffer, labels: Buffer | None = None) -> Spans:
        """The spans that a kernel left in scratch arrays with room for more."""
        count = int(offsets[-1])
        return cls(
            offsets,
            starts[:count].copy(),
            ends[:count].copy(),
            None if labels is None else labels[:count].copy(),
        )

    def shifted(self, by: int) -> Spans:
        """The same spans with `by` added to each label; where they have none, all get the label `by`."""
        labels = np.zeros(len(self.starts), np.int8) if self.labels is None else self.labels
        return Spans(self.offsets, self.starts, self.ends, labels + np.int8(by))

    def take(self, documents: Buffer) -> Spans:
        """The spans of some documents, in the order of `documents` (int64[k], positions)."""
        counts = np.diff(self.offsets)[documents]
        offsets = np.zeros(len(documents) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][documents] - offsets[:-1], counts)
        labels = None if self.labels is None else self.labels[rows]
        return Spans(offsets, self.starts[rows], self.ends[rows], labels)


def delete(offsets: Buffer, data: Buffer, spans: Spans) -> tuple[Buffer, Buffer]:
    """Text without its spans, as a column of the same number of documents.

    Args:
        offsets: int64[n + 1] into `data`.
        data: uint8 UTF-8 bytes.
        spans: deletions of these n documents.

    Raises:
        ValueError: the spans are of another number of documents.
    """
    _same_length(len(offsets) - 1, spans)
    if len(spans.starts) == 0:
        return frozen(offsets), frozen(data)
    kept = kept_bytes(offsets, spans)
    new_offsets = np.zeros(len(offsets), np.int64)
    np.cumsum(kept, out=new_offsets[1:])
    new_data = np.empty(new_offsets[-1], np.uint8)
    _copy_kept(
        frozen(offsets),
        frozen(data),
        frozen(spans.offsets),
        frozen(spans.starts),
        frozen(spans.ends),
        new_data,
    )
    return frozen(new_offsets), frozen(new_data)


def compose(first: Spans, second: Spans) -> Spans:
    """One set of deletions that does what `first` and then `second` do.

    Args:
        first: deletions in the original text.
        second: deletions in the text that `first` leaves.

    Returns:
        Spans in coordinates of the original text: delete(delete(t, first), second) == delete(t, result).
        Spans that touch are merged; with labels, only those of one label. A span of `second` that stretches
        over a hole of `first` keeps its label on both sides, and the hole keeps its own.

    Raises:
        ValueError: the two are of different numbers of documents, or only one of them is labelled.
    """
    _same_length(first.documents, second)
    if (first.labels is None) != (second.labels is None):
        raise ValueError(
            "one set of spans has labels and the other has none; label both (see `Spans.shifted`) or neither"
        )
    if len(second.starts) == 0:
        return first
    if len(first.starts) == 0:
        return second
    capacity = 2 * len(first.starts) + len(second.starts)
    starts = np.empty(capacity, np.int64)
    ends = np.empty(capacity, np.int64)
    labels = np.empty(capacity, np.int8)
    offsets = np.zeros(first.documents + 1, np.int64)
    _compose(*_arrays(first), *_arrays(second), offsets, starts, ends, labels)
    return Spans.filled(offsets, starts, ends, None if first.labels is None else labels)


def deleted_bytes(spans: Spans) -> Buffer:
    """int64[n]: bytes that the spans take out of each document."""
    running = np.zeros(len(spans.starts) + 1, np.int64)
    np.cumsum(spans.ends - spans.starts, out=running[1:])
    return np.diff(running[spans.offsets])


def kept_bytes(offsets: Buffer, spans: Spans) -> Buffer:
    """int64[n]: bytes of each document that the spans leave."""
    return np.diff(offsets) - deleted_bytes(spans)


def to_rows(spans: Spans) -> tuple[Buffer, Buffer, Buffer]:
    """One row per span: document position, start, end (each int64[m]); labels stand in the same order."""
    documents = np.repeat(np.arange(spans.documents, dtype=np.int64), np.diff(spans.offsets))
    return documents, spans.starts, spans.ends


def _same_length(documents: int, spans: Spans) -> None:
    if spans.documents != documents:
        raise ValueError(f"spans of {spans.documents} documents for {documents} documents; expected as many")


def _arrays(spans: Spans) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    labels = spans.labels if spans.labels is not None else np.zeros(len(spans.starts), np.int8)
    return frozen(spans.offsets), frozen(spans.starts), frozen(spans.ends), frozen(labels)


@njit(cache=True, nogil=True)
def _copy_kept(offsets, data, span_offsets, starts, ends, out):
    at = 0
    for document in range(len(offsets) - 1):
        cursor = offsets[document]
        last = span_offsets[document + 1]
        for span in range(span_offsets[document], last + 1):
            stop = offsets[document] + starts[span] if span < last else offsets[document + 1]
            out[at : at + stop - cursor] = data[cursor:stop]
            at += stop - cursor
            if span < last:
                cursor = offsets[document] + ends[span]


@njit(cache=True, nogil=True)
def append_span(starts, ends, first, count, start, end):
    """Append a span, merged into the previous one where they touch; the new count, or -1 for lack of room.

    `first` is the position of the document's first span: spans of two documents never merge.
    """
    if count > first and ends[count - 1] == start:
        ends[count - 1] = end
        return count
    if count == len(starts):
        return -1
    starts[count], ends[count] = start, end
    return count + 1


@njit(cache=True, nogil=True)
def append_labelled(starts, ends, labels, first, count, start, end, label):
    """Like `append_span`; spans that touch merge where they have one label."""
    if count > first and ends[count - 1] == start and labels[count - 1] == label:
        ends[count - 1] = end
        return count
    if count == len(starts):
        return -1
    starts[count], ends[count], labels[count] = start, end, label
    return count + 1


@njit(cache=True, nogil=True)
def _compose(offsets1, starts1, ends1, labels1, offsets2, starts2, ends2, labels2, offsets, starts, ends, labels):
    count = 0
    for document in range(len(offsets1) - 1):
        first = count
        hole, last_hole = offsets1[document], offsets1[document + 1]
        # A byte at position p after the first edit stood at p + shift before it.
        shift = 0
        for span in range(offsets2[document], offsets2[document + 1]):
            cursor = starts2[span]
            stop = ends2[span]
            while cursor < stop:
                if hole < last_hole and starts1[hole] <= cursor + shift:
                    count = append_labelled(
                        starts, ends, labels, first, count, starts1[hole], ends1[hole], labels1[hole]
                    )
                    shift += ends1[hole] - starts1[hole]
                    hole += 1
                    continue
                piece = stop
                if hole < last_hole and starts1[hole] - shift < piece:
                    piece = starts1[hole] - shift
                count = append_labelled(
                    starts, ends, labels, first, count, cursor + shift, piece + shift, labels2[span]
                )
                cursor = piece
        while hole < last_hole:
            count = append_labelled(starts, ends, labels, first, count, starts1[hole], ends1[hole], labels1[hole])
            hole += 1
        offsets[document + 1] = count


@njit(cache=True, nogil=True)
def grown(array):
    """A copy with twice the room, for kernels that cannot know how many spans they will find.

    Grow arrays outside the function that loops over bytes: where a variable may come to name another array,
    Numba counts references in every turn of the loop, which costs far more than the loop's own work.
    """
    larger = np.empty(2 * len(array), array.dtype)
    for i in range(len(array)):
        larger[i] = array[i]
    return larger
