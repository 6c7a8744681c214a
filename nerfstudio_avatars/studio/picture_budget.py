"""How large a picture may be, if it is to be drawn in time."""

from __future__ import annotations

import math

LEAST_SIDE, MOST_SIDE = 128, 768
"""Bounds of the longer side of a picture while something moves, in pixels."""
_FORGET = 0.9
"""Weight that earlier pictures keep with each new one."""


class PictureBudget:
    """Learns what pictures cost: a fixed part, such as posing the body, and a part for each pixel.

    nerfstudio only knows a number of rays per second. It draws a small picture, whose cost is fixed, takes that for a
    slow machine, draws an even smaller one, and ends at the smallest there is.

    Args:
        seconds: that a picture may take.

    >>> budget = PictureBudget(0.1)
    >>> for side in (128, 160, 200, 240, 256):
    ...     budget.drawn(side * side, 0.03 + 1e-6 * side * side)
    >>> budget.side()
    256
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # Two pictures that nobody drew keep the fit sound while all real ones have the same size.
        self._pictures = [(0.1, 128.0**2, 0.05), (0.1, 512.0**2, 0.4)]

    def drawn(self, pixels: int, seconds: float) -> None:
        """Counts a picture that was drawn."""
        prior, real = self._pictures[:2], self._pictures[2:]
        faded = [(weight * _FORGET, size, took) for weight, size, took in real if weight > 0.01]
        self._pictures = [*prior, *faded, (1.0, float(pixels), seconds)]

    def cost(self) -> tuple[float, float]:
        """Seconds for a picture, and seconds for each of its pixels."""
        total = sum(weight for weight, _, _ in self._pictures)
        size = sum(weight * pixels for weight, pixels, _ in self._pictures) / total
        took = sum(weight * seconds for weight, _, seconds in self._pictures) / total
        spread = sum(weight * (pixels - size) ** 2 for weight, pixels, _ in self._pictures)
        slope = sum(w * (pixels - size) * (seconds - took) for w, pixels, seconds in self._pictures) / spread
        slope = min(max(slope, 1e-9), took / size)
        return took - slope * size, slope

    def side(self, seconds: float | None = None) -> int:
        """The longer side of a square picture that takes so long, in pixels; a multiple of 32."""
        fixed, slope = self.cost()
        pixels = ((self.seconds if seconds is None else seconds) - fixed) / slope
        side = 32 * int(math.sqrt(max(pixels, 0.0)) / 32 + 1e-6)
        return min(max(side, LEAST_SIDE), MOST_SIDE)


def size_of(side: int, aspect: float) -> tuple[int, int]:
    """Height and width of a picture, in pixels.

    Args:
        side: the longer one.
        aspect: width over height.
    """
    height, width = (side / aspect, side) if aspect > 1 else (side, side * aspect)
    return max(round(height), 2), max(round(width), 2)
