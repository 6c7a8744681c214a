"""Reads the cameras of a recording from InstantAvatar's npz, and checks cameras from any source."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import regular_file
from nerfstudio_avatars.media.npz_file import open_npz

_FEWEST_PIXELS, MOST_PIXELS = 16, 16384
"""Limits on each side of a picture in pixels."""
_SHORTEST_FOCAL, _LONGEST_FOCAL = 0.05, 100.0
"""Limits on the focal length divided by the longer side of the picture: fields of view of 169 and 0.6 degrees."""
_ROUNDED = 1e-2
"""Largest difference from the identity, due to rounding, of a rotation times its transpose."""
MOST_BYTES = 1 << 28
"""Of one array of a file: cameras of a million frames and more."""
_MATRIX_STACK = 3
"""Number of dimensions of an array with one matrix per frame."""
_FIX = "write intrinsic (3,3) and extrinsic (4,4), or one of each per frame; height and width, whole numbers of pixels"
_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, MemoryError, NotImplementedError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip


def read_cameras(
    path: Path, count: int, picture_size: tuple[int, int]
) -> tuple[Float[np.ndarray, "frames 3 3"], Float[np.ndarray, "frames 4 4"], int, int]:
    """Reads one still camera, or one camera per frame.

    Args:
        path: an npz with `intrinsic`, `extrinsic` (OpenCV's, world to camera) and, if they are known, `height` and
            `width` in pixels.
        count: the number of frames.
        picture_size: height and width to use if the file does not have them.

    Raises:
        DataError: if there is no such file, or cameras are impossible.
    """
    fields = _fields(path)
    stacked = []
    for name, side in (("intrinsic", 3), ("extrinsic", 4)):
        if name not in fields:
            found = f"the fields {', '.join(sorted(fields)) or '(none)'}"
            raise DataError(path, found, "an npz with intrinsic and extrinsic", _FIX)
        value = fields[name]
        every = value if value.ndim == _MATRIX_STACK else value[None]
        expected = f"finite numbers of shape ({side},{side}) or ({count},{side},{side})"
        if value.dtype.kind not in "fiu" or every.shape[1:] != (side, side) or len(every) not in (1, count):
            raise DataError(path, f"{name} of shape {value.shape} and type {value.dtype}", expected, _FIX)
        stacked.append(np.broadcast_to(every.astype(np.float64), (count, side, side)))
    height, width = (
        _pixels(path, name, fields.get(name), own) for name, own in zip(("height", "width"), picture_size, strict=True)
    )
    check_cameras(path, stacked[0], stacked[1], height, width, _FIX)
    return stacked[0], stacked[1], height, width


def check_cameras(
    path: Path,
    intrinsics: Float[np.ndarray, "frames 3 3"],
    extrinsics: Float[np.ndarray, "frames 4 4"],
    height: int,
    width: int,
    fix: str,
) -> None:
    """Refuses impossible cameras.

    Raises:
        DataError: if pictures have no size, focal lengths are implausible, or matrices are not rotations; the message
            names the frame.
    """
    if not all(_FEWEST_PIXELS <= size <= MOST_PIXELS for size in (height, width)):
        found = f"pictures of {width}x{height} pixels"
        raise DataError(path, found, f"{_FEWEST_PIXELS} to {MOST_PIXELS} pixels a side", fix)
    for name, matrices in (("intrinsic", intrinsics), ("extrinsic", extrinsics)):
        _refuse(path, ~np.isfinite(matrices).all((1, 2)), f"{name} with NaN or infinity", "finite numbers", fix)
    longer = max(height, width)
    focal, centre = intrinsics[:, [0, 1], [0, 1]], intrinsics[:, :2, 2]
    shown = f"focal lengths of {focal[0, 0]:g} and {focal[0, 1]:g} pixels"
    expected = (
        f"{_SHORTEST_FOCAL * longer:.0f} to {_LONGEST_FOCAL * longer:.0f} pixels for pictures of {width}x{height}"
    )
    strange = ((focal < _SHORTEST_FOCAL * longer) | (focal > _LONGEST_FOCAL * longer)).any(1)
    _refuse(path, strange, shown, expected + ": focal lengths are in pixels, not millimetres", fix)
    outside = (np.abs(centre - np.array([width, height]) / 2) > 2 * longer).any(1)
    _refuse(path, outside, f"a principal point at {centre[0]}", "one near the middle of the picture, pixels", fix)
    last = (np.abs(intrinsics[:, 2] - [0, 0, 1]) > _ROUNDED).any(1)
    _refuse(path, last, f"intrinsic with the last row {intrinsics[0, 2]}", "0 0 1", fix)
    turn = extrinsics[:, :3, :3]
    away = np.abs(turn @ turn.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    bent = (away > _ROUNDED) | (np.linalg.det(turn) < 0) | (np.abs(extrinsics[:, 3] - [0, 0, 0, 1]) > _ROUNDED).any(1)
    told = f"extrinsic that is no rotation (determinant {np.linalg.det(turn[bent.argmax()]):.3g})"
    _refuse(path, bent, told, "a rotation and a translation, world -> camera, last row 0 0 0 1", fix)


def _refuse(path: Path, bad: np.ndarray, found: str, expected: str, fix: str) -> None:
    if bad.any():
        where = f" in {bad.sum()} of {len(bad)} cameras, first of frame {bad.argmax()}" if len(bad) > 1 else ""
        raise DataError(path, found + where, expected, fix)


def _pixels(path: Path, name: str, value: np.ndarray | None, own: int) -> int:
    if value is None:
        return own
    whole = value.size == 1 and value.dtype.kind in "fiu" and np.isfinite(value).all()
    if not whole or float(value.reshape(())) != int(value.reshape(())):
        shown = value.ravel()[0] if value.size == 1 else f"an array of shape {value.shape}"
        raise DataError(path, f"{name}: {shown!r}", "a whole number of pixels", _FIX)
    return int(value.reshape(()))


def _fields(path: Path) -> dict[str, Any]:
    regular_file(path, "an npz with intrinsic and extrinsic", _FIX)
    try:
        with open_npz(path, most=MOST_BYTES) as file:
            wanted = ("intrinsic", "extrinsic", "height", "width")
            return {name: file[name] for name in file.files if name in wanted}
    except _DAMAGED as error:
        found = f"{type(error).__name__}: {error}"
        raise DataError(path, found, "an npz with intrinsic and extrinsic", _FIX) from error
