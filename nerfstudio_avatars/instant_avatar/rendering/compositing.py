"""Volume rendering of packed samples (Max 1995; NeRF, eq. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rendering_weights(
    density: Float[Tensor, "samples"], step: float, ray: Int[Tensor, "samples"]
) -> Float[Tensor, "samples"]:
    """Contribution of each sample to its ray: opacity times the transmittance before it.

    Args:
        density: non-negative, 1/m.
        step: length that each sample represents, in metres.
        ray: ray of each sample, sorted; samples of a ray run from near to far.
    """
    optical_depth = density * step
    # One running sum over all rays, in float64: in float32 the difference below would lose its digits.
    total = optical_depth.double().cumsum(0) - optical_depth.double()
    first = torch.ones_like(ray, dtype=torch.bool)
    first[1:] = ray[1:] != ray[:-1]
    start = torch.where(first, torch.arange(len(ray), device=ray.device), 0).cummax(0).values
    before = (total - total[start]).to(density.dtype)
    return torch.exp(-before) * -torch.expm1(-optical_depth)


def over(
    premultiplied: Float[Tensor, "*n 3"], accumulation: Float[Tensor, "*n 1"], background: Float[Tensor, "*#n 3"]
) -> Float[Tensor, "*n 3"]:
    """Composites colour over a background."""
    return premultiplied + (1 - accumulation) * background
