"""Hypothesis strategies for text that is hard on kernels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from corpus_dagster.text import unicode
from corpus_dagster.text.arrow import string_buffers

# The first call of a kernel compiles it, which no deadline of an example should see.
settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")

MEMBERS_PER_KIND = 6


def _members() -> dict[int, list[str]]:
    """A few characters of every combination of properties, of every length in UTF-8."""
    found: dict[int, dict[int, list[str]]] = {}
    words = unicode.code_point_properties()
    for code_point, word in enumerate(words):
        if 0xD800 <= code_point <= 0xDFFF:
            continue
        length = 1 + (code_point > 0x7F) + (code_point > 0x7FF) + (code_point > 0xFFFF)
        group = found.setdefault(int(word), {}).setdefault(length, [])
        if len(group) < MEMBERS_PER_KIND:
            group.append(chr(code_point))
    return {word: [c for group in lengths.values() for c in group] for word, lengths in found.items()}


MEMBERS = _members()
"""Characters by property word."""

BY_CLASS = {
    name: [c for word, members in MEMBERS.items() if word & unicode.WORD_BREAK_MASK == i for c in members]
    for i, name in enumerate(unicode.WORD_BREAK_CLASSES)
}
"""Characters by Word_Break class."""

characters = st.one_of(
    st.sampled_from(sorted(MEMBERS)).flatmap(lambda word: st.sampled_from(MEMBERS[word])),
    st.sampled_from("aB1 \n.'#-*:,_\"\u2026\u2022\u25cf\0"),
    st.characters(codec="utf-8"),
)
mixed_text = st.lists(characters, max_size=40).map("".join)

_WORDS = [
    "the",
    "The",
    "of",
    "and",
    "it's",
    "3.14",
    "a",
    "b",
    "tHAT",
    "have",
    "with",
    "\u00e9t\u00e9",
    "\u6f22",
    "\u00df",
]
_SPACES = [" ", " ", " ", "\n", "\n\n", "\n\n\n", "\t", "\r\n", "\u00a0", "\u2028", "\x1c", "\0"]
_SIGNS = [
    "...",
    ". . .",
    "....",
    ". . . .",
    "\u2026",
    "#",
    "##",
    "\u2022",
    "\u25cf",
    "*",
    "-",
    "- ",
    "!",
    " .",
]

_WORDS = [
    "the",
    "The",
    "of",
    "and",
    "it's",
    "3.14",
    "a",
    "b",
    "tHAT",
    "have",
    "with",
    "\u00e9t\u00e9",
    "\u6f22",
    "\u00df",
]
_SPACES = [" ", " ", " ", "\n", "\n\n", "\n\n\n", "\t", "\r\n", "\u00a0", "\u2028", "\x1c", "\0"]
_SIGNS = [
    "...",
    ". . .",
    "....",
    ". . . .",
    "\u2026",
    "#",
    "##",
    "\u2022",
    "\u25cf",
    "*",
    "-",
    "- ",
    "!",
    " .",
]

_pieces = st.one_of(st.sampled_from(_WORDS), st.sampled_from(_SPACES), st.sampled_from(_SIGNS), mixed_text)
web_text = st.lists(_pieces, max_size=60).map("".join)
"""Text with the things rules look for, blank lines and odd spaces."""

repetitive_text = st.builds(
    lambda words, order, joins: "".join(words[i % len(words)] + j for i, j in zip(order, joins, strict=False)),
    st.lists(
        st.one_of(st.sampled_from(["a", "b", "cc", "\u00e9", "don't", "\u65e5"]), mixed_text),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 3), max_size=120),
    st.lists(st.sampled_from([" ", " ", " ", "\n", "\n\n", ", "]), min_size=120, max_size=120),
)
"""Text of few distinct words, so that long n-grams, lines and paragraphs repeat."""

texts = st.one_of(mixed_text, web_text, repetitive_text)


def buffers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The texts as kernels take them."""
    return string_buffers(pa.array(texts, pa.string()))
