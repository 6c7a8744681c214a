"""Reads rotations of SMPL's joints from a field of a file, in whatever form they are written.

The forms are axis-angle, rotation matrices, unit quaternions, and the first two rows or columns of matrices ("6D", Zhou
et al. 2019), of 21 to 55 joints. They are recognised by the count of numbers per frame, and by what only rotations
have: matrices are orthonormal, and quaternions have length one.
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
_WHOLE_BODY = (24, 22, 52, 55)
"""Numbers of joints including the root: SMPL, its siblings without hands, SMPL-H, SMPL-X."""
_WITHOUT_ROOT = (23, 21, 51, 54)
"""The same numbers without the root."""
_NOT_ORTHONORMAL = 1e-2
"""Largest deviation from an orthonormal matrix, which networks and float16 cause."""
_BENT = 0.05
"""Mean bend of both knees in radians that is large enough to tell rows from columns by its direction."""
_FIX = "give the file as its tool wrote it; docs/motion-files.md lists the widths that are read"


@dataclass(frozen=True)
class Rotations:
    """The numbers of a field, and the form that they are in."""

    kind: Kind
    values: Float[ndarray, "frames joints numbers"]
    first: bool = True
    """Whether quaternions begin with w, or 6D columns follow each other instead of being interleaved."""
    rows: bool = False
    """Whether 6D numbers are rows of the matrices, which are columns of their transposes."""

    @property
    def joints(self) -> int:
        """Number of joints per frame."""
        return self.values.shape[1]

    def vectors(self) -> Float[ndarray, "frames joints 3"]:
        """Axis-angle vectors in radians; NaN where the file has NaN."""
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
        """Notes on what was recognised; none for axis-angle."""
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
    """Reads a field as rotations of one of the given numbers of joints.

    The first axis counts the frames, or is missing; an axis of length one before it is dropped.

    Args:
        path: the file, for messages.
        name: the field, for messages.
        value: the field.
        joints: possible numbers of joints, likely ones first; above 22, axis-angle vectors of any number are read.
        like: another field of the same file; its order of numbers is used if that of this field cannot be told.

    Raises:
        DataError: if the field does not hold numbers, or not as many as any of these joints have.
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
    # The first axis of the file is tried before the others.
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
    # A whole set of orthonormal matrices is no accident. Anything else is axis-angle vectors.
    fitting.sort(key=lambda one: one[0] == "axis-angle")
    for kind, count in fitting:
        found = _checked(kind, array.reshape(len(array), count, -1), like)
        if found is not None:
            return found
    return None


def _checked(kind: Kind, values: Float[ndarray, "frames joints numbers"], like: Rotations | None) -> Rotations | None:
    """The numbers in this form, or None if they cannot be in it."""
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
        # Joints of a body turn by less than half a turn from rest, and most of them by little: w is the largest.
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
    """Mean bend of both knees in radians. In SMPL they turn about +x, and never backwards."""
    count = vectors.shape[1]
    if count < 21:
        return 0.0
    first = 3 if count in _WITHOUT_ROOT else 4
    return float(np.nan_to_num(np.nanmean(vectors[:, first : first + 2, 0])))


def whole_body(
    path: str | Path, name: str, value: Any, root: tuple[str, Any] | None = None
) -> tuple[Float[ndarray, "frames 72"], tuple[str, ...], bool]:
    """Reads SMPL's 24 joints as axis-angle from a field of the whole body, or from one of the root and one of the rest.

    Hands, jaw and eyes of SMPL's siblings are dropped; their 21 body joints are SMPL's, and SMPL's own two hand joints
    stay straight.

    Args:
        path: the file, for messages.
        name: the name of the body's field, for messages.
        value: the numbers in it.
        root: the name of the root's field and the numbers in it.

    Returns:
        Poses, notes, and whether the model is SMPL itself rather than a sibling, whose betas mean something else.

    Raises:
        DataError: if no number of joints fits, or fields have different lengths.
    """
    if root is None:
        body = rotations(path, name, value, (*_WHOLE_BODY, *_WITHOUT_ROOT))
        notes = body.note()
        vectors = body.vectors()
        if body.joints in _WITHOUT_ROOT:
            vectors = np.concatenate([np.zeros_like(vectors[:, :1]), vectors], 1)
            notes = (*notes, f"{body.joints} joints without a root: the person faces one way all the time")
    else:
        body = rotations(path, name, value, _WITHOUT_ROOT)
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
