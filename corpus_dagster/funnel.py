"""The survival funnel as text: for the terminal, and as Markdown for asset pages. Rows are of `schemas.FUNNEL`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADERS = ("stage", "rule", "documents", "removed", "words", "bytes", "share kept")
Step = Mapping[str, Any]


def rows(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """Cells of each step: what is left after it, and its share of the documents at the start."""
    start = steps[0]["documents_in"] if steps else 0
    return [
        (
            step["stage"],
            step["rule"],
            f"{step['documents_out']:,}",
            f"{step['documents_removed']:,}",
            f"{step['words_out']:,}",
            f"{step['bytes_out']:,}",
            f"{step['documents_out'] / start:.1%}" if start else "-",
        )
        for step in steps
    ]


def text_table(headers: Sequence[str], cells: Sequence[Sequence[str]], left: int = 2) -> str:
    """An aligned table; the first `left` columns are words, the others numbers."""
    widths = [max(len(row[i]) for row in (headers, *cells)) for i in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, cells)])


def markdown_table(steps: Sequence[Step]) -> str:
    """The funnel in Markdown."""
    lines = [" | ".join(HEADERS), "|".join(["---", "---"] + ["---:"] * (len(HEADERS) - 2))]
    return "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(row) for row in rows(steps))])


def landmarks(steps: Sequence[Step], most: int) -> list[tuple[str, int]]:
    """Documents left after the steps that cost most, with the first and the last step, in the order of the funnel."""
    middle = sorted(range(1, len(steps) - 1), key=lambda i: (-steps[i]["documents_removed"], i))
    shown = {0, len(steps) - 1, *(i for i in middle[: max(0, most - 2)] if steps[i]["documents_removed"])}
    return [(step["rule"], step["documents_out"]) for i, step in enumerate(steps) if i in shown]


Counts = dict[str, dict[str, int]]
"""By `stage: rule`, the documents left and their words and bytes."""


def counts(steps: Sequence[Step]) -> Counts:
    """The numbers of a funnel that a later one can be compared with."""
    return {
        f"{step['stage']}: {step['rule']}": {name: step[f"{name}_out"] for name in ("documents", "words", "bytes")}
        for step in steps
    }


def differences(expected: Mapping[str, Counts], found: Mapping[str, Counts]) -> list[str]:
    """One sentence for each count that is not exactly as expected, in the order of the funnel."""
    lines = [f"{crawl}: not expected" for crawl in found if crawl not in expected]
    for crawl, steps in expected.items():
        if crawl not in found:
            lines.append(f"{crawl}: expected, not found")
            continue
        for step in {**steps, **found[crawl]}:
            want, have = steps.get(step), found[crawl].get(step)
            if want != have:
                lines.append(f"{crawl}, {step}: expected {want}, found {have}")
    return lines
