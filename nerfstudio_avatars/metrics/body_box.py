"""The region of a picture that contains the body.

Figures over the whole image flatter a method on a plain background, because most pixels are trivially right. In the box
around the body, the same pictures score 4 to 5 dB less, so both are reported.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST_SIDE = 16
"""Boxes are grown to this many pixels a side, where the picture has them, so that SSIM's window fits."""


def body_box(
    mask: Bool[Tensor, "height width"] | Float[Tensor, "height width"], margin: int = 4
) -> tuple[slice, slice]:
    """Rows and columns of the tight box around the body, grown by a margin.

    Args:
        mask: the body's share of each pixel; everything above one half counts as body.
        margin: pixels added on every side, clipped at the picture's border.

    Returns:
        Slices of rows and of columns. A picture without a body is its own box.
    """
    inside = mask > 0.5  # noqa: PLR2004
    return _extent(inside.any(dim=1), margin), _extent(inside.any(dim=0), margin)


def _extent(occupied: Bool[Tensor, " length"], margin: int) -> slice:
    length = len(occupied)
    hits = occupied.nonzero()[:, 0]
    if len(hits) == 0:
        return slice(0, length)
    start, stop = int(hits[0]) - margin, int(hits[-1]) + 1 + margin
    missing = max(SMALLEST_SIDE - (stop - start), 0)
    start, stop = start - missing // 2, stop + missing - missing // 2
    # A box pushed over one border keeps its length by growing at the other.
    if start < 0:
        stop = max(stop, min(SMALLEST_SIDE, length))
    if stop > length:
        start = min(start, length - min(SMALLEST_SIDE, length))
    return slice(max(start, 0), min(stop, length))
