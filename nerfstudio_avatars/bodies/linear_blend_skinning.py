"""Linear blend skinning: moving canonical points with the joints of a body."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix

__all__ = ["axis_angle_to_matrix", "blend_transforms", "joint_transforms", "skin"]


def blend_transforms(
    weights: Float[Tensor, "*points joints"],
    joint_transforms: Float[Tensor, "*frames joints 4 4"],
) -> Float[Tensor, "*frames_and_points 4 4"]:
    """Blends the transforms of the joints at each point.

    Loper et al. 2015 (SMPL), eq. 4, without the rest pose, which `joint_transforms` has already removed.

    Args:
        weights: skinning weights, non-negative, summing to one over the joints.
        joint_transforms: canonical -> posed, metres.

    Returns:
        One transform per frame and point. It is affine, not rigid, because a blend of rotations is not a rotation.
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

    SMPL, eq. 3 and 4: the chain of rotations along the kinematic tree, with the rest joint removed, so that a point on
    a bone of the shaped T-pose is mapped to the posed bone. Differentiable in all tensors.

    Args:
        joints_rest: joints of the shaped T-pose, in metres.
        global_orient: rotation of the root about the rest pelvis (not about the origin), axis-angle, radians.
        body_pose: rotations of joints 1..23 relative to their parents, axis-angle, radians.
        transl: translation of every joint after posing, in metres.
        parents: parent of each joint, -1 for the root.

    Returns:
        Transforms from rest to pose, in metres.
    """
    angles = torch.cat([global_orient, body_pose], -1).unflatten(-1, (-1, 3))
    local = axis_angle_to_matrix(angles)
    tree = _tree(tuple(int(parent) for parent in parents), local.device)
    # The root has no parent: its number, -1, is that of a row of zeros.
    bones = joints_rest - F.pad(joints_rest, (0, 0, 0, 1))[tree.parents]
    local = _homogeneous(local, bones.expand(*local.shape[:-2], 3))[..., tree.laid, :, :]
    first, *others = local.split(tree.sizes, -3)
    chain = [first]
    for layer, rows in zip(others, tree.rows, strict=True):
        chain.append(chain[-1][..., rows, :, :] @ layer)
    posed = torch.cat(chain, -3)[..., tree.order, :, :]
    rotation, position = posed[..., :3, :3], posed[..., :3, 3]
    moved = position - (rotation @ joints_rest[..., None])[..., 0] + transl[..., None, :]
    return _homogeneous(rotation, moved)


def _homogeneous(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    upper = torch.cat([rotation, translation[..., None]], -1)
    bottom = upper.new_zeros(4)
    bottom[3] = 1
    return torch.cat([upper, bottom.expand(*upper.shape[:-2], 1, 4)], -2)


@dataclass(frozen=True)
class _Tree:
    """A kinematic tree in layers, so that the chain needs eight batched products instead of 23."""

    parents: Int[Tensor, " joints"]
    laid: Int[Tensor, " joints"]
    """The joints of all layers, end to end."""
    sizes: list[int]
    """Joints of each layer."""
    rows: list[Int[Tensor, " _"]]
    """For each layer but the first, the rows of the parents in the previous layer."""
    order: Int[Tensor, " joints"]
    """Position of each joint in `laid`."""


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # Indices that a render made must still serve the training.
def _tree(parents: tuple[int, ...], device: torch.device) -> _Tree:
    def on_device(indices: list[int]) -> Tensor:
        return torch.tensor(indices, dtype=torch.long, device=device)

    layers = [[joint for joint, parent in enumerate(parents) if parent < 0]]
    while layer := [joint for joint, parent in enumerate(parents) if parent in layers[-1]]:
        layers.append(layer)
    rows = [[before.index(parents[joint]) for joint in layer] for before, layer in itertools.pairwise(layers)]
    laid = [joint for layer in layers for joint in layer]
    return _Tree(
        on_device(list(parents)),
        on_device(laid),
        [len(layer) for layer in layers],
        [on_device(of_layer) for of_layer in rows],
        on_device([laid.index(joint) for joint in range(len(parents))]),
    )
