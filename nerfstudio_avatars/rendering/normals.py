"""Surface normals of a rendered view, from its depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def normals_from_depth(
    origins: Float[Tensor, "h w 3"],
    directions: Float[Tensor, "h w 3"],
    depth: Float[Tensor, "h w 1"],
    accumulation: Float[Tensor, "h w 1"],
) -> Float[Tensor, "h w 3"]:
    """World normals towards the viewer, packed to [0, 1] as (n + 1) / 2 and faded by the opacity.

    Cross products of central differences of the surface points; the picture's outermost pixels have none.
    """
    points = origins + depth * directions
    right = torch.zeros_like(points)
    down = torch.zeros_like(points)
    right[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    facing = torch.where((normal * directions).sum(-1, keepdim=True) > 0, -normal, normal)
    return (facing * 0.5 + 0.5) * accumulation
