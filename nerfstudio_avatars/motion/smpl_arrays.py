"""Reads numeric fields of a file, with checks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionSource
from nerfstudio_avatars.motion.rotation_fields import whole_body

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

_FIX = "give the file as its tool wrote it; if you changed it, see docs/motion-files.md"
BODY_ANGLES, SMPL_ANGLES = 66, 72
"""Number of angles in a pose of SMPL's siblings without hands and face, and of SMPL."""


def has(data: Any, *names: str) -> bool:
    """Whether a value is a dict that has all these fields."""
    return isinstance(data, dict) and all(name in data for name in names)


def rows(source: MotionSource, name: str, value: Any, width: int) -> Float[ndarray, "frames width"]:
    """Reads a field as `width` numbers per frame, whatever its inner shape (float64).

    Raises:
        DataError: the field does not hold numbers, or not that many.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(source.path, f"`{name}`: {error}", "numbers", _FIX) from error
    if not array.size or array.size % width or (array.ndim > 1 and array[0].size % width):
        raise DataError(source.path, f"`{name}` of shape {array.shape}", f"{width} numbers a frame", _FIX)
    return array.reshape(-1, width)


def same_length(source: MotionSource, **fields: ndarray) -> None:
    """Raises `DataError` unless all fields have the same number of frames."""
    if len({len(field) for field in fields.values()}) > 1:
        found = ", ".join(f"`{name}` of {len(field)} frames" for name, field in fields.items())
        raise DataError(source.path, found, "the same number of frames", _FIX)


def single_shape(source: MotionSource, value: Any) -> Float[ndarray, "10"]:
    """SMPL's ten shape coefficients: the mean over the frames, if the file has them per frame; zeros without any.

    Raises:
        DataError: the values are not numbers.
    """
    if value is None or not np.size(value):
        return np.zeros(10)
    array = np.asarray(value)
    betas = rows(source, "betas", value, array.shape[-1] if array.ndim else 1)[:, :10]
    betas = betas[np.isfinite(betas).all(1)]
    if not len(betas):
        raise DataError(source.path, "betas with NaN or infinity", "finite numbers", "set them to zero")
    return np.pad(betas.mean(0), (0, 10 - betas.shape[1]))


def smpl_poses(source: MotionSource, name: str, value: Any) -> tuple[Float[ndarray, "frames 72"], tuple[str, ...]]:
    """SMPL's angles from a field of SMPL or a sibling (SMPL-H, SMPL-X), in any form, and notes on what was noticed.

    Raises:
        DataError: if the field does not hold numbers, or not as many as a body has.
    """
    poses, notes, _ = whole_body(source.path, name, value)
    return poses, notes


def angles(source: MotionSource, name: str, value: Any, joints: int) -> Float[ndarray, "frames angles"]:
    """Converts rotation matrices of `joints` joints per frame to axis-angle vectors, in radians.

    Raises:
        DataError: the numbers are not rotation matrices.
    """
    matrices = rows(source, name, value, 9 * joints).reshape(-1, joints, 3, 3)
    known = np.isfinite(matrices).all((-3, -2, -1))
    error = np.abs(matrices[known] @ np.swapaxes(matrices[known], -1, -2) - np.eye(3)).max(initial=0)
    if error > 1e-2 or (np.linalg.det(matrices[known]) < 0).any():
        raise DataError(source.path, f"`{name}` that are no rotations (off by {error:.2g})", "rotation matrices", _FIX)
    return matrix_to_axis_angle(torch.from_numpy(matrices)).flatten(1).numpy()


def turned_about_origin(
    rotations: Rotation, shift: Float[ndarray, "frames 3"], pelvis_rest: Float[ndarray, "3"]
) -> Float[ndarray, "frames 3"]:
    """SMPL's translation for posed points x that are moved to R x + shift: t = R p0 + shift - p0, in metres."""
    return rotations.apply(pelvis_rest) + shift - pelvis_rest


def hips_at(
    hips: Float[ndarray, "frames 3"], global_orient: Float[ndarray, "frames 3"], pelvis_rest: Float[ndarray, "3"]
) -> Float[ndarray, "frames 3"]:
    """SMPL's translation that puts the middle of the hips at `hips`: t = hips - p0 - R (h0 - p0), in metres."""
    # Imported here: scipy takes half a second, and few files need it.
    from scipy.spatial.transform import Rotation

    return hips - pelvis_rest - Rotation.from_rotvec(global_orient).apply(_hips_from_pelvis())


@lru_cache(maxsize=1)
def _hips_from_pelvis() -> Float[ndarray, "3"]:
    """Vector in metres from the rest pelvis to the middle of the hips: that of the stand-in, within 2 cm of SMPL's."""
    joints = load_standin().rest(torch.zeros(10))[1].double().numpy()
    return joints[1:3].mean(0) - joints[0]
