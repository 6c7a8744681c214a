"""Numba twin of `skinning_volume._distance_torch` for the CPU, where torch would use a single thread."""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.kernels import njit


@njit(inline="always")
def trilinear(grid, x, y, z):
    """Value and slopes at a place in units of the grid spacing; beyond the border, the border's value and no slope."""
    n0, n1, n2 = grid.shape
    zero, one = np.float32(0), np.float32(1)
    ex, ey, ez = np.float32(n0 - 1), np.float32(n1 - 1), np.float32(n2 - 1)
    sx = one if x > zero and x < ex else zero
    sy = one if y > zero and y < ey else zero
    sz = one if z > zero and z < ez else zero
    x, y, z = min(max(x, zero), ex), min(max(y, zero), ey), min(max(z, zero), ez)
    # Only NaN is below zero here; it must not be looked up outside the grid.
    i, j, k = min(max(int(x), 0), n0 - 2), min(max(int(y), 0), n1 - 2), min(max(int(z), 0), n2 - 2)
    fx, fy, fz = x - np.float32(i), y - np.float32(j), z - np.float32(k)
    a0, b0, c0, d0 = grid[i, j, k], grid[i, j + 1, k], grid[i + 1, j, k], grid[i + 1, j + 1, k]
    az, bz = grid[i, j, k + 1] - a0, grid[i, j + 1, k + 1] - b0
    cz, dz = grid[i + 1, j, k + 1] - c0, grid[i + 1, j + 1, k + 1] - d0
    a, b, c, d = a0 + fz * az, b0 + fz * bz, c0 + fz * cz, d0 + fz * dz
    low, high = a + fy * (b - a), c + fy * (d - c)
    along_y = (one - fx) * (b - a) + fx * (d - c)
    along_z = (one - fx) * ((one - fy) * az + fy * bz) + fx * ((one - fy) * cz + fy * dz)
    return low + fx * (high - low), sx * (high - low), sy * along_y, sz * along_z


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _look_up(points, grid, origin, scale, value, slope):
    for p in prange(len(points)):
        x, y, z = points[p, 0] - origin[0], points[p, 1] - origin[1], points[p, 2] - origin[2]
        value[p], sx, sy, sz = trilinear(grid, x * scale, y * scale, z * scale)
        if len(slope):
            slope[p, 0], slope[p, 1], slope[p, 2] = sx * scale, sy * scale, sz * scale


def distance_and_slope(
    x: Tensor, grid: Tensor, origin: Tensor, spacing: float, with_slope: bool
) -> tuple[Tensor, Tensor]:
    """Distance at points, and its gradient with respect to them, empty unless asked for.

    Args:
        spacing: between the nodes of the grid, in metres.
    """
    value, slope = torch.empty(len(x)), torch.empty(len(x) if with_slope else 0, 3)
    arrays = (numbers.detach().numpy() for numbers in (x.contiguous(), grid, origin))
    _look_up(*arrays, np.float32(1 / spacing), value.numpy(), slope.numpy())
    return value, slope
