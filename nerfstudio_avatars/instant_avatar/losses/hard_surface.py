"""The hard-surface losses, which make rays and samples opaque or clear."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_PAPER_SLOTS = 256
"""Number of sample slots on a ray in the paper, whose mean includes empty ones."""


def hard_surface(value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """h(v) = -log(e^-v + e^(v-1)) + log(1 + 1/e): zero at 0 and 1, highest (0.1201) at one half."""
    return math.log1p(math.exp(-1)) - torch.logaddexp(-value, value - 1)


def hard_accumulation(accumulation: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Mean of h over the accumulations of the rays."""
    return hard_surface(accumulation).mean()


def hard_weights(weights: Float[Tensor, " samples"], num_rays: int, slots: int = _PAPER_SLOTS) -> Float[Tensor, ""]:
    """Mean of h over the rendering weights of `num_rays` rays of `slots` samples each.

    Args:
        weights: of the packed samples; missing samples have a weight of zero and add nothing.
        num_rays: number of rays in the batch, including those without samples.
        slots: number of samples a ray could have.
    """
    return hard_surface(weights).sum() / (num_rays * slots)
