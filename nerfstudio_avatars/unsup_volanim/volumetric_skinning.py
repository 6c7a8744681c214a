"""Volumetric skinning: blends the canonical locations that the parts' poses give for a posed point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix


@dataclass(frozen=True)
class PartPoses:
    """Motions of the rigid parts: x_posed = R x_canonical + t, both relative to the middle of the object.

    Unsupervised Volumetric Animation writes the inverse, C = [R^T | -R^T t]. The identity shows the object frontally.
    """

    rotation: Float[Tensor, "*batch parts 3 3"]
    translation: Float[Tensor, "*batch parts 3"]

    def canonical(self, x_posed: Float[Tensor, "*batch points 3"]) -> Float[Tensor, "*batch parts points 3"]:
        """Positions of the points before each part moved: R^T (x - t)."""
        return (x_posed[..., None, :, :] - self.translation[..., None, :]) @ self.rotation

    def after(self, first: PartPoses) -> PartPoses:
        """This motion after another one."""
        translation = (self.rotation @ first.translation[..., None])[..., 0] + self.translation
        return PartPoses(self.rotation @ first.rotation, translation)

    def turned(self, yaw: float, pitch: float, middle: Float[Tensor, "*batch 1 3"]) -> PartPoses:
        """The object turned further about a point, about the vertical of the camera and then about its horizontal.

        Args:
            yaw, pitch: in radians; positive turns the nose to the right of the picture, and up.
            middle: the point, in the scene; `VolumetricAnimation.turned` takes the middle of what is solid.
        """
        angles = [[-float(pitch), 0.0, 0.0], [0.0, -float(yaw), 0.0]]
        turn = torch.linalg.multi_dot(tuple(axis_angle_to_matrix(torch.tensor(angles).to(self.rotation))))
        return PartPoses(turn @ self.rotation, (self.translation - middle) @ turn.mT + middle)

    def moved_within(
        self,
        turn: Float[Tensor, "*batch parts 3"],
        shift: Float[Tensor, "*batch parts 3"],
        pivots: Float[Tensor, "*#batch #parts 3"],
    ) -> PartPoses:
        """These motions after small ones in the canonical frame.

        Args:
            turn: rotations about the pivots (axis-angle, radians).
            shift: translations, in half pictures.
            pivots: canonical points.
        """
        rotation = self.rotation @ axis_angle_to_matrix(turn)
        offset = self.rotation @ (pivots + shift)[..., None] - rotation @ pivots[..., None]
        return PartPoses(rotation, self.translation + offset[..., 0])

    def detach(self) -> PartPoses:
        """The same poses, without gradient."""
        return PartPoses(self.rotation.detach(), self.translation.detach())

    def to(self, device: torch.device | str) -> PartPoses:
        """The same poses on another device."""
        return PartPoses(self.rotation.to(device), self.translation.to(device))

    def inverse(self) -> PartPoses:
        """The inverse motion."""
        back = self.rotation.mT
        return PartPoses(back, -(back @ self.translation[..., None])[..., 0])

    def __getitem__(self, index: slice | list[int] | Tensor) -> PartPoses:
        """Some rows of the batch."""
        return PartPoses(self.rotation[index], self.translation[index])


def identity_poses(*shape: int, device: torch.device | str = "cpu") -> PartPoses:
    """No motion at all."""
    return PartPoses(torch.eye(3, device=device).expand(*shape, 3, 3), torch.zeros(*shape, 3, device=device))


def blend_parts(
    hypotheses: Float[Tensor, "*batch parts points 3"], logits: Float[Tensor, "*batch parts points"]
) -> tuple[Float[Tensor, "*batch points 3"], Float[Tensor, "*batch parts points"]]:
    """Canonical points and part weights (UVA, section 3.3; HumanNeRF's approximation of inverse skinning).

    Args:
        hypotheses: canonical positions of the same posed points for each part, from `PartPoses.canonical`.
        logits: the skinning logit of each part, sampled at its own hypothesis.
    """
    weights = logits.softmax(-2)
    return (weights[..., None] * hypotheses).sum(-3), weights
