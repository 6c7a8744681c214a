"""Computes where a motion puts the joints of the body, for all frames at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_PARENTS
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.bodies.standin import load_standin


def standin_joints() -> Float[Tensor, "24 3"]:
    """Rest joints of the stand-in body, in metres."""
    return load_standin().rest(torch.zeros(10))[1]


def bones(rest_joints: Float[Tensor, "24 3"]) -> Float[Tensor, "24 3"]:
    """Each joint relative to its parent in the T-pose; the root as it is."""
    above = torch.cat([rest_joints.new_zeros(1, 3), rest_joints[list(JOINT_PARENTS[1:])]])
    return rest_joints - above


def posed_joints(
    sequence: BodySequence, rest_joints: Float[Tensor, "24 3"] | None = None
) -> Float[Tensor, "frames 24 3"]:
    """Joints of every frame, in metres, as SMPL poses them.

    Args:
        sequence: the motion.
        rest_joints: joints of the T-pose, in metres; by default those of the stand-in.
    """
    rest = (standin_joints() if rest_joints is None else rest_joints).to(sequence.transl)
    local = axis_angle_to_matrix(torch.cat([sequence.global_orient, sequence.body_pose], 1).unflatten(1, (24, 3)))
    turns, places = [local[:, 0]], [rest[0] + sequence.transl]
    for joint in range(1, 24):
        parent = JOINT_PARENTS[joint]
        places.append(places[parent] + turns[parent] @ (rest[joint] - rest[parent]))
        turns.append(turns[parent] @ local[:, joint])
    return torch.stack(places, 1)
