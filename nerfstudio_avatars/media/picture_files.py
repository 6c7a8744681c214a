"""Picture files of any kind: listed by number, read upright, as RGB with a mask if there is one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.media.picture_decoder import EXPECTED, FIX, decode_picture

PICTURE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}
)
OPAQUE = 255


@dataclass(frozen=True)
class Picture:
    """A frame and, if the file has one, the mask of the object."""

    rgb: UInt8[np.ndarray, "height width 3"]
    mask: UInt8[np.ndarray, "height width"] | None = None


def read_values(path: Path) -> np.ndarray:
    """Reads a picture: grey (H,W), BGR or BGRA (H,W,C) as in cv2, 8 or 16 bits deep, turned upright.

    Of an animated picture, the first frame is read.

    Raises:
        DataError: the file is missing, not such a picture, truncated, or has too many pixels.
    """
    # Python opens the file: cv2 ends the process over names that are not UTF-8.
    return decode_picture(path, read_bytes(path, EXPECTED, FIX))


def read_picture(path: Path) -> Picture:
    """Reads grey, colour or transparent pictures, 8 or 16 bits deep, turned upright.

    Transparent pictures are composited on black, and their transparency is the mask, unless they are opaque throughout.
    """
    values = read_values(path)
    if values.dtype == np.uint16:
        values = np.rint(values / 257).astype(np.uint8)
    if values.ndim == 2:
        return Picture(cv2.cvtColor(values, cv2.COLOR_GRAY2RGB))
    if values.shape[2] == 4:
        return from_rgba(cv2.cvtColor(values, cv2.COLOR_BGRA2RGBA))
    return Picture(cv2.cvtColor(values, cv2.COLOR_BGR2RGB))


def from_rgba(rgba: UInt8[np.ndarray, "height width 4"]) -> Picture:
    """Composites straight colours on black. A picture that is opaque throughout has no mask."""
    alpha = np.ascontiguousarray(rgba[..., 3])
    if alpha.min(initial=OPAQUE) == OPAQUE:
        return Picture(np.ascontiguousarray(rgba[..., :3]))
    return Picture(np.rint(rgba[..., :3] * (alpha[..., None] / OPAQUE)).astype(np.uint8), alpha)


def squared(values: UInt8[np.ndarray, "height width *channels"], size: int) -> UInt8[np.ndarray, "size size *channels"]:
    """The central square, shrunk by averaging areas or enlarged linearly."""
    height, width = values.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    values = values[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(values)
    return cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def write_png(path: Path, values: UInt8[np.ndarray, "height width *channels"]) -> None:
    """Writes a picture: grey (H,W), RGB or RGBA (H,W,C).

    Raises:
        OSError: it cannot be written.
    """
    if values.ndim > 2:
        values = cv2.cvtColor(values, cv2.COLOR_RGBA2BGRA if values.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    # OpenCV's own writer does not say why it failed.
    path.write_bytes(cv2.imencode(".png", values)[1].tobytes())


def listed_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted by name with numbers as numbers: 9.png comes before 10.png."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != ".")
    return sorted(files, key=lambda path: by_number(path.name))


def by_number(name: str) -> tuple[list[str | int], str]:
    """A sort key that compares numbers in names as numbers."""
    parts: list[str | int] = list(re.split(r"(\d+)", name))
    parts[1::2] = [int(str(part)) for part in parts[1::2]]
    return parts, name
