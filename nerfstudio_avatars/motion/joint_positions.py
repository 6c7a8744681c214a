"""Finds rotations of SMPL's joints from positions of the joints by inverse kinematics, which is approximate.

Positions do not tell how a bone turns about itself. If a joint carries several bones, their directions decide. At hips
and shoulders, the bend of the knee or elbow decides, because these are hinges. All other joints turn as little as
possible.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.choices import Up
from nerfstudio_avatars.motion.forward_kinematics import standin_joints
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.tracks import Track, track_sequence

_APPROXIMATE = "only joint positions in the file: the rotations are approximate, found by inverse kinematics"
_HINGES = {1: (4, 7), 2: (5, 8), 16: (18, 20), 17: (19, 21)}
"""Hips and shoulders, each with the hinge below it and the end of the limb."""
_HINGE_AXES = {1: (1.0, 0.0, 0.0), 2: (1.0, 0.0, 0.0), 16: (0.0, -1.0, 0.0), 17: (0.0, 1.0, 0.0)}
"""Axes that knees and elbows bend about, in SMPL's rest pose."""
_STRAIGHT = 0.17
"""Sine of the smallest bend of a hinge that counts."""
_STEADY = 0.1
"""Largest deviation of the length of a bone from its median in estimated positions."""


def positions_to_poses(
    positions: Float[ndarray, "frames joints 3"], rest: Float[ndarray, "24 3"] | None = None
) -> tuple[Float[ndarray, "frames 72"], Float[ndarray, "frames 3"]]:
    """Finds axis-angle poses and translations (in metres) that align the joints of the body with the given ones.

    Args:
        positions: SMPL's first 22 joints, or all 24, in order, in any unit and with any axis up.
        rest: joints of the T-pose of the body, in metres; by default those of the stand-in.
    """
    rest = standin_joints().double().numpy() if rest is None else rest
    parents, count = load_standin().parents, positions.shape[1]
    frames = len(positions)
    children: list[list[int]] = [[] for _ in range(24)]
    for joint in range(1, count):
        children[parents[joint]].append(joint)
    turns = np.tile(np.eye(3), (frames, 24, 1, 1))
    for joint in range(24):
        before = turns[:, parents[joint]] if joint else np.tile(np.eye(3), (frames, 1, 1))
        ends = children[joint]
        if len(ends) > 1:
            wanted = _unit(positions[:, ends] - positions[:, [joint]])
            turns[:, joint] = _fitted(_unit(rest[ends] - rest[joint]), wanted)
        elif ends:
            bone, wanted = rest[ends[0]] - rest[joint], positions[:, ends[0]] - positions[:, joint]
            turns[:, joint] = _shortest(np.einsum("fij,j->fi", before, bone), wanted) @ before
            if joint in _HINGES and _HINGES[joint][1] < count:
                turns[:, joint] = _about_the_bone(turns[:, joint], joint, positions)
        else:
            turns[:, joint] = before
    local = turns.copy()
    local[:, 1:] = np.swapaxes(turns[:, list(parents[1:])], -1, -2) @ turns[:, 1:]
    poses = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(frames, 72)
    scale = _scale(positions, rest, parents)
    return poses, positions[:, 0] * scale - rest[0]


def _scale(positions: ndarray, rest: ndarray, parents: tuple[int, ...]) -> float:
    """Metres in a unit of the file, from the lengths of the legs."""
    legs = [4, 5, 7, 8]
    above = [parents[joint] for joint in legs]
    theirs = float(np.median(np.linalg.norm(positions[:, legs] - positions[:, above], axis=-1), 0).sum())
    return float(np.linalg.norm(rest[legs] - rest[above], axis=-1).sum()) / max(theirs, 1e-9)


def _about_the_bone(
    turns: Float[ndarray, "frames 3 3"], joint: int, positions: ndarray
) -> Float[ndarray, "frames 3 3"]:
    """Turns a thigh or an upper arm about itself until the axis of the bent knee or elbow is that of the hinge."""
    hinge, end = _HINGES[joint]
    upper, lower = (_unit(positions[:, b] - positions[:, a]) for a, b in ((joint, hinge), (hinge, end)))
    normal = np.cross(upper, lower)
    sine = np.linalg.norm(normal, axis=1)
    axis = np.einsum("fij,j->fi", turns, np.array(_HINGE_AXES[joint]))
    # Turning about the bone only reaches directions at a right angle to it.
    axis = _unit(axis - (axis * upper).sum(1, keepdims=True) * upper)
    angle = np.arctan2((np.cross(axis, _unit(normal)) * upper).sum(1), (axis * _unit(normal)).sum(1))
    angle *= np.clip((sine - _STRAIGHT / 2) / _STRAIGHT, 0, 1)
    return Rotation.from_rotvec(upper * angle[:, None]).as_matrix() @ turns


def _fitted(bones: Float[ndarray, "n 3"], wanted: Float[ndarray, "frames n 3"]) -> Float[ndarray, "frames 3 3"]:
    """The rotations that bring some directions closest to others (Kabsch)."""
    u, _, v = np.linalg.svd(np.einsum("fni,nj->fij", wanted, bones))
    sign = np.linalg.det(u @ v)
    u[..., -1] *= sign[:, None]
    return u @ v


def _shortest(start: Float[ndarray, "frames 3"], end: Float[ndarray, "frames 3"]) -> Float[ndarray, "frames 3 3"]:
    """The smallest rotations from some directions to others."""
    a, b = _unit(start), _unit(end)
    cross, cosine = np.cross(a, b), (a * b).sum(1)
    sine = np.linalg.norm(cross, axis=1)
    # Opposite directions: any axis at a right angle will do.
    other = np.cross(a, np.eye(3)[abs(a).argmin(1)])
    axis = np.where((sine < 1e-12)[:, None] & (cosine < 0)[:, None], other, cross)
    return Rotation.from_rotvec(_unit(axis) * np.arctan2(sine, cosine)[:, None]).as_matrix()


def _unit(vectors: ndarray) -> ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def from_positions(
    source: MotionSource,
    name: str,
    value: Any,
    layout: str,
    fps: float,
    notes: tuple[str, ...] = (),
    up: Up = "y",
    numbers: Int[ndarray, " frames"] | None = None,
) -> MotionFile:
    """Makes a motion file of joint positions: SMPL's first 22 joints or all 24, (frames, joints, 3).

    Frames that are missing, or in which a joint is NaN, are filled in from their neighbours.

    Raises:
        DataError: another shape.
    """
    positions = np.asarray(value, np.float64)
    if positions.ndim != 3 or positions.shape[1] not in (22, 24) or positions.shape[2] != 3 or not len(positions):
        found = f"`{name}` of shape {positions.shape}"
        raise DataError(source.path, found, "(frames, 22 or 24 joints, 3)", "give the joints as the tool wrote them")
    known = np.isfinite(positions).all((1, 2)) & (abs(positions).max((1, 2)) < 1e6)
    poses = np.full((len(positions), 72), np.nan)
    transl = np.full((len(positions), 3), np.nan)
    if known.any():
        poses[known], transl[known] = positions_to_poses(positions[known])
        notes = (*notes, *_unsteady(positions[known]))
    frames = np.arange(len(positions)) if numbers is None else numbers
    track = Track(frames, poses, transl, np.zeros(10))
    sequence, filled = track_sequence(source, track, fps)
    return MotionFile(sequence, layout, up, (*notes, *filled, _APPROXIMATE), first_frame=track.first_frame)


def _unsteady(positions: Float[ndarray, "frames joints 3"]) -> tuple[str, ...]:
    """A note if bones change their lengths, which those of a body do not."""
    parents = load_standin().parents
    joints = list(range(1, positions.shape[1]))
    lengths = np.linalg.norm(positions[:, joints] - positions[:, [parents[joint] for joint in joints]], axis=-1)
    change = float(np.median(abs(lengths - np.median(lengths, 0)) / np.median(lengths, 0).clip(1e-9)))
    if change < _STEADY:
        return ()
    return (
        f"bone lengths change by {100 * change:.0f} %, so these may not be joints of a body: "
        "normalised features are to be multiplied by Std.npy, and Mean.npy added, first",
    )
