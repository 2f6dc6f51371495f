"""Word boundaries of UAX 29, rule by rule as the annex states them: obvious, and quadratic."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from corpus_dagster.text import unicode

_WORDS = unicode.code_point_properties()
_IGNORED = {"Extend", "Format", "ZWJ"}
_NEWLINES = {"CR", "LF", "Newline"}
_AHLETTER = {"ALetter", "Hebrew_Letter"}
_MID_NUM_LET_Q = {"MidNumLet", "Single_Quote"}
_MID_LETTER = {"MidLetter"} | _MID_NUM_LET_Q
_MID_NUMBER = {"MidNum"} | _MID_NUM_LET_Q


def word_break(character: str) -> str:
    return unicode.WORD_BREAK_CLASSES[int(_WORDS[ord(character)] & unicode.WORD_BREAK_MASK)]


def is_pictographic(character: str) -> bool:
    return bool(_WORDS[ord(character)] & unicode.PICTOGRAPHIC)


def _before(classes: list[str], i: int) -> int:
    """The character before position i, past what WB4 ignores; -1 where there is none."""
    j = i - 1
    while j > 0 and classes[j] in _IGNORED and classes[j - 1] not in _NEWLINES:
        j -= 1
    return j


def _class(classes: list[str], i: int) -> str:
    return classes[i] if 0 <= i < len(classes) else ""


def breaks_before(text: str, classes: list[str], i: int) -> bool:
    """Whether there is a boundary before character i, 0 < i < len(text)."""
    left, right = classes[i - 1], classes[i]
    if left == "CR" and right == "LF":
        return False  # WB3
    if left in _NEWLINES or right in _NEWLINES:
        return True  # WB3a, WB3b
    if left == "ZWJ" and is_pictographic(text[i]):
        return False  # WB3c
    if left == "WSegSpace" and right == "WSegSpace":
        return False  # WB3d
    if right in _IGNORED:
        return False  # WB4
    j = _before(classes, i)
    left = classes[j]
    second_left = _class(classes, _before(classes, j))
    k = i + 1
    while k < len(classes) and classes[k] in _IGNORED:
        k += 1
    second_right = _class(classes, k)
    if left in _AHLETTER and right in _AHLETTER:
        return False  # WB5
    if left in _AHLETTER and right in _MID_LETTER and second_right in _AHLETTER:
        return False  # WB6
    if second_left in _AHLETTER and left in _MID_LETTER and right in _AHLETTER:
        return False  # WB7
    if left == "Hebrew_Letter" and right == "Single_Quote":
        return False  # WB7a
    if left == "Hebrew_Letter" and right == "Double_Quote" and second_right == "Hebrew_Letter":
        return False  # WB7b
    if second_left == "Hebrew_Letter" and left == "Double_Quote" and right == "Hebrew_Letter":
        return False  # WB7c
    if left in _AHLETTER | {"Numeric"} and right in _AHLETTER | {"Numeric"}:
        return False  # WB8, WB9, WB10
    if second_left == "Numeric" and left in _MID_NUMBER and right == "Numeric":
        return False  # WB11
    if left == "Numeric" and right in _MID_NUMBER and second_right == "Numeric":
        return False  # WB12
    if left == "Katakana" and right == "Katakana":
        return False  # WB13
    joined = _AHLETTER | {"Numeric", "Katakana", "ExtendNumLet"}
    if (left in joined and right == "ExtendNumLet") or (left == "ExtendNumLet" and right in joined):
        return False  # WB13a, WB13b
    if left == "Regional_Indicator" and right == "Regional_Indicator":
        flags = 0
        while j >= 0 and classes[j] == "Regional_Indicator":
            flags += 1
            j = _before(classes, j)
        return flags % 2 == 0  # WB15, WB16
    return True  # WB999


def segments(text: str) -> list[str]:
    classes = [word_break(c) for c in text]
    cuts = [0, *(i for i in range(1, len(text)) if breaks_before(text, classes, i)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if b > a]


def flag(character: str, bit: np.uint16) -> bool:
    return bool(int(_WORDS[ord(character)]) & int(bit))
