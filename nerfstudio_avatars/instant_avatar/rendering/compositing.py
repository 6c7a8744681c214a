"""Volume rendering of packed samples (Max 1995; NeRF, eq. 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rendering_weights(
    density: Float[Tensor, " samples"], step: float, ray: Int[Tensor, " samples"]
) -> Float[Tensor, " samples"]:
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


def cut_out(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a picture that mean something by themselves, which end where the person ends.

    A mean over the few samples of a ray that hardly hits anything says nothing: depth is 0 where less than half of a
    pixel is covered, and canonical positions fade with the accumulation, as normals do.

    Args:
        outputs: (height, width, channels) each, as `InstantAvatarModel.render_pose` gives them.
    """
    accumulation = outputs["accumulation"]
    depth = torch.where(accumulation > 0.5, outputs["depth"], 0.0)
    canonical = outputs["canonical"].clamp(0, 1) * accumulation
    return {
        "rgb": outputs["rgb"],
        "depth": depth,
        "normal": outputs["normal"],
        "canonical": canonical,
        "accumulation": accumulation,
    }
