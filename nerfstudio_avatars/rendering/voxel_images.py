"""What rays through voxels saw, as images that a viewer shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.rendering.voxel_render import VoxelPictures

SOLID = 0.5
"""Opacity from which a pixel has a depth and a normal."""


def as_images(seen: Sequence[VoxelPictures], middle: float, height: int, width: int) -> dict[str, Tensor]:
    """Joins the pieces of one frame.

    Args:
        seen: of successive rays, row by row; one frame each.
        middle: depth of the object's middle, half pictures from the camera.
        height: of the image, pixels.
        width: of the image, pixels.

    Returns:
        `rgb`, `accumulation`, `depth` (half pictures from the camera), `normal` (-1 to 1 as colours), `parts` (one
        colour each), `part_shares` (height, width, parts).
    """

    def whole(name: str) -> Tensor:
        return torch.cat([getattr(piece, name)[0] for piece in seen]).reshape(height, width, -1)

    accumulation, shares = whole("accumulation"), whole("parts")
    solid, covered = accumulation > SOLID, accumulation.clamp_min(1e-4)
    normals = F.normalize(whole("normals"), dim=-1) * 0.5 + 0.5
    return {
        "rgb": whole("rgb").clamp(0, 1),
        "accumulation": accumulation,
        "depth": torch.where(solid, middle + whole("depth") / covered, middle + 1.0),
        "normal": torch.where(solid, normals, 1.0),
        "parts": shares @ part_colours(shares.shape[-1]).to(shares),
        "part_shares": shares,
    }


def part_colours(parts: int) -> Float[Tensor, "parts 3"]:
    """A colour for each part, evenly around the circle of hues."""
    hue = torch.arange(parts)[:, None] / max(parts, 1) + torch.tensor([0.0, 2 / 3, 1 / 3])
    return (0.5 + 0.5 * torch.cos(2 * torch.pi * hue)).clamp(0, 1)
