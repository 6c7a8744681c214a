"""Sorts posed cells into cubic bins, so that each point has few cells to check."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.backend import use_numba
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget, Program, Sizes, owners, run_together


def bin_all(
    nodes: Float[Tensor, "poses nodes 3"],
    cells: Int[Tensor, "cells 8"],
    occupied: Bool[Tensor, " cells"],
    bin_size: float,
    budget: Budget | None = None,
) -> list[PosedCells]:
    """Sorts the occupied cells of each pose into cubic bins (specification: `_binning_torch`; numba twin on the CPU).

    Args:
        nodes: posed nodes, in metres.
        cells: corners of all cells of the volume.
        occupied: the cells to sort, which have something in them. At least one.
        bin_size: edge length of a bin, in metres.
        budget: sizes of the bins, to avoid waiting for the GPU.
    """
    nodes = nodes.detach()
    if use_numba(nodes):
        from nerfstudio_avatars.instant_avatar.articulation import _numba_cells

        return _numba_cells.bin_all(nodes, cells, occupied, bin_size)
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
