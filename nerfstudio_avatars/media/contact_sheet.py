"""Contact sheets: rows of small pictures with captions in one PNG file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

TILE = 220
"""Height of the pictures in pixels."""
CAPTION = 14
"""Height of a line of text in pixels."""
GAP = 4
"""Gap between pictures in pixels."""


@dataclass(frozen=True)
class SheetRow:
    """A row of pictures."""

    title: str
    pictures: list[UInt8[np.ndarray, "height width 3"]]
    captions: list[str]
    """The text below each picture."""


def write_sheet(path: Path, rows: list[SheetRow]) -> None:
    """Writes rows below one another on white, with all pictures at the same height."""
    from PIL import Image, ImageDraw

    drawn = []
    for row in rows:
        tiles = [Image.fromarray(picture) for picture in row.pictures]
        drawn.append([tile.resize((max(round(tile.width * TILE / tile.height), 1), TILE)) for tile in tiles])
    width = max([sum(tile.width + GAP for tile in tiles) for tiles in drawn] + [TILE])
    line = TILE + 2 * CAPTION + GAP
    sheet = Image.new("RGB", (width, line * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (row, tiles) in enumerate(zip(rows, drawn, strict=True)):
        left, top = 0, number * line
        pen.text((GAP, top), row.title, fill=(0, 0, 0))
        for tile, caption in zip(tiles, row.captions, strict=True):
            sheet.paste(tile, (left, top + CAPTION))
            pen.text((left + GAP, top + CAPTION + TILE), caption, fill=(90, 90, 90))
            left += tile.width + GAP
    with whole_file(path) as partial:
        sheet.save(partial, format="PNG")


def spread(count: int, wanted: int = 8) -> list[int]:
    """Evenly spaced numbers from 0 to `count` - 1, including both ends."""
    wanted = min(wanted, count)
    return [round(index * (count - 1) / max(wanted - 1, 1)) for index in range(wanted)]
