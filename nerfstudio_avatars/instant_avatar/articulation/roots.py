"""The result of a search for canonical points, and the tolerances that all of its twins share."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

TOLERANCE = 1e-3
"""Distance that a root may be outside its cell, in cells, so that shared faces do not leak."""
RESIDUAL = 1e-4
"""Largest distance in metres between a point and the image of its root."""
SAME_ROOT = 1e-4
"""Distance in metres below which two roots of a point are the same."""
NEWTON_STEPS = 8


@dataclass(frozen=True)
class Roots:
    """All canonical roots of a set of posed points, sorted by point. With a `Budget`, padding with the last point
    follows."""

    x_canonical: Float[Tensor, "roots 3"]
    point: Int[Tensor, " roots"]
    """Index of the posed point of each root."""
    cell: Int[Tensor, " roots"]
    """Row of the active cell that holds the root; -1 for padding."""
    local: Float[Tensor, "roots 3"]
    """Position within the cell, in [0, 1]^3 up to the tolerance."""
