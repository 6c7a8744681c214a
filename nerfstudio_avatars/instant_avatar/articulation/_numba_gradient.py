"""Numba twin of the backward pass of `snarf.attach_pose_gradient`, for the CPU."""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.kernels import njit


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _pull_back(grad, local, cell, cells, nodes, spacing, largest, out):
    """Gradient with respect to the image of each root: minus the transposed inverse Jacobian times that of the root."""
    one = np.float32(1)
    for r in prange(len(grad)):
        c = cell[r]
        u, v, w = local[r, 0], local[r, 1], local[r, 2]
        p, q, s = one - u, one - v, one - w
        ax = ay = az = bx = by = bz = cx = cy = cz = np.float32(0)
        for corner in range(8):
            n = cells[c, corner]
            x, y, z = nodes[n, 0], nodes[n, 1], nodes[n, 2]
            wu, wv, ww = (u if corner & 1 else p), (v if corner & 2 else q), (w if corner & 4 else s)
            du, dv, dw = wv * ww, wu * ww, wu * wv
            du = du if corner & 1 else -du
            dv = dv if corner & 2 else -dv
            dw = dw if corner & 4 else -dw
            ax, ay, az = ax + du * x, ay + du * y, az + du * z
            bx, by, bz = bx + dv * x, by + dv * y, bz + dv * z
            cx, cy, cz = cx + dw * x, cy + dw * y, cz + dw * z
        # Rows of the inverse, times the determinant.
        i0, i1, i2 = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        j0, j1, j2 = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
        k0, k1, k2 = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        determinant = ax * i0 + ay * i1 + az * i2
        if abs(determinant) < np.float32(1e-19):
            determinant = np.float32(1e-19)
        scale = spacing / determinant
        size = abs(scale) * np.sqrt(
            i0 * i0 + i1 * i1 + i2 * i2 + j0 * j0 + j1 * j1 + j2 * j2 + k0 * k0 + k1 * k1 + k2 * k2
        )
        scale *= largest / max(size, largest)
        g0, g1, g2 = grad[r, 0] * scale, grad[r, 1] * scale, grad[r, 2] * scale
        out[r, 0] = -(g0 * i0 + g1 * j0 + g2 * k0)
        out[r, 1] = -(g0 * i1 + g1 * j1 + g2 * k1)
        out[r, 2] = -(g0 * i2 + g1 * j2 + g2 * k2)


@njit(fastmath=True, cache=True, nogil=True)
def _scatter(moved, local, cell, cells, out):
    one = np.float32(1)
    for r in range(len(moved)):
        c = cell[r]
        u, v, w = local[r, 0], local[r, 1], local[r, 2]
        for corner in range(8):
            weight = (u if corner & 1 else one - u) * (v if corner & 2 else one - v) * (w if corner & 4 else one - w)
            n = cells[c, corner]
            for a in range(3):
                out[n, a] += weight * moved[r, a]


def grad_of_nodes(
    grad: Tensor, local: Tensor, cell: Tensor, cells: Tensor, nodes: Tensor, spacing: float, largest: float
) -> Tensor:
    """Gradient with respect to the posed nodes, from that of the canonical roots."""
    moved, out = np.empty(grad.shape, np.float32), torch.zeros(nodes.shape)
    arrays = [x.numpy() for x in (local, cell, cells)]
    _pull_back(
        grad.contiguous().numpy(), *arrays, nodes.detach().numpy(), np.float32(spacing), np.float32(largest), moved
    )
    _scatter(moved, *arrays, out.numpy())
    return out
