"""Numba twin of `snarf.unpose`, for the CPU."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfstudio_avatars.deformations._numba import newton
from nerfstudio_avatars.deformations.posed_cells import PosedCells
from nerfstudio_avatars.deformations.skinning_volume import SkinningVolume
from nerfstudio_avatars.deformations.snarf import NEWTON_STEPS, RESIDUAL, TOLERANCE, Roots

_MOST_ROOTS = 16
"""Roots of one point that the buffers hold; a body folded sixteen times is no body."""
_BLOCK = 256
"""Points that share one scratch buffer."""


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _unpose(
    x_posed, nodes, cells, lower, upper, sides, origin, bin_scale, dims, offsets, members, cell_index,
    same, steps, residual, tolerance, count, out_cell, out_local,
):  # fmt: skip
    for block in prange((len(x_posed) + _BLOCK - 1) // _BLOCK):
        scratch = np.empty((8, 3), np.float32)
        for p in range(block * _BLOCK, min((block + 1) * _BLOCK, len(x_posed))):
            px, py, pz = x_posed[p, 0], x_posed[p, 1], x_posed[p, 2]
            i = int(np.floor((px - origin[0]) * bin_scale))
            j = int(np.floor((py - origin[1]) * bin_scale))
            k = int(np.floor((pz - origin[2]) * bin_scale))
            found_here = 0
            if i >= 0 and j >= 0 and k >= 0 and i < dims[0] and j < dims[1] and k < dims[2]:
                b = (i * dims[1] + j) * dims[2] + k
                for m in range(offsets[b], offsets[b + 1]):
                    c = members[m]
                    if px < lower[c, 0] or py < lower[c, 1] or pz < lower[c, 2]:
                        continue
                    if px > upper[c, 0] or py > upper[c, 1] or pz > upper[c, 2]:
                        continue
                    for attempt in range(1 if sides[c, 0] < 0 else 3):
                        start = sides[c, attempt - 1] if attempt else -1
                        found, u, v, w = newton(px, py, pz, nodes, cells, c, start, steps, residual, tolerance, scratch)
                        if not found or found_here == out_cell.shape[1]:
                            continue
                        new = True
                        for q in range(found_here):
                            o = out_cell[p, q]
                            e0 = cell_index[o, 0] - cell_index[c, 0] + out_local[p, q, 0] - u
                            e1 = cell_index[o, 1] - cell_index[c, 1] + out_local[p, q, 1] - v
                            e2 = cell_index[o, 2] - cell_index[c, 2] + out_local[p, q, 2] - w
                            if e0 * e0 + e1 * e1 + e2 * e2 < same * same:
                                new = False
                        if new:
                            out_cell[p, found_here] = c
                            out_local[p, found_here, 0] = u
                            out_local[p, found_here, 1] = v
                            out_local[p, found_here, 2] = w
                            found_here += 1
            count[p] = found_here


def unpose(x_posed: Tensor, posed: PosedCells, volume: SkinningVolume) -> Roots:
    """All canonical roots of posed points within the active cells."""
    n, f32 = len(x_posed), np.float32
    count = np.zeros(n, np.int64)
    out_cell, out_local = np.empty((n, _MOST_ROOTS), np.int32), np.empty((n, _MOST_ROOTS, 3), f32)
    _unpose(
        x_posed.detach().contiguous().numpy(), posed.nodes.numpy(), posed.cells.numpy(), posed.lower.numpy(),
        posed.upper.numpy(), posed.sides.numpy(), posed.origin.numpy(), f32(1 / posed.bin_size), np.array(posed.dims),
        posed.offsets.numpy(), posed.members.numpy(), volume.cell_index.numpy(), f32(1e-4 / volume.spacing),
        NEWTON_STEPS, f32(RESIDUAL), f32(TOLERANCE), count, out_cell, out_local,
    )  # fmt: skip
    point = np.repeat(np.arange(n), count)
    rank = np.arange(len(point)) - np.repeat(count.cumsum() - count, count)
    cell = torch.from_numpy(out_cell[point, rank]).long()
    local = torch.from_numpy(out_local[point, rank])
    x_canonical = volume.origin + volume.spacing * (volume.cell_index[cell] + local)
    return Roots(x_canonical, torch.from_numpy(point), cell, local)
