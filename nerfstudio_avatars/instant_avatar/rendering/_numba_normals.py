"""Numba twin of `normals._normals_torch`, for the CPU: empty pixels cost nothing."""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.kernels import njit


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _normals(origins, directions, depth, accumulation, out):
    height, width = depth.shape
    half, zero = np.float32(0.5), np.float32(0)
    for y in prange(height):
        for x in range(width):
            covered = accumulation[y, x]
            if covered == 0:
                out[y, x, 0] = out[y, x, 1] = out[y, x, 2] = zero
                continue
            nx, ny, nz = zero, zero, zero
            if 0 < x < width - 1 and 0 < y < height - 1:
                a, b, c, d = depth[y, x - 1], depth[y, x + 1], depth[y - 1, x], depth[y + 1, x]
                rx = (
                    origins[y, x + 1, 0]
                    - origins[y, x - 1, 0]
                    + b * directions[y, x + 1, 0]
                    - a * directions[y, x - 1, 0]
                )
                ry = (
                    origins[y, x + 1, 1]
                    - origins[y, x - 1, 1]
                    + b * directions[y, x + 1, 1]
                    - a * directions[y, x - 1, 1]
                )
                rz = (
                    origins[y, x + 1, 2]
                    - origins[y, x - 1, 2]
                    + b * directions[y, x + 1, 2]
                    - a * directions[y, x - 1, 2]
                )
                dx = (
                    origins[y + 1, x, 0]
                    - origins[y - 1, x, 0]
                    + d * directions[y + 1, x, 0]
                    - c * directions[y - 1, x, 0]
                )
                dy = (
                    origins[y + 1, x, 1]
                    - origins[y - 1, x, 1]
                    + d * directions[y + 1, x, 1]
                    - c * directions[y - 1, x, 1]
                )
                dz = (
                    origins[y + 1, x, 2]
                    - origins[y - 1, x, 2]
                    + d * directions[y + 1, x, 2]
                    - c * directions[y - 1, x, 2]
                )
                nx, ny, nz = dy * rz - dz * ry, dz * rx - dx * rz, dx * ry - dy * rx
                length = np.sqrt(nx * nx + ny * ny + nz * nz)
                scale = half / max(length, np.float32(1e-12))
                if nx * directions[y, x, 0] + ny * directions[y, x, 1] + nz * directions[y, x, 2] > 0:
                    scale = -scale
                nx, ny, nz = nx * scale, ny * scale, nz * scale
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = (
                (nx + half) * covered,
                (ny + half) * covered,
                (nz + half) * covered,
            )


def normals_from_depth(origins: Tensor, directions: Tensor, depth: Tensor, accumulation: Tensor) -> Tensor:
    """Computes the normals of a whole picture."""
    out = torch.empty(directions.shape)
    _normals(origins.numpy(), directions.numpy(), depth[..., 0].numpy(), accumulation[..., 0].numpy(), out.numpy())
    return out
