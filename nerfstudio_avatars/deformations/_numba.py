"""Numba twin of `posed_cells._bin_cells_torch`, and the inversion of one cell that the marching twins share."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfstudio_avatars.deformations.posed_cells import PosedCells


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _boxes(nodes, cells, lower, upper, sides):
    for c in prange(len(cells)):
        for axis in range(3):
            low = nodes[cells[c, 0], axis]
            high = low
            for corner in range(1, 8):
                value = nodes[cells[c, corner], axis]
                low = min(low, value)
                high = max(high, value)
            lower[c, axis] = low
            upper[c, axis] = high
        highest, lowest = np.float32(0), np.float32(0)
        sides[c, 0] = sides[c, 1] = -1
        for k in range(8):
            x0, x1, y0, y1 = cells[c, k & ~1], cells[c, k | 1], cells[c, k & ~2], cells[c, k | 2]
            z0, z1 = cells[c, k & ~4], cells[c, k | 4]
            ax, ay, az = nodes[x1, 0] - nodes[x0, 0], nodes[x1, 1] - nodes[x0, 1], nodes[x1, 2] - nodes[x0, 2]
            bx, by, bz = nodes[y1, 0] - nodes[y0, 0], nodes[y1, 1] - nodes[y0, 1], nodes[y1, 2] - nodes[y0, 2]
            cx, cy, cz = nodes[z1, 0] - nodes[z0, 0], nodes[z1, 1] - nodes[z0, 1], nodes[z1, 2] - nodes[z0, 2]
            determinant = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
            if determinant > highest:
                highest = determinant
                sides[c, 0] = k
            if determinant < lowest:
                lowest = determinant
                sides[c, 1] = k
        if sides[c, 0] < 0 or sides[c, 1] < 0:
            sides[c, 0] = sides[c, 1] = -1


@njit(fastmath=True, cache=True, nogil=True)
def _sort(lower, upper, rows, origin, scale, dims, offsets, members):
    """Counting sort of the cells into bins; returns the number of entries (`members` may be too short: call again)."""
    bins = dims[0] * dims[1] * dims[2]
    for b in range(bins + 1):
        offsets[b] = 0
    total = 0
    for write in range(2):
        for c in rows:
            i0 = int((lower[c, 0] - origin[0]) * scale)
            j0 = int((lower[c, 1] - origin[1]) * scale)
            k0 = int((lower[c, 2] - origin[2]) * scale)
            i1 = min(int((upper[c, 0] - origin[0]) * scale), dims[0] - 1)
            j1 = min(int((upper[c, 1] - origin[1]) * scale), dims[1] - 1)
            k1 = min(int((upper[c, 2] - origin[2]) * scale), dims[2] - 1)
            for i in range(i0, i1 + 1):
                for j in range(j0, j1 + 1):
                    row = (i * dims[1] + j) * dims[2]
                    for k in range(k0, k1 + 1):
                        if write == 0:
                            offsets[row + k + 1] += 1
                        else:
                            members[offsets[row + k]] = c
                            offsets[row + k] += 1
        if write == 0:
            for b in range(bins):
                offsets[b + 1] += offsets[b]
            total = offsets[bins]
            if total > len(members):
                return total
    # Writing advanced each offset to the end of its bin, which is the start of the next one.
    for b in range(bins, 0, -1):
        offsets[b] = offsets[b - 1]
    offsets[0] = 0
    return total


@njit(fastmath=True, cache=True, nogil=True, inline="always")
def newton(px, py, pz, nodes, cells, c, start, steps, residual, tolerance, b):
    """Inverts one posed cell, from its centre (start -1) or near a corner (0-7): (found, u, v, w). `b` is scratch."""
    n = cells[c]
    # Trilinear map as a polynomial: b0 + bu u + bv v + bw w + buv uv + ...
    u = np.float32(0.5)
    v = np.float32(0.5)
    w = np.float32(0.5)
    if start >= 0:
        u = np.float32(0.85) if start & 1 else np.float32(0.15)
        v = np.float32(0.85) if start & 2 else np.float32(0.15)
        w = np.float32(0.85) if start & 4 else np.float32(0.15)
    for a in range(3):
        x0, x1, x2, x3 = nodes[n[0], a], nodes[n[1], a], nodes[n[2], a], nodes[n[3], a]
        x4, x5, x6, x7 = nodes[n[4], a], nodes[n[5], a], nodes[n[6], a], nodes[n[7], a]
        b[0, a] = x0
        b[1, a] = x1 - x0
        b[2, a] = x2 - x0
        b[3, a] = x4 - x0
        b[4, a] = x3 - x2 - x1 + x0
        b[5, a] = x5 - x4 - x1 + x0
        b[6, a] = x6 - x4 - x2 + x0
        b[7, a] = x7 - x6 - x5 + x4 - x3 + x2 + x1 - x0
    half = np.float32(0.5)
    for it in range(steps + 1):
        uv, uw, vw = u * v, u * w, v * w
        uvw = uv * w
        f0 = (
            b[0, 0]
            + b[1, 0] * u
            + b[2, 0] * v
            + b[3, 0] * w
            + b[4, 0] * uv
            + b[5, 0] * uw
            + b[6, 0] * vw
            + b[7, 0] * uvw
            - px
        )
        f1 = (
            b[0, 1]
            + b[1, 1] * u
            + b[2, 1] * v
            + b[3, 1] * w
            + b[4, 1] * uv
            + b[5, 1] * uw
            + b[6, 1] * vw
            + b[7, 1] * uvw
            - py
        )
        f2 = (
            b[0, 2]
            + b[1, 2] * u
            + b[2, 2] * v
            + b[3, 2] * w
            + b[4, 2] * uv
            + b[5, 2] * uw
            + b[6, 2] * vw
            + b[7, 2] * uvw
            - pz
        )
        error = f0 * f0 + f1 * f1 + f2 * f2
        if error < residual * residual * np.float32(0.01) or it == steps:
            break
        a0 = b[1, 0] + b[4, 0] * v + b[5, 0] * w + b[7, 0] * vw
        a1 = b[1, 1] + b[4, 1] * v + b[5, 1] * w + b[7, 1] * vw
        a2 = b[1, 2] + b[4, 2] * v + b[5, 2] * w + b[7, 2] * vw
        c0 = b[2, 0] + b[4, 0] * u + b[6, 0] * w + b[7, 0] * uw
        c1 = b[2, 1] + b[4, 1] * u + b[6, 1] * w + b[7, 1] * uw
        c2 = b[2, 2] + b[4, 2] * u + b[6, 2] * w + b[7, 2] * uw
        d0 = b[3, 0] + b[5, 0] * u + b[6, 0] * v + b[7, 0] * uv
        d1 = b[3, 1] + b[5, 1] * u + b[6, 1] * v + b[7, 1] * uv
        d2 = b[3, 2] + b[5, 2] * u + b[6, 2] * v + b[7, 2] * uv
        m0, m1, m2 = c1 * d2 - c2 * d1, c2 * d0 - c0 * d2, c0 * d1 - c1 * d0
        determinant = a0 * m0 + a1 * m1 + a2 * m2
        if abs(determinant) < np.float32(1e-18):
            determinant = np.float32(1e-18)
        inv = np.float32(1.0) / determinant
        du = (m0 * f0 + m1 * f1 + m2 * f2) * inv
        dv = ((d1 * a2 - d2 * a1) * f0 + (d2 * a0 - d0 * a2) * f1 + (d0 * a1 - d1 * a0) * f2) * inv
        dw = ((a1 * c2 - a2 * c1) * f0 + (a2 * c0 - a0 * c2) * f1 + (a0 * c1 - a1 * c0) * f2) * inv
        u = min(max(u - du, -half), half + 1)
        v = min(max(v - dv, -half), half + 1)
        w = min(max(w - dw, -half), half + 1)
    found = error < residual * residual
    low, high = -tolerance, 1 + tolerance
    found = found and u >= low and u <= high and v >= low and v <= high and w >= low and w <= high
    return found, u, v, w


def bin_cells(nodes: Tensor, cells: Tensor, rows: Tensor, bin_size: float) -> PosedCells:
    """Sorts some cells of a pose into bins."""
    lower, upper = np.empty((len(cells), 3), np.float32), np.empty((len(cells), 3), np.float32)
    sides = np.empty((len(cells), 2), np.int32)
    _boxes(nodes.numpy(), cells.numpy(), lower, upper, sides)
    chosen = rows.numpy()
    box = np.stack([lower[chosen].min(0), upper[chosen].max(0)])
    dims = np.floor((box[1] - box[0]) / np.float32(bin_size)).astype(np.int64) + 1
    offsets = np.empty(int(dims.prod()) + 1, np.int32)
    members = np.empty(len(chosen) * 16, np.int32)
    scale = np.float32(1 / bin_size)
    total = _sort(lower, upper, chosen, box[0], scale, dims, offsets, members)
    if total > len(members):
        members = np.empty(total, np.int32)
        _sort(lower, upper, chosen, box[0], scale, dims, offsets, members)
    as_tensor = torch.from_numpy
    return PosedCells(
        nodes,
        cells,
        as_tensor(lower),
        as_tensor(upper),
        as_tensor(sides),
        as_tensor(box),
        as_tensor(box[0]),
        bin_size,
        tuple(int(d) for d in dims),
        as_tensor(offsets),
        as_tensor(members[:total]),
    )
