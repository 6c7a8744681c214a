"""The interface of a body model: its rest shape, and its state in a pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import slerp_axis_angle

JOINT_NAMES = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)
"""SMPL's 24 joints, in SMPL's order."""

JOINT_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""The parent of each joint; the root has none."""


@dataclass(frozen=True)
class BodyState:
    """One frame of SMPL parameters.

    >>> standing = BodyState(torch.zeros(10), torch.zeros(3), torch.zeros(69), torch.zeros(3))
    >>> there = BodyState(torch.zeros(10), torch.zeros(3), torch.zeros(69), torch.ones(3))
    >>> standing.towards(there, 0.25).transl.tolist()
    [0.25, 0.25, 0.25]
    """

    betas: Float[Tensor, "10"]
    """Shape coefficients in the shape space of the body."""
    global_orient: Float[Tensor, "3"]
    """Rotation of the whole body about its rest pelvis, axis-angle, radians."""
    body_pose: Float[Tensor, "69"]
    """Rotations of joints 1..23 relative to their parents, axis-angle, radians."""
    transl: Float[Tensor, "3"]
    """Translation added after posing, in metres."""

    @classmethod
    def unpacked(cls, betas: Float[Tensor, "10"], pose: Float[Tensor, "75"]) -> BodyState:
        """What `packed` gave, of a body with these betas."""
        return cls(betas, pose[:3], pose[3:72], pose[72:])

    def packed(self) -> Float[Tensor, "75"]:
        """Orientation, body pose and translation in one row."""
        return torch.cat([self.global_orient, self.body_pose, self.transl])

    def to(self, device: torch.device | str) -> BodyState:
        """The state on a device."""
        return BodyState(*(part.to(device) for part in (self.betas, self.global_orient, self.body_pose, self.transl)))

    def towards(self, other: BodyState, share: float) -> BodyState:
        """A share of the way to another state of the same body; rotations take the shorter way."""
        body_pose = slerp_axis_angle(self.body_pose.view(-1, 3), other.body_pose.view(-1, 3), share).flatten()
        return BodyState(
            betas=self.betas,
            global_orient=slerp_axis_angle(self.global_orient, other.global_orient, share),
            body_pose=body_pose,
            transl=torch.lerp(self.transl, other.transl, share),
        )


@dataclass(frozen=True)
class PosedBody:
    """A body in a pose."""

    vertices: Float[Tensor, "vertices 3"]
    """Posed skin in metres, including pose correctives."""
    joints: Float[Tensor, "24 3"]
    """Posed joints in metres."""
    joint_transforms: Float[Tensor, "24 4 4"]
    """Transforms from the shaped T-pose to the pose, including translation, in metres."""


@runtime_checkable
class BodyModel(Protocol):
    """A skinned body with SMPL's 24 joints."""

    @property
    def name(self) -> str:
        """`standin`, `smpl`, or the path of the file the body was read from."""

    @property
    def gender(self) -> str:
        """`neutral`, `male` or `female`."""

    @property
    def parents(self) -> tuple[int, ...]:
        """Parent of each joint, -1 for the root."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints, in order."""

    @property
    def faces(self) -> Int[Tensor, "faces 3"]:
        """Vertex indices of the triangles, counter-clockwise from outside."""

    @property
    def weights(self) -> Float[Tensor, "vertices 24"]:
        """Skinning weights, summing to one over the joints."""

    def rest(self, betas: Float[Tensor, "10"]) -> tuple[Float[Tensor, "vertices 3"], Float[Tensor, "24 3"]]:
        """Skin and joints of the shaped T-pose in metres, without pose correctives."""

    def pose(self, state: BodyState) -> PosedBody:
        """Poses the body; differentiable with respect to every part of the state."""
