"""DCLM's quality counts and repetition signals, in plain Python over `str`: what kernels must agree with.

Classes of characters come from our tables, not from `str` methods, so that the interpreter's Unicode version
does not matter; `test_unicode` compares the two.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from reference import uax29

from corpus_dagster.text import unicode


def _is(character: str, bit: np.uint16) -> bool:
    return uax29.flag(character, bit)


def split(text: str) -> list[str]:
    """`str.split()`."""
    spaced = "".join(" " if _is(c, unicode.SPACE) else c for c in text)
    return [word for word in spaced.split(" ") if word]


def strip(text: str) -> str:
    """`str.strip()`."""
    kept = [i for i, c in enumerate(text) if not _is(c, unicode.SPACE)]
    return text[kept[0] : kept[-1] + 1] if kept else ""


def uax29_words(text: str) -> list[str]:
    return [s for s in uax29.segments(text) if _is(s[0], unicode.ALNUM)]


def quality(text: str) -> dict[str, int]:
    words = split(text)
    lines = [strip(line) for line in text.split("\n")]
    lines = [line for line in lines if line]
    tokens = [token for token in re.split("[ \n\t\v\f\r\0]", text) if token]
    stop_words = {"the", "be", "to", "of", "and", "that", "have", "with"}
    return {
        "fasttext_words": sum(_is(token[0], unicode.ALNUM) for token in tokens),
        "words": len(words),
        "word_chars": sum(map(len, words)),
        "symbols": sum(text.count(symbol) for symbol in ("#", "...", ". . .", "\u2026")),
        "lines": len(lines),
        "bullet_lines": sum(line.startswith(("\u25cf", "\u2022", "*", "-")) for line in lines),
        "ellipsis_lines": sum(line.endswith(("...", ". . .", "\u2026")) for line in lines),
        "non_alpha_words": sum(not any(_is(c, unicode.ALPHA) for c in word) for word in words),
        "stop_words": sum(word.lower() in stop_words for word in words),
    }


def repetition(text: str) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, mark in (("line", "\n"), ("paragraph", "\n\n")):
        segments = [strip(segment) for segment in re.split(mark, text)]
        segments = [segment for segment in segments if segment]
        copies = Counter(segments)
        repeated = [segment for segment in segments if copies[segment] > 1]
        out[f"duplicate_{name}s"] = len(repeated) / len(segments) if segments else 1.0
        out[f"duplicate_{name}_chars"] = sum(map(len, repeated)) / sum(map(len, segments)) if segments else 1.0
    words = uax29_words(text)
    total = sum(map(len, words))
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        copies = Counter(grams)
        most = max(copies.values(), default=0)
        if n <= 4:
            longest = max((sum(map(len, gram)) for gram in copies if copies[gram] == most), default=0)
            out[f"top_{n}_gram"] = longest * most / total if most > 1 else 0.0
        else:
            covered = {i + k for i, gram in enumerate(grams) if copies[gram] > 1 for k in range(n)}
            out[f"duplicate_{n}_gram"] = sum(len(words[i]) for i in covered) / total if covered else 0.0
    return out
