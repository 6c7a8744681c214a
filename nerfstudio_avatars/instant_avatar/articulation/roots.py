"""The result of a search for canonical points, and the tolerances that all of its twins share."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

TOLERANCE = 1e-3
"""A root may lie this far outside its cell (in cell units): the faces two cells share must not leak."""
RESIDUAL = 1e-4
"""Largest accepted distance between the point and the image of its root, metres."""
SAME_ROOT = 1e-4
"""Roots of one point nearer to each other than this are one, metres."""
NEWTON_STEPS = 8


@dataclass(frozen=True)
class Roots:
    """All canonical roots of a set of posed points, sorted by point. In a `Budget`, padding of the last follows."""

    x_canonical: Float[Tensor, "roots 3"]
    point: Int[Tensor, "roots"]
    """Which posed point each root belongs to."""
    cell: Int[Tensor, "roots"]
    """Row of the active cell that holds the root; -1 for padding."""
    local: Float[Tensor, "roots 3"]
    """Position within the cell, in [0, 1]^3 up to the tolerance."""
