"""Small inline plots as SVG, for asset pages: no plotting library, a few kB each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

WIDTH, LABEL_WIDTH, VALUE_WIDTH, BAR, GAP = 640, 190, 90, 14, 6
FILL, TRACK, INK = "#4f43dd", "#e8e8f0", "#3b3b4f"


def bars(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """A horizontal bar chart, one row per label, as an SVG document."""
    largest = max((value for _, value in rows), default=0) or 1
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    height = 30 + len(rows) * (BAR + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="11" fill="{INK}">',
        f'<text x="0" y="14" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (label, value) in enumerate(rows):
        y = 26 + index * (BAR + GAP)
        length = max(1 if value else 0, round(room * value / largest))
        parts += [
            f'<text x="{LABEL_WIDTH - 6}" y="{y + BAR - 3}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{room}" height="{BAR}" fill="{TRACK}"/>',
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{length}" height="{BAR}" fill="{FILL}"/>',
            f'<text x="{LABEL_WIDTH + room + 6}" y="{y + BAR - 3}">{value:,}</text>',
        ]
    return "".join([*parts, "</svg>"])


def markdown_image(alternative: str, svg: str) -> str:
    """The SVG as a Markdown image that needs no file."""
    return f"![{alternative}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
