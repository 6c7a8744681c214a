"""MDM and HumanML3D: joints, 263 features per frame, and SMPL parameters fitted to joints.

Layouts as written by MDM's `sample/generate.py` (`results.npy`) and `visualize/vis_utils.py` (`*_smpl_params.npy`), and
by HumanML3D's `motion_representation.ipynb` (features; `recover_from_ric` is the way back).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.joint_positions import from_positions
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.rotation_fields import Rotations
from nerfstudio_avatars.motion.smpl_arrays import has, rows, same_length
from nerfstudio_avatars.motion.tracks import Track, choose_person, only_person, track_sequence

NAME = "MDM / HumanML3D"
_FPS = 20.0
"""Frame rate of HumanML3D and therefore of MDM."""
_JOINTS, _FEATURES = 22, 263
_RATE = "no frame rate in the file: 20 frames per second are assumed, as in HumanML3D"
_KIT = 251
"""Number of features of KIT-ML, whose skeleton has 21 other joints."""


def can_read(data: Any) -> bool:
    """Whether the contents are HumanML3D's joints or features, or one of MDM's dicts."""
    if has(data, "thetas", "root_translation"):
        return np.ndim(data["thetas"]) == 3 and np.shape(data["thetas"])[1] == 6
    if has(data, "motion", "lengths"):
        return True
    return isinstance(data, ndarray) and data.dtype.kind in "fiu" and _kind(data.shape) is not None


def _kind(shape: tuple[int, ...]) -> str | None:
    shape = shape[1:] if len(shape) in (3, 4) and shape[0] == 1 else shape
    if len(shape) == 2 and shape[1] in (_FEATURES, _KIT):
        return "features"
    if len(shape) == 3 and shape[1:] in ((_JOINTS, 3), (24, 3)):
        return "joints"
    if len(shape) == 3 and shape[:2] in ((_JOINTS, 3), (24, 3)):
        return "joints, frames last"
    return None


def read(source: MotionSource) -> MotionFile:
    """Reads one sample (y up, 20 frames per second); without rotations in the file, by inverse kinematics.

    Raises:
        DataError: its values cannot be used.
    """
    data = source.data
    if has(data, "thetas", "root_translation"):
        return _fitted(source)
    if not isinstance(data, dict):
        only_person(source, len(data))
        return _array(source, "joints", data, ())
    motion = np.asarray(data["motion"], np.float64)
    lengths = rows(source, "lengths", data["lengths"], 1)[:, 0]
    if motion.ndim != 4 or len(lengths) != len(motion) or not (np.isfinite(lengths) & (lengths > 0)).all():
        found = f"`motion` of shape {motion.shape}, `lengths` of {len(lengths)}"
        raise DataError(source.path, found, "(samples, 22, 3, frames) and a length for each", "run MDM again")
    counts = {sample: int(min(length, motion.shape[3])) for sample, length in enumerate(lengths)}
    sample, notes = choose_person(source, counts)
    chosen = motion[sample, ..., : counts[sample]]
    if chosen.shape[:2] == (_FEATURES, 1):
        return _array(source, "motion", chosen[:, 0].T, notes)
    return _array(source, "motion", chosen, notes)


def _array(source: MotionSource, name: str, value: ndarray, notes: tuple[str, ...]) -> MotionFile:
    value = value[0] if value.ndim in (3, 4) and len(value) == 1 and _kind(value.shape[1:]) else value
    kind = _kind(value.shape)
    if kind is None:
        found = f"`{name}` of shape {value.shape}"
        raise DataError(source.path, found, "joints (22, 3, frames) or features (263, 1, frames)", "run MDM again")
    if kind == "features":
        if value.shape[1] == _KIT:
            found = "251 features a frame, KIT-ML's"
            raise DataError(source.path, found, "HumanML3D's 263", "give the joints, (frames, 22, 3), in SMPL's order")
        value, notes = joints_of_features(np.asarray(value, np.float64)), (*notes, "HumanML3D's features")
    if kind == "joints, frames last":
        value = np.moveaxis(value, -1, 0)
    return from_positions(source, name, value, NAME, _FPS, (*notes, _RATE))


def joints_of_features(features: Float[ndarray, "frames 263"]) -> Float[ndarray, "frames 22 3"]:
    """Computes joints from HumanML3D's features.

    These are the turn of the root about y per frame (half angles) and its step over the ground in its own heading, both
    of which are summed up; its height; and the other joints in that heading, relative to its place on the ground."""
    spins, steps = features[:, 0], features[:, 1:3]
    half = np.concatenate([[0.0], np.cumsum(spins[:-1])])
    # The stored quaternion (cos, 0, sin, 0) of the half angle takes the world to the heading.
    back = Rotation.from_rotvec(np.stack([0 * half, -2 * half, 0 * half], 1))
    ways = np.zeros((len(features), 3))
    ways[1:, [0, 2]] = steps[:-1]
    places = np.cumsum(back.apply(ways), 0)
    joints = features[:, 4 : 4 + 3 * (_JOINTS - 1)].reshape(-1, _JOINTS - 1, 3)
    turned = np.einsum("fij,fnj->fni", back.as_matrix(), joints)
    turned[..., [0, 2]] += places[:, None, [0, 2]]
    root = np.stack([places[:, 0], features[:, 3], places[:, 2]], 1)
    return np.concatenate([root[:, None], turned], 1)


def _fitted(source: MotionSource) -> MotionFile:
    """`*_smpl_params.npy`: 6D rotations (rows of the matrices), joints first and frames last."""
    thetas = np.asarray(source.data["thetas"], np.float64)
    if thetas.shape[:2] != (24, 6) or not thetas.shape[2]:
        found = f"`thetas` of shape {thetas.shape}"
        raise DataError(source.path, found, "(24, 6, frames)", "run MDM's visualize.render_mesh again")
    transl = np.asarray(source.data["root_translation"], np.float64)
    transl = rows(source, "root_translation", transl.T if transl.shape[:1] == (3,) else transl, 3)
    values = np.moveaxis(thetas, -1, 0)
    known = np.isfinite(values).all((1, 2))
    poses = np.full((len(values), 72), np.nan)
    # The output of a network is not orthonormal before Gram-Schmidt.
    poses[known] = Rotations("6D", _gram_schmidt(values[known]), rows=True).vectors().reshape(-1, 72)
    same_length(source, thetas=poses, root_translation=transl)
    only_person(source, len(poses))
    sequence, filled = track_sequence(source, Track(np.arange(len(poses)), poses, transl, np.zeros(10)), _FPS)
    return MotionFile(sequence, NAME, "y", (*filled, _RATE))


def _gram_schmidt(values: Float[ndarray, "frames joints 6"]) -> Float[ndarray, "frames joints 6"]:
    """Makes the two vectors of 6D rotations orthonormal."""
    first = values[..., :3] / np.linalg.norm(values[..., :3], axis=-1, keepdims=True).clip(1e-9)
    second = values[..., 3:] - (first * values[..., 3:]).sum(-1, keepdims=True) * first
    return np.concatenate([first, second / np.linalg.norm(second, axis=-1, keepdims=True).clip(1e-9)], -1)
