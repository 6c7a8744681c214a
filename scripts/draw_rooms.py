"""Draws the rooms of the package for the documentation, from the contract that `lint-imports` checks.

mkdocs calls it while it builds the site (`hooks` in mkdocs.yml), so the drawing is never older than the contract.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
PLACE = "<!-- the rooms, drawn by scripts/draw_rooms.py -->"
WIDTH, ROW, BOX = 720, 52, 34
"""Pixels: of the drawing, from row to row, and of a box's height."""


def layers() -> list[list[str]]:
    """Rooms in rows, from the commands down; those of one row do not import each other."""
    contracts = tomllib.loads(PYPROJECT.read_text("utf8"))["tool"]["importlinter"]["contracts"]
    contract = next(one for one in contracts if one["type"] == "layers")
    return [[name.strip("() ") for name in row.replace(":", "|").split("|")] for row in contract["layers"]]


def drawing(rows: list[list[str]]) -> str:
    """The rooms as boxes, with arrows from each row down to the next, as SVG."""
    height = ROW * len(rows) - ROW + BOX + 4
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" role="img" aria-label="Rooms of the package, in rows" '
        'font-family="monospace" font-size="14" text-anchor="middle" fill="none" stroke="currentColor">'
    ]
    for number, row in enumerate(rows):
        top, wide = 2 + ROW * number, (WIDTH - 12 * (len(row) - 1) - 4) / len(row)
        for place, name in enumerate(row):
            left = 2 + place * (wide + 12)
            parts.append(f'<rect x="{left:.0f}" y="{top}" width="{wide:.0f}" height="{BOX}" rx="6"/>')
            middle = f'x="{left + wide / 2:.0f}" y="{top + BOX / 2 + 5:.0f}"'
            parts.append(f'<text {middle} fill="currentColor" stroke="none">{name}</text>')
        if number + 1 < len(rows):
            start, end = top + BOX + 2, top + ROW - 3
            parts.append(f'<path d="M{WIDTH // 2} {start}V{end}m-4 -5l4 5l4 -5"/>')
    return "".join([*parts, "</svg>"])


def on_page_markdown(markdown: str, **_page: Any) -> str:
    """Called by mkdocs for every page."""
    return markdown.replace(PLACE, drawing(layers()))
