"""Surface normals of a rendered view, computed from its depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.backend import use_numba


@torch.no_grad()
def normals_from_depth(
    origins: Float[Tensor, "h w 3"],
    directions: Float[Tensor, "h w 3"],
    depth: Float[Tensor, "h w 1"],
    accumulation: Float[Tensor, "h w 1"],
) -> Float[Tensor, "h w 3"]:
    """World normals towards the viewer, packed to [0, 1] as (n + 1) / 2 and multiplied by the accumulation.

    They are cross products of central differences of surface points; the outermost pixels have none. No gradient.
    The specification is `_normals_torch`; on the CPU its numba twin runs.
    """
    if use_numba(depth):
        from nerfstudio_avatars.instant_avatar.rendering import _numba_normals

        return _numba_normals.normals_from_depth(origins, directions, depth, accumulation)
    return _normals_torch(origins, directions, depth, accumulation)


@torch.no_grad()
def _normals_torch(origins: Tensor, directions: Tensor, depth: Tensor, accumulation: Tensor) -> Tensor:
    points = origins + depth * directions
    right = torch.zeros_like(points)
    down = torch.zeros_like(points)
    right[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    facing = torch.where((normal * directions).sum(-1, keepdim=True) > 0, -normal, normal)
    return (facing * 0.5 + 0.5) * accumulation
