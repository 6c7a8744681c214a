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
    """Mean opacity of samples in empty cells (InstantAvatar, L_reg).

    The paper evaluates it when the grid is updated, which is every 20th step, and multiplies by 20 to compensate. In
    the first 500 steps, while the grid still changes quickly, `empty` comes from the new grid, and half of the opacity
    of all samples is added; afterwards, `empty` comes from the grid before its update.

    Args:
        density: raw density of the samples, per metre; below zero counts as zero.
        empty: whether samples are in unoccupied cells.
        period: steps between two evaluations, which is the factor on the mean over empty samples.
        everywhere: factor on the mean over all samples; the paper's 0.5 in the first 500 steps.
        opacity_step: path length in metres that converts density to opacity.
    """
    opacity = 1 - torch.exp(-opacity_step * density.relu())
    in_empty = torch.where(empty, opacity, 0).sum() / empty.sum().clamp(min=1)
    return period * in_empty + everywhere * opacity.sum() / max(opacity.numel(), 1)
