"""Numba twins of the hash encoding, for the CPU. Specification: `hash_grid.hash_encode_torch`."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfstudio_avatars.ops.hash_grid import HashGridLayout

_BLOCK = 256


@functools.cache
def _arrays(layout: HashGridLayout) -> tuple[np.ndarray, ...]:
    sizes = np.diff(layout.offsets).astype(np.uint32)
    dense = np.array([layout.is_dense(level) for level in range(layout.levels)])
    return (
        np.array(layout.scales, np.float32),
        np.array(layout.resolutions, np.uint32),
        np.array(layout.offsets[:-1], np.int64),
        sizes,
        dense,
    )


@njit(inline="always")
def _row(x, y, z, resolution, size, dense):
    if dense:
        return (x + resolution * (y + resolution * z)) % size
    return (x ^ (y * np.uint32(2654435761)) ^ (z * np.uint32(805459861))) % size


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _forward(x, table, scales, resolutions, offsets, sizes, dense, out):
    points, levels = x.shape[0], scales.shape[0]
    blocks = (points + _BLOCK - 1) // _BLOCK
    for block in prange(blocks):
        start = block * _BLOCK
        stop = min(points, start + _BLOCK)
        for level in range(levels):
            scale, resolution, base, size = scales[level], resolutions[level], offsets[level], sizes[level]
            is_dense = dense[level]
            for i in range(start, stop):
                px = x[i, 0] * scale + np.float32(0.5)
                py = x[i, 1] * scale + np.float32(0.5)
                pz = x[i, 2] * scale + np.float32(0.5)
                lx, ly, lz = np.floor(px), np.floor(py), np.floor(pz)
                fx, fy, fz = px - lx, py - ly, pz - lz
                ix, iy, iz = np.uint32(np.int32(lx)), np.uint32(np.int32(ly)), np.uint32(np.int32(lz))
                a = np.float32(0.0)
                b = np.float32(0.0)
                for corner in range(8):
                    cx, cy, cz = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
                    w = (fx if cx else 1 - fx) * (fy if cy else 1 - fy) * (fz if cz else 1 - fz)
                    row = base + np.int64(
                        _row(
                            np.uint32(ix + np.uint32(cx)),
                            np.uint32(iy + np.uint32(cy)),
                            np.uint32(iz + np.uint32(cz)),
                            resolution,
                            size,
                            is_dense,
                        )
                    )
                    a += w * table[row, 0]
                    b += w * table[row, 1]
                out[i, 2 * level] = a
                out[i, 2 * level + 1] = b


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_table(x, grad, scales, resolutions, offsets, sizes, dense, order, out):
    # Each level owns its slice of the table, so the levels run side by side without atomics.
    points, levels = x.shape[0], scales.shape[0]
    for k in prange(levels):
        level = order[k]
        scale, resolution, base, size = scales[level], resolutions[level], offsets[level], sizes[level]
        is_dense = dense[level]
        for row in range(base, base + np.int64(size)):
            out[row, 0] = 0.0
            out[row, 1] = 0.0
        for i in range(points):
            ga, gb = grad[i, 2 * level], grad[i, 2 * level + 1]
            if ga == 0 and gb == 0:
                continue
            px = x[i, 0] * scale + np.float32(0.5)
            py = x[i, 1] * scale + np.float32(0.5)
            pz = x[i, 2] * scale + np.float32(0.5)
            lx, ly, lz = np.floor(px), np.floor(py), np.floor(pz)
            fx, fy, fz = px - lx, py - ly, pz - lz
            ix, iy, iz = np.uint32(np.int32(lx)), np.uint32(np.int32(ly)), np.uint32(np.int32(lz))
            for corner in range(8):
                cx, cy, cz = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
                w = (fx if cx else 1 - fx) * (fy if cy else 1 - fy) * (fz if cz else 1 - fz)
                row = base + np.int64(
                    _row(
                        np.uint32(ix + np.uint32(cx)),
                        np.uint32(iy + np.uint32(cy)),
                        np.uint32(iz + np.uint32(cz)),
                        resolution,
                        size,
                        is_dense,
                    )
                )
                out[row, 0] += w * ga
                out[row, 1] += w * gb


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _backward_position(x, table, grad, scales, resolutions, offsets, sizes, dense, out):
    points, levels = x.shape[0], scales.shape[0]
    blocks = (points + _BLOCK - 1) // _BLOCK
    for block in prange(blocks):
        start = block * _BLOCK
        stop = min(points, start + _BLOCK)
        for i in range(start, stop):
            out[i, 0] = 0.0
            out[i, 1] = 0.0
            out[i, 2] = 0.0
        for level in range(levels):
            scale, resolution, base, size = scales[level], resolutions[level], offsets[level], sizes[level]
            is_dense = dense[level]
            for i in range(start, stop):
                ga, gb = grad[i, 2 * level], grad[i, 2 * level + 1]
                px = x[i, 0] * scale + np.float32(0.5)
                py = x[i, 1] * scale + np.float32(0.5)
                pz = x[i, 2] * scale + np.float32(0.5)
                lx, ly, lz = np.floor(px), np.floor(py), np.floor(pz)
                fx, fy, fz = px - lx, py - ly, pz - lz
                ix, iy, iz = np.uint32(np.int32(lx)), np.uint32(np.int32(ly)), np.uint32(np.int32(lz))
                gx = np.float32(0.0)
                gy = np.float32(0.0)
                gz = np.float32(0.0)
                for corner in range(8):
                    cx, cy, cz = corner & 1, (corner >> 1) & 1, (corner >> 2) & 1
                    wx, wy, wz = (fx if cx else 1 - fx), (fy if cy else 1 - fy), (fz if cz else 1 - fz)
                    row = base + np.int64(
                        _row(
                            np.uint32(ix + np.uint32(cx)),
                            np.uint32(iy + np.uint32(cy)),
                            np.uint32(iz + np.uint32(cz)),
                            resolution,
                            size,
                            is_dense,
                        )
                    )
                    value = table[row, 0] * ga + table[row, 1] * gb
                    gx += value * (wy * wz if cx else -wy * wz)
                    gy += value * (wx * wz if cy else -wx * wz)
                    gz += value * (wx * wy if cz else -wx * wy)
                out[i, 0] += gx * scale
                out[i, 1] += gy * scale
                out[i, 2] += gz * scale


def hash_forward(x: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """Twin of the forward pass."""
    out = torch.empty(len(x), 2 * layout.levels)
    _forward(x.detach().numpy(), table.detach().numpy(), *_arrays(layout), out.numpy())
    return out


def hash_backward_table(x: Tensor, grad: Tensor, layout: HashGridLayout) -> Tensor:
    """Gradient of the encoding with respect to the table."""
    out = torch.empty(layout.entries, 2)
    # Dense and hashed levels cost differently: dealing them out like cards keeps two threads equally busy.
    order = np.concatenate([np.arange(layout.levels)[::2], np.arange(layout.levels)[1::2]])
    _backward_table(x.detach().numpy(), grad.numpy(), *_arrays(layout), order, out.numpy())
    return out


def hash_backward_position(x: Tensor, table: Tensor, grad: Tensor, layout: HashGridLayout) -> Tensor:
    """Gradient of the encoding with respect to the positions."""
    out = torch.empty(len(x), 3)
    _backward_position(x.detach().numpy(), table.detach().numpy(), grad.numpy(), *_arrays(layout), out.numpy())
    return out
