"""The view that the page opens with: the whole person, from the front, at eye level."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix

FIELD_OF_VIEW = math.radians(40)
"""Vertical field of view, radians."""
MARGIN = 0.12
"""Distance from the joints and the skin to the border of the picture, as a share of its smaller side."""


@dataclass(frozen=True)
class View:
    """Where a camera stands, and what it looks at: metres, z up."""

    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    field_of_view: float
    """Vertical, radians."""


def opening_view(
    points: Float[Tensor, "points 3"],
    joints: Float[Tensor, "24 3"],
    global_orient: Float[Tensor, "3"],
    aspect: float,
) -> View:
    """A view that holds a whole body.

    Args:
        points: the skin, in metres, z up.
        joints: of the body.
        global_orient: its orientation, which says where its front is.
        aspect: width over height of the picture.
    """
    ahead = axis_angle_to_matrix(global_orient)[:, 2]
    level = torch.stack([ahead[0], ahead[1], torch.zeros_like(ahead[0])])
    # Whoever lies has no front; the camera then stands where the training video's did.
    front = level / level.norm() if level.norm() > 0.3 else torch.tensor([0.0, 1.0, 0.0])
    right = torch.stack([-front[1], front[0], torch.zeros_like(front[0])])
    low, high = points.amin(0), points.amax(0)
    middle = (low + high) / 2
    eyes = joints[JOINT_NAMES.index("head")][2]
    nearest = ((points - middle) @ front).amax()
    half_height = (high[2] - low[2]) / 2
    half_width = ((points - middle) @ right).abs().amax()
    tangent = math.tan(FIELD_OF_VIEW / 2) * (1 - 2 * MARGIN)
    distance = float(max(half_height / tangent, half_width / (tangent * aspect)) + nearest)
    lift = float(eyes - middle[2])
    # The camera looks down from the eyes, so the feet are farther from the axis than half a height.
    distance += abs(lift) * 0.5
    position = middle + distance * front + torch.tensor([0.0, 0.0, lift])
    return View(_triple(position), _triple(middle), FIELD_OF_VIEW)


def _triple(point: Float[Tensor, "3"]) -> tuple[float, float, float]:
    x, y, z = point.tolist()
    return x, y, z
