"""Developer command: build the character tables of `corpus_dagster.text.unicode` from Unicode's data files.

    python -m corpus_dagster.text.build_tables UCD_DIRECTORY [OUTPUT.npz]

`UCD_DIRECTORY` holds the UCD of `unicode.UNICODE_VERSION`, with `auxiliary/`, `emoji/` and `extracted/`
(Debian: package `unicode-data`). The result is committed; nothing at run time reads Unicode's files. The same
input gives the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from corpus_dagster.text import unicode

MAX_CODE_POINT = 0x10FFFF
_HEADING_LINES = 12

WHITE_SPACE_BIDI_CLASSES = ("WS", "B", "S")
"""With category Zs, what Python's `str.isspace` asks for."""


class TableError(ValueError):
    """Unicode's files are not what the tables are built from."""


def read_property(path: Path) -> list[tuple[int, int, str]]:
    """The ranges (first, last, value) of a UCD file of the form `XXXX[..YYYY] ; value`.

    Raises:
        TableError: the file is of another Unicode version.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    # Most files carry their version in the title, those of emoji/ in "Used with Emoji Version 15.0".
    heading = "\n".join(lines[:_HEADING_LINES])
    if unicode.UNICODE_VERSION not in lines[0] and f"Version {unicode.UNICODE_VERSION[:-2]} " not in heading:
        raise TableError(f"{path}: begins {lines[0]!r}; expected a file of Unicode {unicode.UNICODE_VERSION}")
    ranges = []
    for line in lines:
        fields = [field.strip() for field in line.split("#", 1)[0].split(";")]
        if len(fields) < 2:
            continue
        first, _, last = fields[0].partition("..")
        ranges.append((int(first, 16), int(last or first, 16), fields[1]))
    return ranges


def code_point_properties(ucd: Path) -> np.ndarray:
    """The property word (uint16, see `unicode`) of every code point, shape (0x110000,)."""
    table = np.zeros(MAX_CODE_POINT + 1, np.uint16)

    def mark(path: str, flag: np.uint16, *values: str) -> None:
        found = [r for r in read_property(ucd / path) if r[2] in values]
        if not found:
            raise TableError(f"{ucd / path}: no code point with any of {values}")
        for first, last, _ in found:
            table[first : last + 1] |= flag

    for first, last, value in read_property(ucd / "auxiliary/WordBreakProperty.txt"):
        if value not in unicode.WORD_BREAK_CLASSES:
            raise TableError(f"{ucd}/auxiliary/WordBreakProperty.txt: unknown Word_Break value {value!r}")
        table[first : last + 1] |= unicode.WORD_BREAK_CLASSES.index(value)
    mark("emoji/emoji-data.txt", unicode.PICTOGRAPHIC, "Extended_Pictographic")
    mark("extracted/DerivedGeneralCategory.txt", unicode.ALPHA, "Lu", "Ll", "Lt", "Lm", "Lo")
    mark("extracted/DerivedNumericType.txt", unicode.ALNUM, "Decimal", "Digit", "Numeric")
    mark("extracted/DerivedNumericType.txt", unicode.DIGIT, "Decimal", "Digit")
    mark("DerivedCoreProperties.txt", unicode.UPPER, "Uppercase")
    mark("extracted/DerivedBidiClass.txt", unicode.SPACE, *WHITE_SPACE_BIDI_CLASSES)
    mark("extracted/DerivedGeneralCategory.txt", unicode.SPACE, "Zs")
    mark("PropList.txt", unicode.WHITE_SPACE, "White_Space")
    table[(table & unicode.ALPHA) != 0] |= unicode.ALNUM
    table[(table & unicode.ALNUM) != 0] |= unicode.WORD_CHARACTER
    table[ord("_")] |= unicode.WORD_CHARACTER
    return table


def two_stages(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a table into distinct blocks: `table[c] == values[index[c >> BITS], c & MASK]`, block 0 first."""
    rows = table.reshape(-1, 1 << unicode.BLOCK_BITS)
    numbers: dict[bytes, int] = {}
    index = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    values = np.concatenate([np.frombuffer(key, table.dtype) for key in numbers])
    return np.array(index, np.uint16), values


def main() -> None:
    """Build and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ucd", type=Path, help=f"directory of the UCD, version {unicode.UNICODE_VERSION}")
    parser.add_argument("output", type=Path, nargs="?", default=unicode.TABLES)
    arguments = parser.parse_args()
    index, values = two_stages(code_point_properties(arguments.ucd))
    np.savez_compressed(arguments.output, index=index, values=values)
    size = arguments.output.stat().st_size
    print(f"{arguments.output}: {len(values) >> unicode.BLOCK_BITS} blocks, {size} bytes")


if __name__ == "__main__":
    main()
