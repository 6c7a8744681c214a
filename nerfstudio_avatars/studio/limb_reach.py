"""A limb that follows its hand or foot: two bones, of which the upper turns at its joint and the lower bends."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, BodyModel, BodyState
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle

LIMBS: dict[str, tuple[str, str, str]] = {
    "left_wrist": ("left_shoulder", "left_elbow", "left_wrist"),
    "right_wrist": ("right_shoulder", "right_elbow", "right_wrist"),
    "left_ankle": ("left_hip", "left_knee", "left_ankle"),
    "right_ankle": ("right_hip", "right_knee", "right_ankle"),
}
"""Joints of the limb that ends in a joint."""
_NEARLY = 0.999
"""Share of its length to which a limb is stretched at most: at its full length it could bend either way."""
_HINGES = {"elbow": (0.0, 1.0, 0.0), "knee": (1.0, 0.0, 0.0)}
"""Axis in the lower bone's rest pose about which a straight limb begins to bend; elbows bend against theirs."""


@torch.no_grad()
def reach(state: BodyState, body: BodyModel, end: str, target: Float[Tensor, "3"]) -> dict[str, Float[Tensor, "3"]]:
    """Rotations of a limb whose end is at a place, or as near to it as it reaches.

    The plane that the limb bends in turns along, and the hand or foot keeps its rotation to the limb.

    Args:
        state: the pose now.
        body: whose.
        end: a wrist or an ankle.
        target: its new place, metres.

    Returns:
        Axis-angle rotations of the upper and the lower joint, each relative to its parent, radians.
    """
    upper, lower, last = (JOINT_NAMES.index(name) for name in LIMBS[end])
    posed = body.pose(state)
    turns, joints = posed.joint_transforms[:, :3, :3], posed.joints
    a, b, c = joints[upper], joints[lower], joints[last]
    first, second = (b - a).norm(), (c - b).norm()
    distance = (target - a).norm().clamp((first - second).abs() + 1e-3, _NEARLY * (first + second))
    axis = torch.linalg.cross(b - a, c - b)
    if axis.norm() < 1e-4 * first * second:
        side = -1.0 if "right_elbow" in LIMBS[end] else 1.0
        axis = side * turns[lower] @ torch.tensor(_HINGES[LIMBS[end][1].partition("_")[2]])
    bend = _inner_angle(first, second, (c - a).norm()) - _inner_angle(first, second, distance)
    bent = axis_angle_to_matrix(F.normalize(axis, dim=0) * bend)
    moved = b + bent @ (c - b)
    turned = _shortest_turn(moved - a, target - a)
    parent = turns[body.parents[upper]]
    return {
        LIMBS[end][0]: matrix_to_axis_angle(parent.T @ turned @ turns[upper]),
        LIMBS[end][1]: matrix_to_axis_angle(turns[upper].T @ bent @ turns[lower]),
    }


def _inner_angle(first: Tensor, second: Tensor, opposite: Tensor) -> Tensor:
    """Angle between two sides of a triangle, by the law of cosines."""
    return torch.acos(((first**2 + second**2 - opposite**2) / (2 * first * second)).clamp(-1, 1))


def _shortest_turn(start: Float[Tensor, "3"], end: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """The rotation that takes one direction into another the shorter way."""
    start, end = F.normalize(start, dim=0), F.normalize(end, dim=0)
    axis = torch.linalg.cross(start, end)
    if axis.norm() < 1e-7:
        if start @ end > 0:
            return torch.eye(3)
        other = torch.eye(3)[start.abs().argmin()]
        axis = torch.linalg.cross(start, other)
    angle = torch.atan2(torch.linalg.cross(start, end).norm(), start @ end)
    return axis_angle_to_matrix(F.normalize(axis, dim=0) * angle)
