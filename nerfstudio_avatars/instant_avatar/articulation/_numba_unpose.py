"""Numba twin of `snarf.unpose`, for the CPU."""

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation._numba_cells import CellSearch, bin_at, roots_in_bin
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.kernels import njit

_MOST_ROOTS = 16
"""Number of roots of one point that the buffers hold, more than a body can have."""
_ANYWHERE = np.empty((0, 0, 0), np.float32)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _unpose(x_posed, search, anywhere, count, out_cell, out_local, unused):
    for p in prange(len(x_posed)):
        px, py, pz = x_posed[p, 0], x_posed[p, 1], x_posed[p, 2]
        at = bin_at(search, px, py, pz)
        if at >= 0:
            most = out_cell.shape[1]
            count[p] = roots_in_bin(search, at, px, py, pz, anywhere, most, 0, p, out_cell, out_local, unused)


def unpose(x_posed: Tensor, posed: PosedCells, volume: SkinningVolume) -> Roots:
    """All canonical roots of posed points within the active cells."""
    n, f32 = len(x_posed), np.float32
    count = np.zeros(n, np.int64)
    out_cell, out_local = np.empty((n, _MOST_ROOTS), np.int32), np.empty((n, _MOST_ROOTS, 3), f32)
    unused = np.empty((n, _MOST_ROOTS), f32)
    _unpose(
        x_posed.detach().contiguous().numpy(),
        CellSearch.of(posed, volume),
        _ANYWHERE,
        count,
        out_cell,
        out_local,
        unused,
    )
    point = np.repeat(np.arange(n), count)
    rank = np.arange(len(point)) - np.repeat(count.cumsum() - count, count)
    cell = torch.from_numpy(out_cell[point, rank]).long()
    local = torch.from_numpy(out_local[point, rank])
    x_canonical = volume.origin + volume.spacing * (volume.cell_index[cell] + local)
    return Roots(x_canonical, torch.from_numpy(point), cell, local)
