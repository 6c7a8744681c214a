"""The interface of a body model: its rest shape, and its state in a pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

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


@dataclass(frozen=True)
class BodyState:
    """One frame of SMPL parameters."""

    betas: Float[Tensor, "10"]
    """Shape coefficients in the shape space of the body."""
    global_orient: Float[Tensor, "3"]
    """Rotation of the whole body about its rest pelvis, axis-angle, radians."""
    body_pose: Float[Tensor, "69"]
    """Rotations of joints 1..23 relative to their parents, axis-angle, radians."""
    transl: Float[Tensor, "3"]
    """Translation added after posing, in metres."""


@dataclass(frozen=True)
class PosedBody:
    """A body in a pose."""

    vertices: Float[Tensor, "vertices 3"]
    """Posed skin in metres, including pose correctives."""
    joints: Float[Tensor, "24 3"]
    """Posed joints in metres."""
    joint_transforms: Float[Tensor, "24 4 4"]
    """Transforms from the shaped T-pose to the pose, including translation, in metres."""


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
