"""Properties of characters."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.strategies import texts

from corpus_dagster.text import build_tables, unicode

UCD = Path("/usr/share/unicode")
"""Where Debian's package `unicode-data` installs Unicode's files."""

CHARACTERS = [chr(c) for c in range(0x110000)]
SAME_VERSION = unicodedata.unidata_version == unicode.UNICODE_VERSION


def comparable() -> list[str]:
    """Characters on which the interpreter must agree with our tables.

    All of them under the same Unicode version. An older interpreter (3.11 has 14.0) does not know all
    characters of ours, and a newer one knows more: then only characters that both know, which in our tables
    are those with a property.
    """
    if SAME_VERSION:
        return CHARACTERS
    known = unicode.code_point_properties() != 0
    older = tuple(map(int, unicodedata.unidata_version.split("."))) < tuple(
        map(int, unicode.UNICODE_VERSION.split("."))
    )
    return [c for c in CHARACTERS if unicodedata.category(c) != "Cn" and (older or known[ord(c)])]


@pytest.mark.parametrize(
    ("flag", "predicate"),
    [
        (unicode.ALPHA, str.isalpha),
        (unicode.ALNUM, str.isalnum),
        (unicode.UPPER, str.isupper),
        (unicode.DIGIT, str.isdigit),
        (unicode.SPACE, str.isspace),
        (unicode.WORD_CHARACTER, re.compile(r"\w").match),
    ],
    ids=["alpha", "alnum", "upper", "digit", "space", "word_character"],
)
def test_flags_agree_with_python(flag, predicate) -> None:
    words = unicode.code_point_properties()
    differing = [hex(ord(c)) for c in comparable() if bool(words[ord(c)] & flag) != bool(predicate(c))]
    assert differing == []


def test_white_space_is_unicodes_and_lacks_pythons_separators() -> None:
    words = unicode.code_point_properties()
    white, space = (set(np.flatnonzero(words & flag).tolist()) for flag in (unicode.WHITE_SPACE, unicode.SPACE))
    assert space - white == {0x1C, 0x1D, 0x1E, 0x1F}
    assert white <= space


def test_only_ascii_becomes_a_stop_words_letter_in_lower_case() -> None:
    # The kernel folds bytes; a character outside ASCII that folds to one of these letters would escape it.
    letters = set("thebofandvwi")
    assert [c for c in CHARACTERS[0x80:] if c.lower() in letters] == []


def test_classes_of_known_characters() -> None:
    words = unicode.code_point_properties()
    known = {
        "a": "ALetter",
        "7": "Numeric",
        "_": "ExtendNumLet",
        "'": "Single_Quote",
        ".": "MidNumLet",
        ",": "MidNum",
        ":": "MidLetter",
        '"': "Double_Quote",
        "\u05d0": "Hebrew_Letter",
        "\u30ab": "Katakana",
        "\u0301": "Extend",
        "\u200d": "ZWJ",
        "\u00ad": "Format",
        "\U0001f1e9": "Regional_Indicator",
        "\u65e5": "Other",
        "\u3042": "Other",
        "\u0e01": "Other",
        "\U0001f600": "Other",
        " ": "WSegSpace",
        "\u00a0": "Other",
        "\u0085": "Newline",
    }
    found = {c: unicode.WORD_BREAK_CLASSES[int(words[ord(c)] & unicode.WORD_BREAK_MASK)] for c in known}
    assert found == known
    assert words[ord("\U0001f600")] & unicode.PICTOGRAPHIC
    assert words[0x24C2] & unicode.PICTOGRAPHIC  # a letter and an emoji at once


def test_committed_tables_are_those_of_the_unicode_files() -> None:
    if not (UCD / "auxiliary/WordBreakProperty.txt").is_file():
        pytest.skip(f"no Unicode Character Database at {UCD}")
    if "15.0.0" not in (UCD / "PropList.txt").open(encoding="utf-8").readline():
        pytest.skip(f"{UCD} holds another Unicode version")
    assert np.array_equal(unicode.code_point_properties(), build_tables.code_point_properties(UCD))


def test_the_builder_refuses_another_version(tmp_path: Path) -> None:
    path = tmp_path / "PropList.txt"
    path.write_text("# PropList-14.0.0.txt\n0009 ; White_Space\n", encoding="utf-8")
    with pytest.raises(build_tables.TableError, match=r"expected a file of Unicode 15\.0\.0"):
        build_tables.read_property(path)


def test_two_stages_give_the_table_back() -> None:
    table = np.random.default_rng(1).integers(0, 3, 0x110000).astype(np.uint16)
    table[0x1000:] = 5
    index, values = build_tables.two_stages(table)
    assert np.array_equal(values.reshape(-1, 128)[index].reshape(-1), table)
    assert index[0] == 0


@given(texts)
def test_properties_stand_at_the_first_byte_of_each_character(text) -> None:
    words = unicode.code_point_properties()
    expected = [w for c in text for w in [words[ord(c)]] + [unicode.CONTINUATION] * (len(c.encode()) - 1)]
    assert unicode.properties(np.frombuffer(text.encode(), np.uint8)).tolist() == expected


def test_every_character_is_decoded() -> None:
    text = "".join(c for c in CHARACTERS if not 0xD800 <= ord(c) <= 0xDFFF)
    words = unicode.properties(np.frombuffer(text.encode(), np.uint8))
    expected = unicode.code_point_properties()
    assert np.array_equal(words[words != unicode.CONTINUATION], np.delete(expected, np.s_[0xD800:0xE000]))


@given(st.binary(max_size=30))
def test_bytes_that_are_not_utf8_stay_within_bounds(data) -> None:
    array = np.frombuffer(data, np.uint8)
    i = 0
    while i < len(array):
        code_point, length = unicode.decode(array, i)
        # Surrogates aside, Python's strict decoder is the judge.
        try:
            assert chr(code_point) == data[i : i + length].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            assert (code_point, length) == (0xFFFD, 1)
        i += length
    assert i == len(array)
    assert len(unicode.properties(array)) == len(array)
