"""Arrow string columns as buffers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_dagster.text.arrow import blocks, frozen, string_array, string_buffers

column_types = st.sampled_from(
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
values = st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=6)), max_size=12)


def texts_of(offsets: np.ndarray, data: np.ndarray) -> list[str]:
    return [data[a:b].tobytes().decode() for a, b in pairwise(offsets)]


@given(values, column_types, st.integers(0, 12), st.integers(0, 12))
def test_a_slice_of_any_string_type_gives_its_texts_with_nulls_empty(texts, kind, start, length) -> None:
    column = pa.array(texts, pa.string()).cast(kind).slice(min(start, len(texts)), length)
    offsets, data = string_buffers(column)
    assert texts_of(offsets, data) == [text or "" for text in texts[start : start + length]]
    assert (offsets.dtype, data.dtype) == (np.int64, np.uint8)
    assert offsets[0] == 0
    assert offsets[-1] == len(data)


@given(st.lists(values, max_size=4), column_types)
def test_chunks_are_joined(chunks, kind) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.string()).cast(kind) for chunk in chunks], kind)
    assert texts_of(*string_buffers(column)) == [text or "" for chunk in chunks for text in chunk]


def test_a_null_that_covers_bytes_is_empty() -> None:
    validity = pa.py_buffer(bytes([0b101]))
    buffers = [validity, pa.py_buffer(np.array([0, 1, 3, 4], np.int32)), pa.py_buffer(b"abcd")]
    column = pa.Array.from_buffers(pa.string(), 3, buffers, null_count=1)
    assert texts_of(*string_buffers(column)) == ["a", "", "d"]


def test_a_column_of_nulls_without_type_is_empty_texts() -> None:
    assert texts_of(*string_buffers(pa.nulls(2))) == ["", ""]


def test_a_single_chunk_shares_its_bytes() -> None:
    column = pa.array(["some", "text"])
    _, data = string_buffers(pa.chunked_array([column]))
    assert data.ctypes.data == column.buffers()[2].address


def test_buffers_are_read_only() -> None:
    offsets, data = string_buffers(pa.array(["a"]))
    assert not offsets.flags.writeable
    assert not data.flags.writeable


def test_a_column_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="type int64; expected string"):
        string_buffers(pa.array([1]))


@given(values)
def test_buffers_make_the_column_again(texts) -> None:
    column = pa.array([text or "" for text in texts], pa.string())
    assert string_array(*string_buffers(column)).equals(column)


def test_offsets_may_begin_within_the_data() -> None:
    column = string_array(np.array([2, 3, 5]), np.frombuffer(b"xxabcyy", np.uint8))
    column.validate(full=True)
    assert column.to_pylist() == ["a", "bc"]


@pytest.mark.parametrize("offsets", [[0, 9], [-1, 2], [0, 2, 1], []])
def test_offsets_outside_the_data_are_refused(offsets) -> None:
    with pytest.raises(ValueError, match="expected"):
        string_array(np.array(offsets, np.int64), np.zeros(4, np.uint8))


def test_frozen_leaves_the_original_writable() -> None:
    array = np.zeros(3, np.int64)
    assert not frozen(array).flags.writeable
    array[0] = 1
    assert frozen(array)[0] == 1


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 50))
def test_blocks_cover_all_documents_and_exceed_the_limit_only_alone(sizes, limit) -> None:
    offsets = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)
    ranges = list(blocks(offsets, limit))
    assert [i for first, last in ranges for i in range(first, last)] == list(range(len(sizes)))
    assert all(last == first + 1 or offsets[last] - offsets[first] <= limit for first, last in ranges)
