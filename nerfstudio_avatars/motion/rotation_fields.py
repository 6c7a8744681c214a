"""Rotations of SMPL's joints out of a file's field, however it writes them: the width of a frame decides.

Axis-angle, rotation matrices, unit quaternions and the first two rows or columns of matrices ("6D", Zhou et al. 2019)
of 21 to 55 joints. What the numbers are is told by their count and by what only rotations have: orthonormal matrices,
unit quaternions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nerfstudio_avatars.errors import DataError

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

Kind = Literal["axis-angle", "matrices", "quaternions", "6D"]
_WIDTHS: dict[Kind, int] = {"axis-angle": 3, "matrices": 9, "quaternions": 4, "6D": 6}
WHOLE_BODY = (24, 22, 52, 55)
"""Joints with the root: SMPL, its siblings without hands, SMPL-H, SMPL-X."""
WITHOUT_ROOT = (23, 21, 51, 54)
"""The same without it."""
_NOT_ORTHONORMAL = 1e-2
"""Networks and float16 leave matrices that much off."""
_BENT = 0.05
"""Radians that both knees are bent on average, so that their sense tells rows from columns."""
_FIX = "give the file as its tool wrote it; docs/motion-files.md lists the widths that are read"


@dataclass(frozen=True)
class Rotations:
    """A field's numbers, and what they are."""

    kind: Kind
    values: Float[ndarray, "frames joints numbers"]
    first: bool = True
    """Quaternions begin with w; 6D numbers are columns one after the other (else interleaved)."""
    rows: bool = False
    """6D numbers are rows of the matrices: the columns of their transposes."""

    @property
    def joints(self) -> int:
        """Joints a frame."""
        return self.values.shape[1]

    def vectors(self) -> Float[ndarray, "frames joints 3"]:
        """Axis-angle vectors, radians; NaN where the file has NaN."""
        if self.kind == "axis-angle":
            return self.values
        flat = self.values.reshape(-1, self.values.shape[-1])
        known = np.isfinite(flat).all(1)
        result = np.full((len(flat), 3), np.nan)
        if known.any():
            result[known] = self._rotation(flat[known]).as_rotvec()
        return result.reshape(*self.values.shape[:2], 3)

    def _rotation(self, flat: Float[ndarray, "n numbers"]) -> Rotation:
        # Imported here: scipy takes half a second, and few files need it.
        from scipy.spatial.transform import Rotation

        if self.kind == "matrices":
            return Rotation.from_matrix(flat.reshape(-1, 3, 3))
        if self.kind == "quaternions":
            return Rotation.from_quat(np.roll(flat, -1, 1) if self.first else flat)
        a, b = _pair(flat, self.first)
        matrices = np.stack([a, b, np.cross(a, b)], -1)
        return Rotation.from_matrix(matrices.swapaxes(-1, -2) if self.rows else matrices)

    def note(self) -> tuple[str, ...]:
        """What was recognised; nothing for axis-angle."""
        if self.kind == "axis-angle":
            return ()
        order = {"quaternions": (" (x, y, z, w)", " (w, x, y, z)"), "6D": (" (interleaved)", "")}.get(
            self.kind, ("", "")
        )
        what = f"{self.kind}{order[self.first]}"
        return (f"rotations are read from {what}" + (", rows of the matrices" if self.rows else ""),)


def rotations(
    path: str | Path, name: str, value: Any, joints: tuple[int, ...], like: Rotations | None = None
) -> Rotations:
    """A field as rotations of one of the given numbers of joints.

    The first axis is the frames, or missing; an axis of length one before it is dropped.

    Args:
        path: the file, for messages.
        name: the field, for messages.
        value: numbers.
        joints: numbers of joints that are possible, likely ones first; above 22, axis-angle of any other number too.
        like: another field of the same file, whose order of numbers holds where this one's cannot be told.

    Raises:
        DataError: it is not made of numbers, or not of such a number.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(path, f"`{name}`: {error}", "numbers", _FIX) from error
    if array.dtype.kind not in "fiu":
        raise DataError(path, f"`{name}` of type {array.dtype}", "numbers", _FIX)
    if not array.size:
        raise DataError(path, f"`{name}` of shape {array.shape}, empty", "at least one frame", _FIX)
    array = array.astype(np.float64)
    shapes = [array, array[None]]
    while shapes[0].ndim > 2 and len(shapes[0]) == 1:
        shapes.insert(0, shapes[0][0])
    # The file's own first axis before the others.
    for frames in (array, *shapes):
        matched = _match(frames, joints, like) if frames.ndim > 1 else None
        if matched is not None:
            return matched
    found = f"`{name}` of shape {array.shape}"
    counts = ", ".join(str(3 * count) for count in joints)
    raise DataError(path, found, f"{counts} numbers a frame (or rotation matrices of so many joints)", _FIX)


def _match(array: ndarray, joints: tuple[int, ...], like: Rotations | None) -> Rotations | None:
    width = math.prod(array.shape[1:])
    trailing = array.shape[-1] if array.ndim > 2 else 0
    square = array.ndim > 2 and array.shape[-2:] == (3, 3)
    inner = {kind: (0, numbers) if not square else () for kind, numbers in _WIDTHS.items()} | {"matrices": (0, 9, 3)}
    fitting: list[tuple[Kind, int]] = [
        (kind, width // numbers)
        for kind, numbers in _WIDTHS.items()
        if width % numbers == 0 and width // numbers in joints and trailing in inner[kind]
    ]
    if width % 3 == 0 and width > 66 and max(joints) > 22 and trailing in (0, 3) and not (fitting or square):
        fitting.append(("axis-angle", width // 3))
    # A whole set of orthonormal matrices is no accident; plain vectors are what is left.
    fitting.sort(key=lambda one: one[0] == "axis-angle")
    for kind, count in fitting:
        found = _checked(kind, array.reshape(len(array), count, -1), like)
        if found is not None:
            return found
    return None


def _checked(kind: Kind, values: Float[ndarray, "frames joints numbers"], like: Rotations | None) -> Rotations | None:
    """The numbers as that kind, or None if they cannot be."""
    flat = values.reshape(-1, values.shape[-1])
    flat = flat[np.isfinite(flat).all(1)]
    if kind == "axis-angle":
        return Rotations(kind, values)
    if kind == "matrices":
        matrices = flat.reshape(-1, 3, 3)
        return Rotations(kind, values) if _orthonormal(matrices) and (np.linalg.det(matrices) > 0).all() else None
    if kind == "quaternions":
        if (abs((flat**2).sum(1) - 1) > _NOT_ORTHONORMAL).any():
            return None
        # Joints of a body turn less than half a turn from rest, most of them little: w is the largest.
        w = np.median(abs(flat[:, [0, 3]]), 0) if len(flat) else np.array([1.0, 0.0])
        first = bool(w[0] > w[1]) if abs(w[0] - w[1]) > 0.2 or like is None else like.first
        return Rotations(kind, values, first)
    fits = [first for first in (True, False) if _orthonormal(np.stack(_pair(flat, first), 1))]
    if not fits:
        return None
    first = like.first if like is not None and like.first in fits else fits[0]
    columns = Rotations(kind, values, first)
    if like is not None:
        return Rotations(kind, values, first, like.rows)
    return Rotations(kind, values, first, first and _knees(columns.vectors()) < -_BENT)


def _pair(flat: Float[ndarray, "n 6"], first: bool) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n 3"]]:
    return (flat[:, :3], flat[:, 3:]) if first else (flat[:, ::2], flat[:, 1::2])


def _orthonormal(vectors: Float[ndarray, "n rows 3"]) -> bool:
    error = np.abs(vectors @ vectors.swapaxes(-1, -2) - np.eye(vectors.shape[1]))
    return bool(error.max(initial=0) < _NOT_ORTHONORMAL)


def _knees(vectors: Float[ndarray, "frames joints 3"]) -> float:
    """How far both knees are bent, mean, radians: SMPL's turn about +x, and never back."""
    count = vectors.shape[1]
    if count < 21:
        return 0.0
    first = 3 if count in WITHOUT_ROOT else 4
    return float(np.nan_to_num(np.nanmean(vectors[:, first : first + 2, 0])))


def whole_body(
    path: str | Path, name: str, value: Any, root: tuple[str, Any] | None = None
) -> tuple[Float[ndarray, "frames 72"], tuple[str, ...], bool]:
    """SMPL's 24 joints, axis-angle, from a field of the whole body, or of all but the root and the root's own field.

    Hands, jaw and eyes of SMPL's siblings are dropped; their 21 body joints are SMPL's, and SMPL's own two hand joints
    stay straight.

    Args:
        path: the file, for messages.
        name: the body's field, for messages.
        value: its numbers.
        root: name and numbers of the root's field.

    Returns:
        Poses, notes, and whether they are SMPL's own rather than a sibling's, whose betas mean something else.

    Raises:
        DataError: no such number of joints, or fields of different lengths.
    """
    if root is None:
        body = rotations(path, name, value, (*WHOLE_BODY, *WITHOUT_ROOT))
        notes = body.note()
        vectors = body.vectors()
        if body.joints in WITHOUT_ROOT:
            vectors = np.concatenate([np.zeros_like(vectors[:, :1]), vectors], 1)
            notes = (*notes, f"{body.joints} joints without a root: the person faces one way all the time")
    else:
        body = rotations(path, name, value, WITHOUT_ROOT)
        orient = rotations(path, root[0], root[1], (1,), body)
        notes = body.note() or orient.note()
        if len(orient.values) != len(body.values):
            found = f"{root[0]} {np.shape(root[1])}, {name} {np.shape(value)}"
            raise DataError(path, found, "the same number of frames", _FIX)
        vectors = np.concatenate([orient.vectors(), body.vectors()], 1)
    count = vectors.shape[1]
    if count == 24:
        return vectors.reshape(len(vectors), 72), notes, True
    if count > 22:
        notes = (*notes, f"poses of {count} joints: hands, jaw and eyes are dropped")
    poses = np.zeros((len(vectors), 24, 3))
    poses[:, :22] = vectors[:, :22]
    return poses.reshape(len(poses), 72), notes, False
