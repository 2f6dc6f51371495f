"""Text as lists of strings, and deletions character by character, to compare the kernels' results with."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from corpus_dagster.text.spans import Spans, delete, to_rows

Row = tuple[int, int, int]
"""Start, end (in bytes) and label of a span; the label is 0 where spans have none."""


def column(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)


def strings(offsets: np.ndarray, data: np.ndarray) -> list[str]:
    return [data[offsets[i] : offsets[i + 1]].tobytes().decode() for i in range(len(offsets) - 1)]


def rows(spans: Spans) -> list[list[Row]]:
    labels = spans.labels if spans.labels is not None else np.zeros(len(spans.starts), np.int8)
    found: list[list[Row]] = [[] for _ in range(spans.documents)]
    for document, start, end, label in zip(*to_rows(spans), labels, strict=True):
        found[document].append((int(start), int(end), int(label)))
    return found


def after(texts: Sequence[str], spans: Spans) -> list[str]:
    return strings(*delete(*column(texts), spans))


class Marked:
    """A text whose characters remember where they first stood, through any number of edits."""

    def __init__(self, text: str) -> None:
        self.original = text
        self.text = text
        self._positions = list(range(len(text)))
        self._labels: list[int | None] = [None] * len(text)

    def remove(self, start: int, end: int, label: int = 0) -> None:
        """Delete characters [start, end) of the present text."""
        for position in self._positions[start:end]:
            self._labels[position] = label
        del self._positions[start:end]
        self.text = self.text[:start] + self.text[end:]

    def rows(self) -> list[Row]:
        found: list[Row] = []
        byte = 0
        for character, label in zip(self.original, self._labels, strict=True):
            size = len(character.encode())
            if label is not None:
                if found and found[-1][1] == byte and found[-1][2] == label:
                    found[-1] = (found[-1][0], byte + size, label)
                else:
                    found.append((byte, byte + size, label))
            byte += size
        return found


assigned = st.characters(exclude_categories=("Cs", "Cn"), max_codepoint=sys.maxunicode)
"""Characters that this Python's Unicode version knows; the kernels' tables may be of another version."""
