"""The seven line edits, run literally: cut into lines, edit, join, strip, with Python's `re`."""

from __future__ import annotations

import re
from collections.abc import Callable

from reference.columns import Marked

from corpus_dagster.rules.dclm_lines import COUNTED, LABELS, LineSettings

Edit = Callable[[str], list[tuple[int, int]] | None]
"""From a line to the spans deleted from it, or None where the line is dropped."""

COUNTER = re.compile(rf"^\W*\d(?:,|\.|\d)*(?:K|k|M|m|B|b)?\s+(?:{'|'.join(COUNTED)})\W*$")
PHRASES = {
    "items_in_cart": re.compile(r"\s?(?:items in cart)", re.I),
    "read_more": re.compile(r"\s?(?:read more...)$", re.I),
    "sign_in": re.compile(r"^(?:sign-in)\s?", re.I),
}


def run(text: str, settings: LineSettings) -> tuple[Marked, bool]:
    """The text after the edits, and whether it was left empty by one of them."""
    marked = Marked(text)
    edits: list[tuple[str, Edit, bool]] = [
        ("uppercase", lambda line: _share(line, str.isupper, settings.max_uppercase), True),
        ("numeric", lambda line: _share(line, str.isdigit, settings.max_numeric), True),
        ("counter", lambda line: None if COUNTER.search(line.lower()) else [], True),
        (
            "line_length",
            lambda line: None if line and len(line.split()) < settings.min_words else [],
            False,
        ),
    ]
    for name, pattern in PHRASES.items():
        edits.append((name, lambda line, p=pattern: _phrase(line, p, settings.short_line_words), True))
    for name, edit, strip in edits:
        _apply(marked, edit, LABELS.index(name), strip=strip)
        if marked.text == "":
            return marked, True
    return marked, False


def _share(line: str, counts: Callable[[str], bool], limit: float) -> list[tuple[int, int]] | None:
    return [] if not line or sum(counts(c) for c in line) / len(line) <= limit else None


def _phrase(line: str, pattern: re.Pattern[str], words: int) -> list[tuple[int, int]] | None:
    if len(line.split()) > words:
        return []
    edited = pattern.sub("", line)
    if line and (not edited or edited.isspace()):
        return None
    return [match.span() for match in pattern.finditer(line)]


def _apply(marked: Marked, edit: Edit, label: int, *, strip: bool) -> None:
    lines = marked.text.split("\n")
    results = [edit(line) for line in lines]
    kept = [i for i, result in enumerate(results) if result is not None]
    expected = "\n".join(_without(lines[i], results[i] or []) for i in kept)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for i in reversed(range(len(lines))):
        result = results[i]
        if result is not None:
            for start, end in reversed(result):
                marked.remove(starts[i] + start, starts[i] + end, label)
        elif kept and i > kept[-1]:
            marked.remove(starts[i] - 1, starts[i + 1] - 1, label)
        else:
            # Where no line is kept, the last one has no newline.
            marked.remove(starts[i], min(starts[i + 1], starts[-1] - 1), label)
    assert marked.text == expected
    if strip:
        stripped = marked.text.strip()
        marked.remove(len(marked.text.rstrip()), len(marked.text), LABELS.index("strip"))
        marked.remove(0, len(marked.text) - len(stripped), LABELS.index("strip"))
        assert marked.text == stripped


def _without(line: str, spans: list[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        line = line[:start] + line[end:]
    return line
