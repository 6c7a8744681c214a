"""The canonical cells of one pose, sorted into bins of the posed space: posed occupancy and search structure in one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.ops.backend import use_numba
from nerfstudio_avatars.ops.host_reads import Budget, Program, Sizes, owners, run_together


@dataclass(frozen=True)
class PosedCells:
    """Posed cells in bins (compressed sparse rows). A posed point can only come from the cells of its bin."""

    nodes: Float[Tensor, "nodes 3"]
    """Posed nodes, metres, detached."""
    cells: Int[Tensor, "cells 8"]
    """Node indices of all the volume's cells (x fastest in the corner's number)."""
    lower: Float[Tensor, "cells 3"]
    upper: Float[Tensor, "cells 3"]
    """Bounding box of each posed cell. What is said of single cells is said of those in bins; the numba twin leaves it
    open for all others."""
    sides: Int[Tensor, "cells 2"]
    """Of cells that are turned inside out in a part of them, deep in a crease: the corner on either side of the fold,
    where the map's determinant is highest and lowest. One point may have a root on each. All others: -1."""
    box: Float[Tensor, "2 3"]
    """Bounding box of the cells that are in bins, metres."""
    origin: Float[Tensor, "3"]
    bin_size: float
    dims: tuple[int, int, int]
    offsets: Int[Tensor, "bins_plus_one"]
    members: Int[Tensor, "entries"]
    """Cells of bin `b`: `members[offsets[b]:offsets[b + 1]]`."""

    @property
    def diagonal(self) -> float:
        """No ray is longer than this within the box, metres."""
        return math.hypot(*self.dims) * self.bin_size

    def bin_of(self, x_posed: Float[Tensor, "points 3"]) -> tuple[Int[Tensor, "points"], Bool[Tensor, "points"]]:
        """Bin of each point, and whether it lies in any (bin 0 where not)."""
        at = ((x_posed - self.origin) / self.bin_size).floor().long()
        i, j, k = at.unbind(-1)
        d0, d1, d2 = self.dims
        inside = (at >= 0).all(-1) & (i < d0) & (j < d1) & (k < d2)
        return torch.where(inside, (i * d1 + j) * d2 + k, 0), inside

    def holds(self, x_posed: Float[Tensor, "points 3"]) -> Bool[Tensor, "points"]:
        """Posed occupancy: whether a point's bin holds any cell."""
        bins, inside = self.bin_of(x_posed)
        return inside & (self.offsets[1:] > self.offsets[:-1])[bins]


def bin_cells(
    nodes: Float[Tensor, "nodes 3"],
    cells: Int[Tensor, "cells 8"],
    occupied: Bool[Tensor, "cells"],
    bin_size: float = 0.025,
) -> PosedCells:
    """Sorts the occupied cells of a pose into cubic bins.

    Args:
        nodes: posed nodes, metres.
        cells: corners of all cells of the volume.
        occupied: the cells to sort: those with something in them. At least one.
        bin_size: edge of a bin, metres.
    """
    return bin_all(nodes[None], cells, occupied, bin_size)[0]


def bin_all(
    nodes: Float[Tensor, "poses nodes 3"],
    cells: Int[Tensor, "cells 8"],
    occupied: Bool[Tensor, "cells"],
    bin_size: float,
    budget: Budget | None = None,
) -> list[PosedCells]:
    """`bin_cells` of several poses, side by side (specification: `_binning_torch`; numba twin on the CPU).

    Args:
        budget: for the bins, so that a GPU is not waited for.
    """
    nodes = nodes.detach()
    if use_numba(nodes):
        from nerfstudio_avatars.deformations import _numba

        return _numba.bin_all(nodes, cells, occupied, bin_size)
    return run_together([_binning_torch(of_pose, cells, occupied, bin_size) for of_pose in nodes], budget)


def _binning_torch(nodes: Tensor, cells: Tensor, occupied: Tensor, bin_size: float) -> Program[PosedCells]:
    # All cells are computed with, so that no size depends on how many are occupied.
    corners = nodes[cells.long()]
    lower, upper = corners.amin(1), corners.amax(1)
    kept = occupied[:, None]
    box = torch.stack([torch.where(kept, lower, torch.inf).amin(0), torch.where(kept, upper, -torch.inf).amax(0)])
    origin = box[0]
    first = ((lower - origin) / bin_size).floor().long()
    last = ((upper - origin) / bin_size).floor().long()
    extent = last - first + 1
    count = torch.where(occupied, extent.prod(-1), 0)
    d0, d1, d2, entries = yield Sizes("bins", torch.cat([torch.where(kept, last, 0).amax(0) + 1, count.sum()[None]]))
    owner = owners(count, entries)
    entry = owner.clamp(max=len(cells) - 1)
    rank = torch.arange(entries, device=nodes.device) - (count.cumsum(0) - count)[entry]
    size = extent[entry]
    at = torch.stack([rank // (size[:, 1] * size[:, 2]), rank // size[:, 2] % size[:, 1], rank % size[:, 2]], -1)
    at = at + first[entry]
    bins = torch.where(owner < len(cells), (at[:, 0] * d1 + at[:, 1]) * d2 + at[:, 2], d0 * d1 * d2)
    bins, order = torch.sort(bins, stable=True)
    offsets = torch.searchsorted(bins, torch.arange(d0 * d1 * d2 + 1, device=nodes.device))
    members = entry[order]
    return PosedCells(
        nodes,
        cells,
        lower,
        upper,
        _sides(corners),
        box,
        origin,
        bin_size,
        (d0, d1, d2),
        offsets.int(),
        members.int(),
    )


def _sides(corners: Float[Tensor, "cells 8 3"]) -> Int[Tensor, "cells 2"]:
    """Corners with the highest and the lowest determinant where they differ in sign, else -1."""
    determinants = []
    for k in range(8):
        x, y, z = (corners[:, k | bit] - corners[:, k & ~bit] for bit in (1, 2, 4))
        determinants.append((x * torch.linalg.cross(y, z)).sum(-1))
    high, low = torch.stack(determinants, -1).max(-1), torch.stack(determinants, -1).min(-1)
    folded = (high.values > 0) & (low.values < 0)
    return torch.where(folded[:, None], torch.stack([high.indices, low.indices], -1), -1).int()
