"""The occupancy regulariser, which removes density in cells that the grid marks as empty."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def occupancy_regulariser(
    density: Float[Tensor, "*samples"],
    empty: Bool[Tensor, "*samples"],
    period: float = 20.0,
    everywhere: float = 0.0,
    opacity_step: float = 0.01,
) -> Float[Tensor, ""]:
    """Mean opacity in the empty cells (InstantAvatar, L_reg).

    The paper evaluates it at the grid's update, so on every 20th step, and multiplies by 20 to make up for it. In the
    first 500 steps, while the grid still changes quickly, `empty` is taken from the new grid and half of the opacity
    everywhere is added; afterwards `empty` is taken from the grid before its update.

    Args:
        density: raw density of the samples, per metre; below zero counts as zero.
        empty: the samples in unoccupied cells.
        period: steps between two evaluations, the factor on the empty samples' mean.
        everywhere: factor on the mean over all samples; the paper's 0.5 in the first 500 steps.
        opacity_step: path length over which a density counts as opacity, metres.
    """
    opacity = 1 - torch.exp(-opacity_step * density.relu())
    in_empty = torch.where(empty, opacity, 0).sum() / empty.sum().clamp(min=1)
    return period * in_empty + everywhere * opacity.sum() / max(opacity.numel(), 1)
