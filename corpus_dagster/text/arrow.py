"""Arrow string columns as NumPy buffers, and back.

Kernels see text only as `offsets` (int64[n+1]) and `data` (uint8, UTF-8). Nothing here looks at characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

Buffer = np.ndarray[Any, np.dtype[Any]]

BLOCK_BYTES = 1 << 20
"""Text that a kernel takes at a time: scratch arrays stay within a processor's cache, calls stay rare."""

_LARGEST_STRING_COLUMN = 2**31 - 1
"""Bytes that the int32 offsets of Arrow's `string` can address."""


def string_buffers(column: pa.Array | pa.ChunkedArray) -> tuple[Buffer, Buffer]:
    """The text of a string column: `offsets` int64[n+1] from 0, and `data` uint8[offsets[n]], both read-only.

    Takes `string`, `large_string`, `string_view` and dictionaries of them, slices and chunks. A null becomes
    an empty text. Nothing is copied for a single chunk of `string` or `large_string` but the offsets.

    Raises:
        TypeError: the column does not hold strings.
    """
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            column = column.chunk(0)
        else:
            # int64 offsets: several chunks together may pass the 2 GB of int32.
            column = pa.concat_arrays([_strings(chunk, large=True) for chunk in column.chunks] or [_EMPTY])
    column = _strings(column)
    if column.null_count:
        column = column.fill_null("")
    index = np.dtype(np.int64 if pa.types.is_large_string(column.type) else np.int32)
    if len(column) == 0:
        return frozen(np.zeros(1, np.int64)), frozen(np.empty(0, np.uint8))
    _, offset_buffer, data_buffer = column.buffers()
    stored = np.frombuffer(offset_buffer, index, len(column) + 1, column.offset * index.itemsize)
    first, last = int(stored[0]), int(stored[-1])
    offsets = stored.astype(np.int64)
    offsets -= first
    data = np.frombuffer(data_buffer, np.uint8)[first:last] if last > first else np.empty(0, np.uint8)
    return frozen(offsets), frozen(data)


def string_array(offsets: Buffer, data: Buffer) -> pa.Array:
    """The column of n texts `data[offsets[i]:offsets[i + 1]]`: `string` where it fits, else `large_string`.

    `data` must be UTF-8 cut between characters; this is not verified. The bytes are shared, not copied.

    Raises:
        ValueError: the offsets do not ascend within `data`.
    """
    if offsets.ndim != 1 or len(offsets) == 0:
        raise ValueError(f"offsets have shape {offsets.shape}; expected (n + 1,) for n texts")
    if offsets[0] < 0 or offsets[-1] > len(data) or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(
            f"offsets run from {offsets[0]} to {offsets[-1]} over {len(data)} bytes; expected them to ascend within"
        )
    fits = int(offsets[-1]) <= _LARGEST_STRING_COLUMN
    stored = np.ascontiguousarray(offsets, np.int32 if fits else np.int64)
    buffers = [None, pa.py_buffer(stored), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.string() if fits else pa.large_string(), len(offsets) - 1, buffers)


def frozen(array: Buffer) -> Buffer:
    """A read-only, contiguous view.

    Numba compiles a kernel again for writable arrays; Arrow's are read-only, so all inputs are made so.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def blocks(offsets: Buffer, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, int]]:
    """Ranges [first, last) of documents with at most `block_bytes` of text each, or one larger document."""
    count = len(offsets) - 1
    first = 0
    while first < count:
        limit = int(offsets[first]) + block_bytes
        last = int(np.searchsorted(offsets, limit, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last


_EMPTY = pa.array([], pa.large_string())


def _strings(array: pa.Array, *, large: bool = False) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return array.cast(pa.large_string())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise TypeError(f"a text column of type {array.type}; expected string, large_string or string_view")
    if large or not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return array.cast(pa.large_string())
    return array
