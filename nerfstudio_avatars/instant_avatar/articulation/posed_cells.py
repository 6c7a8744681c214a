"""The canonical cells in one pose, sorted into bins of posed space: posed occupancy and search structure in one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class PosedCells:
    """Posed cells in bins (compressed sparse rows). A posed point can only be in the cells of its bin."""

    nodes: Float[Tensor, "nodes 3"]
    """Posed nodes in metres, detached."""
    cells: Int[Tensor, "cells 8"]
    """Node indices of all cells of the volume (x is fastest in the number of a corner)."""
    lower: Float[Tensor, "cells 3"]
    upper: Float[Tensor, "cells 3"]
    """Bounding box of each posed cell. Values per cell are only defined for cells in bins."""
    sides: Int[Tensor, "cells 2"]
    """For cells that are partly inside out, deep in a crease: the corners on both sides of the fold, with the highest
    and lowest determinant of the map. A point may have a root on each side. For other cells: -1."""
    box: Float[Tensor, "2 3"]
    """Bounding box of the cells in bins, in metres."""
    origin: Float[Tensor, "3"]
    bin_size: float
    dims: tuple[int, int, int]
    offsets: Int[Tensor, " bins_plus_one"]
    members: Int[Tensor, " entries"]
    """Cells of bin `b`: `members[offsets[b]:offsets[b + 1]]`."""

    @property
    def diagonal(self) -> float:
        """Length of the diagonal of the box in metres, which no ray in it exceeds."""
        return math.hypot(*self.dims) * self.bin_size

    def bin_of(self, x_posed: Float[Tensor, "points 3"]) -> tuple[Int[Tensor, " points"], Bool[Tensor, " points"]]:
        """Bin of each point, and whether it is in any (bin 0 if not)."""
        at = ((x_posed - self.origin) / self.bin_size).floor().long()
        i, j, k = at.unbind(-1)
        d0, d1, d2 = self.dims
        inside = (at >= 0).all(-1) & (i < d0) & (j < d1) & (k < d2)
        return torch.where(inside, (i * d1 + j) * d2 + k, 0), inside

    def holds(self, x_posed: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
        """Posed occupancy: whether a point's bin holds any cell."""
        bins, inside = self.bin_of(x_posed)
        return inside & (self.offsets[1:] > self.offsets[:-1])[bins]
