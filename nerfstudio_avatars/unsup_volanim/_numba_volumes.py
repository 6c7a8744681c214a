"""Numba twin of how cubes are laid out for `_numba_composition`, for the CPU: a voxel's channels lie together."""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import torch
from numba import get_num_threads, prange
from torch import Tensor

from nerfstudio_avatars.kernels import njit


class Packed(torch.autograd.Function):
    """Density, RGB and weights (identities, n + 2, n + 2, n + 2, 4 + parts) of cubes and of their parts' weights.

    Around the cube there is nothing; weights go on, so that a single part is all that there is.
    """

    @staticmethod
    def forward(ctx, cubes: Tensor, weights: Tensor) -> Tensor:
        """Packs."""
        identities, channels, n = cubes.shape[:3]
        out = torch.empty(identities, n + 2, n + 2, n + 2, channels)
        _pack(get_num_threads(), cubes.detach().numpy(), weights.detach().numpy(), out.numpy())
        ctx.shapes = cubes.shape, weights.shape
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Unpacks."""
        for_cubes, for_weights = (torch.zeros(shape) for shape in ctx.shapes)
        _unpack(get_num_threads(), gradient.contiguous().numpy(), for_cubes.numpy(), for_weights.numpy())
        return for_cubes, for_weights


@njit(parallel=True, cache=True, nogil=True)
def _pack(lanes, cubes, weights, out):
    identities, channels, n = cubes.shape[:3]
    parts, side = channels - 4, n + 2
    for lane in prange(lanes):
        for task in range(lane, identities * side, lanes):
            f, k = task // side, task % side
            z = min(max(k - 1, 0), n - 1)
            for j in range(side):
                y = min(max(j - 1, 0), n - 1)
                rim = k != z + 1 or j != y + 1
                for i in range(side):
                    x = min(max(i - 1, 0), n - 1)
                    cell = out[f, k, j, i]
                    if rim or i != x + 1:
                        cell[:4] = 0
                    else:
                        cell[0] = cubes[f, parts + 3, z, y, x]
                        for c in range(3):
                            cell[1 + c] = cubes[f, parts + c, z, y, x]
                    for p in range(parts):
                        cell[4 + p] = weights[f, p, z, y, x]


@njit(parallel=True, cache=True, nogil=True)
def _unpack(lanes, gradient, cubes, weights):
    """Adds up what belongs to each voxel; a lane has identities of its own, as neighbours share the rim."""
    identities, channels, n = cubes.shape[:3]
    parts, side = channels - 4, n + 2
    for lane in prange(lanes):
        for f in range(lane, identities, lanes):
            for k in range(side):
                z = min(max(k - 1, 0), n - 1)
                for j in range(side):
                    y = min(max(j - 1, 0), n - 1)
                    rim = k != z + 1 or j != y + 1
                    for i in range(side):
                        x = min(max(i - 1, 0), n - 1)
                        cell = gradient[f, k, j, i]
                        if not rim and i == x + 1:
                            cubes[f, parts + 3, z, y, x] = cell[0]
                            for c in range(3):
                                cubes[f, parts + c, z, y, x] = cell[1 + c]
                        for p in range(parts):
                            weights[f, p, z, y, x] += cell[4 + p]
