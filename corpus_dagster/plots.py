"""Small inline plots as SVG, for asset pages: no plotting library, less than a kilobyte each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

INLINE_CHARACTERS = 1000
"""Dagster's web interface shows Markdown shorter than this where it stands, and longer one behind a link (1.13)."""

ROWS = 9
"""Bars that fit in so many characters, with labels of 24 characters and values of 9 digits."""

WIDTH, ROW = 480, 20
FILL, GROUND = "#ccf", "#fff"
"""A colour that black text can stand on; a ground of its own, because the page may be dark."""

_UNESCAPED = "<>/='.,:;-_"
"""Characters besides letters and digits that may stand in a URL within Markdown as they are."""


def bars(alternative: str, rows: Sequence[tuple[str, int]]) -> str:
    """A horizontal bar chart as a Markdown image that needs no file; labels and values stand on the bars.

    It is shown inline up to `ROWS` rows.

    Args:
        alternative: what the image shows, for those who cannot see it.
        rows: labels and values, from top to bottom.
    """
    largest = max((value for _, value in rows), default=0) or 1
    lines, labels = [], []
    for index, (label, value) in enumerate(rows):
        # A value above zero is never without a bar.
        length = max(1 if value else 0, round(WIDTH * value / largest))
        lines.append(f"M0,{index * ROW + ROW // 2}h{length}")
        labels.append(f"<tspan x='6' dy='{ROW}'>{escape(label)} {value:,}</tspan>")
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{len(rows) * ROW}' "
        f"style='background:{GROUND};font:12px monospace'>"
        f"<path stroke='{FILL}' stroke-width='{ROW - 2}' d='{''.join(lines)}'/>"
        f"<text y='-6'>{''.join(labels)}</text></svg>"
    )
    # Percent-encoded and not base64: a third shorter for text like this.
    return f"![{alternative}](data:image/svg+xml,{quote(svg, safe=_UNESCAPED)})"


def largest(rows: Sequence[tuple[str, int]], rest: str, most: int = ROWS) -> list[tuple[str, int]]:
    """The largest values, in descending order and then by label, and the sum of the others under `rest`."""
    ordered = sorted((row for row in rows if row[1]), key=lambda row: (-row[1], row[0]))
    if len(ordered) <= most:
        return ordered
    others = ordered[most - 1 :]
    return [*ordered[: most - 1], (f"{len(others)} {rest}", sum(value for _, value in others))]
