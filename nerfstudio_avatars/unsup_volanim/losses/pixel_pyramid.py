"""Absolute error of pictures at several sizes: at coarse sizes, misplaced things are noticed from further away."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def halve(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels half_h half_w"]:
    """Averages blocks of 2x2 pixels (exact box filter). A last odd row or column is left out."""
    return functional.avg_pool2d(images, 2)


def pixel_pyramid_loss(
    rendered: Float[Tensor, "batch height width channels"],
    target: Float[Tensor, "batch height width channels"],
    scales: int = 3,
) -> Float[Tensor, ""]:
    """Sum of mean absolute differences over sizes, each half the previous one.

    All sizes have the same weight. No gradient reaches the target.

    Args:
        scales: the number of sizes, the first being that of the pictures.

    Raises:
        ValueError: if the pictures cannot be halved `scales - 1` times.
    """
    height, width = rendered.shape[1:3]
    if scales < 1 or min(height, width) >> (scales - 1) == 0:
        raise ValueError(f"pictures of {height}x{width} pixels have no {scales} sizes")
    # The error is linear, so the difference can be averaged instead of both pictures.
    difference = (rendered - target.detach()).permute(0, 3, 1, 2)
    total = difference.abs().mean()
    for _ in range(scales - 1):
        difference = halve(difference)
        total = total + difference.abs().mean()
    return total
