"""Structural similarity."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_WINDOW = 11
"""Side of the Gaussian window in pixels. Pictures need at least half of it, plus one, in each direction."""

_SIGMA = 1.5
"""Standard deviation of the Gaussian window in pixels."""

_STABILISERS = (0.01**2, 0.03**2)
"""C1 and C2 of the paper, for values in [0, 1]."""


def ssim(prediction: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> float:
    """Mean structural similarity of two pictures in [0, 1].

    Wang et al. 2004, eq. 13, per colour channel, with reflected borders, averaged over all pixels: the same figure as
    torchmetrics' `structural_similarity_index_measure(data_range=1)`.

    Raises:
        ValueError: if the picture is smaller than the window's radius allows.
    """
    radius = _WINDOW // 2
    if min(prediction.shape[:2]) <= radius:
        raise ValueError(f"SSIM needs pictures of more than {radius} pixels a side, got {tuple(prediction.shape[:2])}")
    offsets = torch.arange(_WINDOW, dtype=prediction.dtype, device=prediction.device) - radius
    window = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    window = window / window.sum()

    x, y = (
        functional.pad(image.permute(2, 0, 1)[None], (radius,) * 4, mode="reflect") for image in (prediction, truth)
    )
    moments = torch.cat([x, y, x * x, y * y, x * y]).flatten(0, 1)[:, None]
    moments = functional.conv2d(functional.conv2d(moments, window[None, None, :, None]), window[None, None, None])
    mean_x, mean_y, square_x, square_y, product = moments.unflatten(0, (5, 3))
    variance_x = (square_x - mean_x.square()).clamp(min=0)
    variance_y = (square_y - mean_y.square()).clamp(min=0)
    covariance = product - mean_x * mean_y

    c1, c2 = _STABILISERS
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean().item()
