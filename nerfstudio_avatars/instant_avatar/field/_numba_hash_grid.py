"""Numba twins of the hash encoding, for the CPU. Specification: `hash_grid.hash_encode_torch`."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout
from nerfstudio_avatars.kernels import njit

_BLOCK = 256


@functools.cache
def layout_arrays(layout: HashGridLayout) -> tuple[np.ndarray, ...]:
    """Scale, resolution, first row (and the end), rows and whether dense, of all levels."""
    sizes = np.diff(layout.offsets).astype(np.uint32)
    dense = np.array([layout.is_dense(level) for level in range(layout.levels)])
    # Hashed levels have a power of two of entries: no division is needed to fold the hash into them.
    assert all(size & (size - 1) == 0 for size in sizes[~dense].tolist())
    return (
        np.array(layout.scales, np.float32),
        np.array(layout.resolutions, np.uint32),
        np.array(layout.offsets, np.int64),
        sizes,
        dense,
    )


@njit(inline="always")
def corner_rows(ix, iy, iz, resolution, size, dense):
    """Rows of the eight corners of a cell within their level (bit 0 for x, 1 for y, 2 for z)."""
    u = np.uint32
    if dense:
        # Only NaN is beyond this; it must not be looked up outside the table.
        last = u(resolution - u(1))
        ix, iy, iz = min(ix, last), min(iy, last), min(iz, last)
        x0 = u(ix + resolution * u(iy + u(resolution * iz)))
        y1, z1 = resolution, u(resolution * resolution)
        # One past the last node wraps around to the level's beginning.
        a, b = x0, u(x0 + u(1))
        c, d = u(a + y1), u(b + y1)
        e, f, g, h = u(a + z1), u(b + z1), u(c + z1), u(d + z1)
        return (
            u(a - size) if a >= size else a,
            u(b - size) if b >= size else b,
            u(c - size) if c >= size else c,
            u(d - size) if d >= size else d,
            u(e - size) if e >= size else e,
            u(f - size) if f >= size else f,
            u(g - size) if g >= size else g,
            u(h - size) if h >= size else h,
        )
    mask = u(size - u(1))
    x0, x1 = u(ix), u(ix + u(1))
    y0, z0 = u(iy * u(2654435761)), u(iz * u(805459861))
    y1, z1 = u(y0 + u(2654435761)), u(z0 + u(805459861))
    yz00, yz10, yz01, yz11 = u(y0 ^ z0), u(y1 ^ z0), u(y0 ^ z1), u(y1 ^ z1)
    return (
        u((x0 ^ yz00) & mask),
        u((x1 ^ yz00) & mask),
        u((x0 ^ yz10) & mask),
        u((x1 ^ yz10) & mask),
        u((x0 ^ yz01) & mask),
        u((x1 ^ yz01) & mask),
        u((x0 ^ yz11) & mask),
        u((x1 ^ yz11) & mask),
    )


@njit(inline="always")
def cell_of(x, y, z, scale):
    """Lower corner of the cell that contains a point, and the position of the point in it."""
    half = np.float32(0.5)
    px, py, pz = x * scale + half, y * scale + half, z * scale + half
    # Positions are not negative: cutting off the fraction is the floor.
    ix, iy, iz = np.int32(px), np.int32(py), np.int32(pz)
    fx, fy, fz = px - np.float32(ix), py - np.float32(iy), pz - np.float32(iz)
    return np.uint32(ix), np.uint32(iy), np.uint32(iz), fx, fy, fz


@njit(inline="always")
def corner_weights(fx, fy, fz):
    """Trilinear weights in the order of `corner_rows`."""
    one = np.float32(1)
    gx, gy, gz = one - fx, one - fy, one - fz
    a, b, c, d = gy * gz, fy * gz, gy * fz, fy * fz
    return gx * a, fx * a, gx * b, fx * b, gx * c, fx * c, gx * d, fx * d


@njit(inline="always")
def blend_corners(part, row, weight, k):
    """Feature `k` of a level, interpolated between the eight corners. Unrolled, because a loop keeps values in
    memory."""
    low = weight[0] * part[row[0], k] + weight[1] * part[row[1], k]
    low += weight[2] * part[row[2], k] + weight[3] * part[row[3], k]
    high = weight[4] * part[row[4], k] + weight[5] * part[row[5], k]
    high += weight[6] * part[row[6], k] + weight[7] * part[row[7], k]
    return low + high


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _forward(x, table, scales, resolutions, offsets, sizes, dense, out):
    points, levels = x.shape[0], scales.shape[0]
    blocks = (points + _BLOCK - 1) // _BLOCK
    for block in prange(blocks):
        start = block * _BLOCK
        stop = min(points, start + _BLOCK)
        for level in range(levels):
            part = table[offsets[level] : offsets[level + 1]]
            scale, resolution, size, is_dense = scales[level], resolutions[level], sizes[level], dense[level]
            for i in range(start, stop):
                ix, iy, iz, fx, fy, fz = cell_of(x[i, 0], x[i, 1], x[i, 2], scale)
                row = corner_rows(ix, iy, iz, resolution, size, is_dense)
                weight = corner_weights(fx, fy, fz)
                out[i, 2 * level] = blend_corners(part, row, weight, 0)
                out[i, 2 * level + 1] = blend_corners(part, row, weight, 1)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_table(x, grad, scales, resolutions, offsets, sizes, dense, order, out):
    # Each level owns its slice of the table, so the levels run side by side without atomics.
    points, levels = x.shape[0], scales.shape[0]
    for k in prange(levels):
        level = order[k]
        part = out[offsets[level] : offsets[level + 1]]
        scale, resolution, size, is_dense = scales[level], resolutions[level], sizes[level], dense[level]
        part[:] = 0
        for i in range(points):
            ga, gb = grad[i, 2 * level], grad[i, 2 * level + 1]
            if ga == 0 and gb == 0:
                continue
            ix, iy, iz, fx, fy, fz = cell_of(x[i, 0], x[i, 1], x[i, 2], scale)
            row = corner_rows(ix, iy, iz, resolution, size, is_dense)
            weight = corner_weights(fx, fy, fz)
            for c in range(8):
                part[row[c], 0] += weight[c] * ga
                part[row[c], 1] += weight[c] * gb


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_position(x, table, grad, scales, resolutions, offsets, sizes, dense, out):
    points, levels = x.shape[0], scales.shape[0]
    blocks = (points + _BLOCK - 1) // _BLOCK
    one = np.float32(1)
    for block in prange(blocks):
        start = block * _BLOCK
        stop = min(points, start + _BLOCK)
        out[start:stop] = 0
        for level in range(levels):
            part = table[offsets[level] : offsets[level + 1]]
            scale, resolution, size, is_dense = scales[level], resolutions[level], sizes[level], dense[level]
            for i in range(start, stop):
                ga, gb = grad[i, 2 * level], grad[i, 2 * level + 1]
                if ga == 0 and gb == 0:
                    continue
                ix, iy, iz, fx, fy, fz = cell_of(x[i, 0], x[i, 1], x[i, 2], scale)
                row = corner_rows(ix, iy, iz, resolution, size, is_dense)
                v0 = part[row[0], 0] * ga + part[row[0], 1] * gb
                v1 = part[row[1], 0] * ga + part[row[1], 1] * gb
                v2 = part[row[2], 0] * ga + part[row[2], 1] * gb
                v3 = part[row[3], 0] * ga + part[row[3], 1] * gb
                v4 = part[row[4], 0] * ga + part[row[4], 1] * gb
                v5 = part[row[5], 0] * ga + part[row[5], 1] * gb
                v6 = part[row[6], 0] * ga + part[row[6], 1] * gb
                v7 = part[row[7], 0] * ga + part[row[7], 1] * gb
                gx, gy, gz = one - fx, one - fy, one - fz
                along_x = gz * (gy * (v1 - v0) + fy * (v3 - v2)) + fz * (gy * (v5 - v4) + fy * (v7 - v6))
                along_y = gz * (gx * (v2 - v0) + fx * (v3 - v1)) + fz * (gx * (v6 - v4) + fx * (v7 - v5))
                along_z = gy * (gx * (v4 - v0) + fx * (v5 - v1)) + fy * (gx * (v6 - v2) + fx * (v7 - v3))
                out[i, 0] += along_x * scale
                out[i, 1] += along_y * scale
                out[i, 2] += along_z * scale


def hash_forward(x: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """Twin of the forward pass."""
    out = torch.empty(len(x), 2 * layout.levels)
    _forward(x.detach().numpy(), table.detach().numpy(), *layout_arrays(layout), out.numpy())
    return out


def hash_backward_table(x: Tensor, grad: Tensor, layout: HashGridLayout) -> Tensor:
    """Gradient of the encoding with respect to the table."""
    out = torch.empty(layout.entries, 2)
    # Dense and hashed levels cost differently: dealing them out like cards keeps two threads equally busy.
    order = np.concatenate([np.arange(layout.levels)[::2], np.arange(layout.levels)[1::2]])
    _backward_table(x.detach().numpy(), grad.numpy(), *layout_arrays(layout), order, out.numpy())
    return out


def hash_backward_position(x: Tensor, table: Tensor, grad: Tensor, layout: HashGridLayout) -> Tensor:
    """Gradient of the encoding with respect to the positions."""
    out = torch.empty(len(x), 3)
    _backward_position(x.detach().numpy(), table.detach().numpy(), grad.numpy(), *layout_arrays(layout), out.numpy())
    return out
