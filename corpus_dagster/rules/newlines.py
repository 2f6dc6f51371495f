"""Runs of newlines capped at a number, as deletions. Other white space is left alone."""

from __future__ import annotations

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen
from corpus_dagster.text.spans import Spans, append_span, grown

_NEWLINE = 10


def find(offsets: Buffer, data: Buffer, max_consecutive: int = 2) -> Spans:
    r"""Spans of the "\n" beyond the first `max_consecutive` of each run.

    Args:
        offsets: int64[n + 1] into `data`.
        data: uint8 UTF-8 bytes.
        max_consecutive: newlines a run may keep; 2, the default of DCLM, keeps one blank line.

    Raises:
        ValueError: `max_consecutive` is negative.
    """
    if max_consecutive < 0:
        raise ValueError(f"max_consecutive is {max_consecutive}; expected 0 or more")
    return Spans.filled(*_find(frozen(offsets), frozen(data), max_consecutive))


@njit(cache=True, nogil=True)
def _find(offsets, data, max_consecutive):
    span_offsets = np.zeros(len(offsets), np.int64)
    starts = np.empty(64, np.int64)
    ends = np.empty(64, np.int64)
    for document in range(len(offsets) - 1):
        count = -1
        while count < 0:
            count = _find_in(
                data,
                offsets[document],
                offsets[document + 1],
                max_consecutive,
                starts,
                ends,
                span_offsets[document],
            )
            if count < 0:
                starts, ends = grown(starts), grown(ends)
        span_offsets[document + 1] = count
    return span_offsets, starts, ends


@njit(cache=True, nogil=True)
def _find_in(data, base, end, max_consecutive, starts, ends, first):
    """Append the spans of one document from position `first` on; their end, or -1 for lack of room."""
    count = first
    i = base
    while i < end:
        if data[i] != _NEWLINE:
            i += 1
            continue
        run = i
        while i < end and data[i] == _NEWLINE:
            i += 1
        if i - run > max_consecutive:
            count = append_span(starts, ends, first, count, run + max_consecutive - base, i - base)
            if count < 0:
                return count
    return count
