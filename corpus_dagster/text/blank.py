"""Texts of nothing but certain characters, such as white space. What they mean to a rule is not decided here."""

from __future__ import annotations

import numpy as np
from numba import njit

from corpus_dagster.text.arrow import Buffer, frozen
from corpus_dagster.text.unicode import decode

WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters of `str.isspace`."""


def consist_of(offsets: Buffer, data: Buffer, characters: str) -> Buffer:
    """Which of n texts have no other characters than these, bool[n]; empty texts are among them.

    A text is read up to the first other character.

    Args:
        offsets: int64[n + 1], ascending positions in `data`.
        data: uint8, UTF-8.
        characters: a few.
    """
    result = np.empty(len(offsets) - 1, np.bool_)
    code_points = np.array([ord(c) for c in characters], np.int32)
    _consist_of(frozen(offsets), frozen(data), frozen(code_points), result)
    return result


@njit(cache=True, nogil=True)
def _consist_of(offsets, data, code_points, result):
    for i in range(len(result)):
        at, end = offsets[i], offsets[i + 1]
        result[i] = True
        while at < end:
            code_point, length = decode(data, at)
            known = False
            for other in code_points:
                if other == code_point:
                    known = True
                    break
            if not known:
                result[i] = False
                break
            at += length
