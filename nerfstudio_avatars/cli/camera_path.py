"""Cameras that look at a person, standing still or walking around them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

DISTANCE = 4.5
"""From the camera to the person, metres: far enough for natural proportions."""

MARGIN = 0.2
"""Left free around the joints, metres: skin, hair and shoes reach beyond them."""


def orbit(
    targets: Float[Tensor, "frames 3"],
    azimuth: Float[Tensor, " frames"],
    elevation: float,
    distance: float = DISTANCE,
) -> Float[Tensor, "frames 3 4"]:
    """Camera-to-world matrices, OpenGL axes, of cameras that look at the targets.

    Args:
        targets: what each camera looks at, metres, z up.
        azimuth: radians; 0 stands at +y, where the person of a training video looks at the start; grows towards -x.
        elevation: radians above the horizon, below a right angle.
        distance: metres from camera to target.
    """
    back = torch.stack(
        [
            -azimuth.sin() * math.cos(elevation),
            azimuth.cos() * math.cos(elevation),
            torch.full_like(azimuth, math.sin(elevation)),
        ],
        dim=-1,
    )
    right = torch.nn.functional.normalize(
        torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]).expand_as(back), back), dim=-1
    )
    up = torch.linalg.cross(back, right)
    return torch.stack([right, up, back, targets + distance * back], dim=-1)


def reach(joints: Float[Tensor, "frames joints 3"], targets: Float[Tensor, "frames 3"]) -> float:
    """Radius around its target that holds a person in every frame, from any side, metres."""
    return (joints - targets[:, None]).norm(dim=-1).max().item() + MARGIN


def focal_length(radius: float, height: int, width: int, distance: float = DISTANCE) -> float:
    """Focal length in pixels at which a ball around the target just fits into the picture."""
    return 0.5 * min(height, width) * math.sqrt(max(distance**2 - radius**2, 0.01)) / radius


def cameras(camera_to_world: Float[Tensor, "frames 3 4"], focal: float, height: int, width: int) -> Cameras:
    """nerfstudio cameras without distortion, principal point in the middle."""
    from nerfstudio.cameras.cameras import Cameras

    # Only float32 intrinsics: nerfstudio's rays mix types otherwise.
    return Cameras(camera_to_world.float(), float(focal), float(focal), width / 2, height / 2, width, height)
