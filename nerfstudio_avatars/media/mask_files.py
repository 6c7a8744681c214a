"""Reads mask files of any kind as soft masks from 0 to 255."""

from __future__ import annotations

import io
from functools import reduce
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.media.picture_files import PICTURE_SUFFIXES, read_values

FULL = 255
MASK_SUFFIXES = PICTURE_SUFFIXES | {".npy"}
_SIXTEEN_BITS = 65535
_FEW = 3
"""Up to this many different values count as labels, the largest of them the object: 0 and 1, or 0, 128 and 255."""
NOISE = 32
"""Noise that lossy coding adds to black is below this value, and is not a label."""
_LOSSY = frozenset({".jpg", ".jpeg"})
_OVERSHOOT = 0.5
"""Largest excess of shares beyond 0 and 1, as smooth resizing causes."""


def read_mask(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Reads a mask from a picture or array (.npy): labels, booleans, shares from 0 to 1, 8 or 16 bits, hard or soft.

    Transparency is used if it varies, otherwise the brightest channel. If there are few different values, the largest
    is full; many values are a soft mask and are kept.

    Raises:
        DataError: the file is missing, does not hold one mask, or has numbers out of range.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return mask_of(_read_array(path))
    return mask_of(read_values(path), NOISE if suffix in _LOSSY else 0)


def mask_of(values: np.ndarray, noise: int = 0) -> UInt8[np.ndarray, "height width"]:
    """Converts numbers to a soft mask from 0 to 255.

    Args:
        values: (H,W), or (H,W,C) with up to 4 channels, the last of 2 or 4 being alpha; not negative.
        noise: if nothing is brighter than this, few different values are not labels.
    """
    mask = _one_channel(values)
    largest = mask.max(initial=0)
    if largest == 0:
        return np.zeros(mask.shape, np.uint8)
    if mask.dtype == np.uint8 and largest == FULL:
        return np.ascontiguousarray(mask)
    if largest > noise and len(np.unique(mask)) <= _FEW:
        full = largest
    elif mask.dtype.kind == "f" and largest <= 1 + _OVERSHOOT:
        full = 1
    else:
        full = _SIXTEEN_BITS if mask.dtype.kind != "f" and largest > FULL else FULL
    return np.rint(mask * (FULL / full)).clip(0, FULL).astype(np.uint8)


def _one_channel(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return values
    if values.shape[-1] in (2, 4):
        alpha = values[..., -1]
        if alpha.min() != alpha.max():
            return alpha
        values = values[..., :-1]
    return reduce(np.maximum, np.moveaxis(values, -1, 0))


def _read_array(path: Path) -> np.ndarray:
    fix = "write the mask again, as (height, width)"
    content = read_bytes(path, "an npy array", fix)
    if not content.startswith(np.lib.format.MAGIC_PREFIX):
        raise DataError(path, f"a file that starts with {content[:8]!r}", "an npy array", fix)
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, TokenError, BadZipFile) as error:
        raise DataError(path, str(error), "an npy array", fix) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif":
        found = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else "an archive of arrays"
        raise DataError(path, found, "an npy array of numbers", fix)
    shape = values.shape
    values = np.squeeze(values)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.size == 0 or values.ndim not in (2, 3) or values.shape[2:] not in ((), (2,), (3,), (4,)):
        raise DataError(path, f"an array of shape {shape}", "one mask, (height, width)", fix)
    low, high = values.min(), values.max()
    allowed = (-_OVERSHOOT, FULL + _OVERSHOOT) if values.dtype.kind == "f" else (0, _SIXTEEN_BITS)
    if not allowed[0] <= low <= high <= allowed[1]:
        expected = "0 and 1, shares from 0 to 1, or numbers from 0 to 255"
        raise DataError(path, f"numbers from {low} to {high}", expected, "write the mask in one of these ways")
    return values
