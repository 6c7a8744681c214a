"""Picture files of any kind as numbers, turned upright."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nerfstudio_avatars.data.errors import DataError

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
