"""Linear blend skinning: moving canonical points with a body's joints."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.deformations.rotations import axis_angle_to_matrix

__all__ = ["axis_angle_to_matrix", "blend_transforms", "joint_transforms", "skin"]


def blend_transforms(
    weights: Float[Tensor, "*points joints"],
    joint_transforms: Float[Tensor, "joints 4 4"],
) -> Float[Tensor, "*points 4 4"]:
    """Blends the joints' transforms at each point.

    Loper et al. 2015 (SMPL), eq. 4, without the rest pose, which the caller has already divided out.

    Args:
        weights: skinning weights, non-negative, summing to one over the joints.
        joint_transforms: canonical -> posed, metres.

    Returns:
        One transform per point. It is affine, not rigid: the blend of rotations is no rotation.
    """
    return (weights @ joint_transforms.flatten(-2)).unflatten(-1, (4, 4))


def skin(
    x_canonical: Float[Tensor, "*points 3"],
    weights: Float[Tensor, "*points joints"],
    joint_transforms: Float[Tensor, "joints 4 4"],
) -> Float[Tensor, "*points 3"]:
    """Moves canonical points (metres) into the pose. Differentiable in all three arguments."""
    transforms = blend_transforms(weights, joint_transforms)
    return (transforms[..., :3, :3] @ x_canonical[..., None])[..., 0] + transforms[..., :3, 3]


def joint_transforms(
    joints_rest: Float[Tensor, "24 3"],
    global_orient: Float[Tensor, "*batch 3"],
    body_pose: Float[Tensor, "*batch 69"],
    transl: Float[Tensor, "*batch 3"],
    parents: Sequence[int],
) -> Float[Tensor, "*batch 24 4 4"]:
    """Rigid motion of every joint from the rest pose into the pose.

    SMPL, eq. 3 and 4: the chain of rotations down the kinematic tree, with the rest joint divided out, so that a
    point on a bone in the shaped T-pose lands where the posed bone has it. Differentiable in all tensors.

    Args:
        joints_rest: joints of the shaped T-pose, metres.
        global_orient: rotation of the root about the rest pelvis (not about the origin), axis-angle, radians.
        body_pose: rotations of joints 1..23 relative to their parents, axis-angle, radians.
        transl: added to every joint's translation after posing, metres.
        parents: parent of each joint, -1 for the root.

    Returns:
        Rest -> posed, metres.
    """
    angles = torch.cat([global_orient, body_pose], -1).unflatten(-1, (-1, 3))
    local = axis_angle_to_matrix(angles)
    levels, order = _levels(tuple(int(parent) for parent in parents), local.device)
    root = levels[0][0]
    rotations = [local[..., root, :, :]]
    positions = [joints_rest[root] + transl[..., None, :]]
    for joints, above, rows in levels[1:]:
        parent_rotation = rotations[-1][..., rows, :, :]
        rotations.append(parent_rotation @ local[..., joints, :, :])
        bones = joints_rest[joints] - joints_rest[above]
        positions.append(positions[-1][..., rows, :] + (parent_rotation @ bones[..., None])[..., 0])
    rotation = torch.cat(rotations, -3)[..., order, :, :]
    position = torch.cat(positions, -2)[..., order, :]
    translation = position - (rotation @ joints_rest[..., None])[..., 0]
    upper = torch.cat([rotation, translation[..., None]], -1)
    bottom = upper.new_zeros(4)
    bottom[3] = 1
    return torch.cat([upper, bottom.expand(*upper.shape[:-2], 1, 4)], -2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # Indices that a render made must still serve the training.
def _levels(parents: tuple[int, ...], device: torch.device) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
    """The kinematic tree in layers, so that the chain takes nine batched products instead of 23.

    Returns:
        Per layer its joints, their parents, and the parents' rows in the layer before; and where each joint lies in the
        layers laid end to end.
    """

    def on_device(indices: list[int]) -> Tensor:
        return torch.tensor(indices, dtype=torch.long, device=device)

    layers = [[joint for joint, parent in enumerate(parents) if parent < 0]]
    while layer := [joint for joint, parent in enumerate(parents) if parent in layers[-1]]:
        layers.append(layer)
    levels = []
    for before, layer in zip([[], *layers], layers, strict=False):
        above = [parents[joint] for joint in layer]
        rows = [before.index(parent) for parent in above if before]
        levels.append((on_device(layer), on_device(above), on_device(rows)))
    laid = [joint for layer in layers for joint in layer]
    return levels, on_device([laid.index(joint) for joint in range(len(parents))])
