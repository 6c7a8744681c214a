"""The hard-surface losses, which make rays and samples opaque or clear."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

PAPER_SLOTS = 256
"""Samples a ray may have in the paper. Its mean counts the empty ones too, so packed samples must be divided so."""


def hard_surface(value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """h(v) = -log(e^-v + e^(v-1)) + log(1 + 1/e): zero at 0 and 1, highest (0.1201) at one half."""
    return math.log1p(math.exp(-1)) - torch.logaddexp(-value, value - 1)


def hard_accumulation(accumulation: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Mean of h over the rays' accumulations."""
    return hard_surface(accumulation).mean()


def hard_weights(weights: Float[Tensor, "samples"], num_rays: int, slots: int = PAPER_SLOTS) -> Float[Tensor, ""]:
    """Mean of h over the rendering weights of `num_rays` rays of `slots` samples each.

    Args:
        weights: of the samples there are, packed; the missing ones have weight zero and add nothing.
        num_rays: rays of the batch, including those without a sample.
        slots: samples a ray could have had.
    """
    return hard_surface(weights).sum() / (num_rays * slots)
