"""Resizes pictures. Coordinates run from -1 to 1 between a picture's edges, and pixels are squares (no corners)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pixel_grid(size: int, device: torch.device | str = "cpu") -> Float[Tensor, "size size 2"]:
    """Centres (x, y) of the pixels of a square picture, whose edges are at -1 and 1."""
    steps = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], -1)


def antialiased_resize(images: Float[Tensor, "batch channels h w"], size: int) -> Float[Tensor, "batch channels s s"]:
    """Resizes square pictures: by area averages if the factor is an integer, otherwise by smooth interpolation."""
    height = images.shape[-1]
    if height == size:
        return images
    if height % size == 0:
        return F.avg_pool2d(images, height // size)
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
