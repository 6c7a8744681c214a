"""Picture files of any kind as numbers, turned upright."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from nerfstudio_avatars.errors import DataError

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
WITHOUT_ALPHA = frozenset({".jpg", ".jpeg", ".bmp"})


def read_values(path: Path) -> np.ndarray:
    """Grey (H,W), BGR or BGRA (H,W,C) as cv2 has them, 8 or 16 bits deep, upright as cameras note it (JPEG).

    Raises:
        DataError: it is missing, or no such picture.
    """
    # cv2 turns pictures upright only when it may drop their alpha.
    plain = path.suffix.lower() in WITHOUT_ALPHA
    values = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if plain else cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype not in (np.uint8, np.uint16):
        found = "no such file" if not path.is_file() else "something that is no 8-bit or 16-bit picture"
        raise DataError(path, found, "a PNG, JPEG, WebP or BMP picture", "write the picture again, or leave it out")
    return values


def listed_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder by name; numbers in names count as numbers: 9.png comes before 10.png."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != ".")
    return sorted(files, key=lambda path: by_number(path.name))


def by_number(name: str) -> tuple[list[str | int], str]:
    """Sorts text as text and the numbers in it as numbers."""
    parts: list[str | int] = list(re.split(r"(\d+)", name))
    parts[1::2] = [int(str(part)) for part in parts[1::2]]
    return parts, name
