"""Where parts begin, and where their middles are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_SOLID = 0.1
"""Share of the largest mean density above which something counts as solid."""
_DEPTH_COUNTS = 0.6
"""Factor on depth, of which less is seen."""
_PULL, _ROUNDS = 0.2, 4
_SHARPNESS, _LEAST = 24.0, -8.0
"""Factor on squared distances in half pictures, and minimum logit of a cell's neighbours."""


def voronoi_logits(
    density: Float[Tensor, "n n n"], extents: Float[Tensor, "3"], parts: int
) -> Float[Tensor, "parts n n n"]:
    """Logits of soft cells around points that lie far from each other in what is solid.

    Args:
        density: mean density of all identities.
        extents: half extents of the cube (x, y, z).
    """
    scale = extents * torch.tensor([1.0, 1.0, _DEPTH_COUNTS], device=extents.device)
    places = voxel_places(density.shape[-1], density.device) * scale
    inside = density.flatten() > _SOLID * density.max()
    points = places.flatten(0, 2)[inside]
    if len(points) < parts:
        points = places.flatten(0, 2)
    middle = points.mean(0)
    seeds = [points[(points - middle).norm(dim=-1).argmax()]]
    while len(seeds) < parts:
        nearest = torch.cdist(points, torch.stack(seeds)).min(1).values
        seeds.append(points[nearest.argmax()])
    centres = torch.lerp(torch.stack(seeds), middle, _PULL)
    for _ in range(_ROUNDS):
        own = F.one_hot(torch.cdist(points, centres).argmin(1), parts).to(points)
        centres = own.mT @ points / own.sum(0)[:, None].clamp_min(1)
    logits = -_SHARPNESS * torch.cdist(places.flatten(0, 2), centres).square()
    return logits.log_softmax(-1).clamp_min(_LEAST).mT.unflatten(1, density.shape)


def part_middles(
    cubes: Float[Tensor, "identities channels n n n"], extents: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "parts 3"], Float[Tensor, " parts"]]:
    """Centroids of the parts, in half pictures, and their shares of all that is solid.

    Args:
        cubes: part logits, RGB, density before activation.
        extents: half extents of the cube (x, y, z).
    """
    parts = cubes.shape[1] - 4
    solid = F.relu(cubes[:, -1:])
    mass = (cubes[:, :parts].softmax(1) * solid / solid.sum((2, 3, 4), keepdim=True).clamp_min(1e-6)).mean(0)
    places = voxel_places(cubes.shape[-1], cubes.device).flatten(0, 2)
    total = mass.sum((1, 2, 3))
    return mass.flatten(1) @ places / total[:, None].clamp_min(1e-6) * extents, total


def voxel_places(n: int, device: torch.device) -> Float[Tensor, "n n n 3"]:
    """(x, y, z) of voxels, in half cubes."""
    axis = torch.linspace(-1, 1, n, device=device)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1)
