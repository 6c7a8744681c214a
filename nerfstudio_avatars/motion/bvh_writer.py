"""Writes motions as BVH, with SMPL's skeleton."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, JOINT_PARENTS
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.motion.forward_kinematics import bones

_CENTIMETRES = 100.0
_TURNS = "Zrotation Xrotation Yrotation"
_LOCKED = 1e-6
"""Cosine of the middle angle below which the other two turn about the same axis."""


def bvh_text(motion: BodySequence, rest_joints: Float[torch.Tensor, "24 3"]) -> str:
    """A motion as BVH: centimetres, degrees, rotations about z, x and y.

    The root's positions replace its OFFSET, as MotionBuilder and Blender have it.

    Args:
        motion: metres, y up.
        rest_joints: joints of the T-pose of the body that moves, metres, y up.
    """
    offsets = (_CENTIMETRES * bones(rest_joints)).tolist()
    order: list[int] = []
    lines = ["HIERARCHY", *_joint(0, offsets, order)]
    angles = torch.cat([motion.global_orient, motion.body_pose], 1).unflatten(1, (24, 3)).double()
    turns = _euler(axis_angle_to_matrix(angles).numpy())[:, order]
    places = _CENTIMETRES * motion.pelvis(rest_joints[0]).double().numpy()
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.9f}"]
    rows = np.concatenate([places, turns.reshape(len(turns), -1)], 1).tolist()
    return "\n".join([*lines, *(" ".join(f"{value:.6f}" for value in row) for row in rows)]) + "\n"


def _joint(joint: int, offsets: list[list[float]], order: list[int]) -> list[str]:
    """The lines of a joint and of all below it; adds them to the order of the columns."""
    order.append(joint)
    root = JOINT_PARENTS[joint] < 0
    lines = [
        f"{'ROOT' if root else 'JOINT'} {JOINT_NAMES[joint]}",
        "{",
        f"\tOFFSET {_row(offsets[joint])}",
        f"\tCHANNELS {'6 Xposition Yposition Zposition' if root else '3'} {_TURNS}",
    ]
    children = [child for child, parent in enumerate(JOINT_PARENTS) if parent == joint]
    below = [line for child in children for line in _joint(child, offsets, order)]
    # The file wants an end for each limb: half a bone farther.
    end = ["End Site", "{", f"\tOFFSET {_row([value / 2 for value in offsets[joint]])}", "}"]
    return [*lines, *(f"\t{line}" for line in below or end), "}"]


def _row(offset: list[float]) -> str:
    return " ".join(f"{value:.6f}" for value in offset)


def _euler(matrices: Float[np.ndarray, "frames joints 3 3"]) -> Float[np.ndarray, "frames joints 3"]:
    """Degrees about z, x and y, each about the axes rotated so far, without jumps of whole turns."""
    sine = matrices[..., 2, 1].clip(-1, 1)
    locked = np.sqrt(1 - sine**2) < _LOCKED
    z = np.where(locked, np.arctan2(matrices[..., 1, 0], matrices[..., 0, 0]), _angle(matrices, (0, 1), (1, 1)))
    y = np.where(locked, 0.0, _angle(matrices, (2, 0), (2, 2)))
    return np.degrees(np.unwrap(np.stack([z, np.arcsin(sine), y], -1), axis=0))


def _angle(matrices: np.ndarray, sine: tuple[int, int], cosine: tuple[int, int]) -> np.ndarray:
    return np.arctan2(-matrices[(..., *sine)], matrices[(..., *cosine)])
