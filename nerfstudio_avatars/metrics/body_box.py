"""The region of a picture that contains the body.

Figures over the whole image flatter a method on a plain background, because most pixels are trivially right. In the box
around the body, the same pictures score 4 to 5 dB less, so both are reported.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST_SIDE = 16
"""Smallest side of a box in pixels, if the picture is large enough, so that SSIM's window fits."""


def body_box(
    mask: Bool[Tensor, "height width"] | Float[Tensor, "height width"], margin: int = 4
) -> tuple[slice, slice]:
    """Rows and columns of the tight box around the body, grown by a margin.

    Args:
        mask: the share of each pixel covered by the body; above one half counts as body.
        margin: pixels to add on every side, clipped at the border of the picture.

    Returns:
        Slices of rows and of columns. Without a body, the box is the whole picture.
    """
    inside = mask > 0.5
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
