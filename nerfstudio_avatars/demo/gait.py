"""How drawn people move: the same motion with their own stride, swing of the arms and bearing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_LEGS, _ARMS = (1, 2, 4, 5), (13, 14, 16, 17, 18, 19)
"""SMPL's joints: hips and knees; collars, shoulders and elbows."""
_SPINE = 3


@dataclass(frozen=True)
class Gait:
    """What tells the movements of one person from those of another."""

    stride: float = 1.0
    """Factor on the legs' departure from their mean pose."""
    swing: float = 1.0
    """Factor on the arms' departure from their mean pose."""
    lean: float = 0.0
    """Angle in radians by which the trunk leans forwards."""
    sway: float = 1.0
    """Factor on the sway of the body while it turns around."""

    def applied(self, body_pose: Float[Tensor, "69"], mean: Float[Tensor, "69"]) -> Float[Tensor, "69"]:
        """A pose as this person strikes it.

        Args:
            body_pose: the pose in axis-angle form, in radians.
            mean: the mean pose of the motion that it belongs to.
        """
        if self == STEADY:
            return body_pose
        factor = torch.ones(23, 3)
        factor[[joint - 1 for joint in _LEGS]] = self.stride
        factor[[joint - 1 for joint in _ARMS]] = self.swing
        pose = mean + factor.flatten() * (body_pose - mean)
        pose[3 * (_SPINE - 1)] += self.lean
        return pose


STEADY = Gait()
"""The motions as they are."""


def drawn_gait(rng: np.random.Generator) -> Gait:
    """The gait of anybody."""
    stride, swing = rng.uniform(0.7, 1.2, 2)
    return Gait(float(stride), float(swing), float(rng.uniform(-0.08, 0.15)), float(rng.uniform(0.6, 1.5)))
