"""Triton twins of the hash encoding, for CUDA. Specification: `hash_grid.hash_encode_torch`.

Tested in Triton's interpreter, which knows no races and no coalescing; not yet timed on a GPU.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import PRIMES, HashGridLayout

_BLOCK = 128
"""Number of points per program."""


@functools.cache
def _levels(layout: HashGridLayout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale of each level; and first row, number of rows, last node, factors of y and z, and whether it is dense."""
    rows = []
    for level, resolution in enumerate(layout.resolutions):
        first, dense = layout.offsets[level], layout.is_dense(level)
        size = layout.offsets[level + 1] - first
        # Hashed levels have a power of two of entries: no division is needed to fold the hash into them.
        assert dense or size & (size - 1) == 0
        y, z = (resolution, resolution**2) if dense else PRIMES[1:]
        rows.append([first, size, resolution - 1, y, z, int(dense)])
    # The kernels read the second prime, which has 32 bits, as an unsigned number again.
    numbers = torch.tensor(rows).to(torch.int32)
    return torch.tensor(layout.scales, dtype=torch.float32, device=device), numbers.to(device)


@triton.jit
def _cell(x, n, i, scale, last):
    """Lower corners of the cells that contain points, and the positions of the points in them."""
    px = tl.load(x + 3 * i, mask=i < n, other=0.0) * scale + 0.5
    py = tl.load(x + 3 * i + 1, mask=i < n, other=0.0) * scale + 0.5
    pz = tl.load(x + 3 * i + 2, mask=i < n, other=0.0) * scale + 0.5
    # Positions are not negative: cutting off the fraction is the floor. Only what is no number lies beyond the last
    # node: it must not be looked up outside of the table.
    ix = tl.minimum(px.to(tl.int32).to(tl.uint32), last)
    iy = tl.minimum(py.to(tl.int32).to(tl.uint32), last)
    iz = tl.minimum(pz.to(tl.int32).to(tl.uint32), last)
    return ix, iy, iz, px - ix.to(tl.float32), py - iy.to(tl.float32), pz - iz.to(tl.float32)


@triton.jit
def _row(ix, iy, iz, size, y, z, dense):
    """Rows of nodes within their level. Computed in unsigned 32 bits, where the hash wraps around as intended."""
    iy, iz = iy * y, iz * z
    row = tl.where(dense, ix + iy + iz, (ix ^ iy ^ iz) & (size - 1))
    # One past a dense level's last node wraps around to its beginning.
    return tl.where(row >= size, row - size, row)


@triton.jit
def _level(scales, numbers, level):
    """The values of a level, see `_levels`."""
    numbers += 6 * level
    first = tl.load(numbers).to(tl.int64)
    size, last = tl.load(numbers + 1).to(tl.uint32), tl.load(numbers + 2).to(tl.uint32)
    y, z = tl.load(numbers + 3).to(tl.uint32), tl.load(numbers + 4).to(tl.uint32)
    return tl.load(scales + level), first, size, last, y, z, tl.load(numbers + 5) != 0


@triton.jit(do_not_specialize=["n"])
def _forward(x, table, scales, numbers, out, n, levels, BLOCK: tl.constexpr):
    level = tl.program_id(1)
    scale, first, size, last, y, z, dense = _level(scales, numbers, level)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pair = tl.arange(0, 2)[None, :]
    known = (i < n)[:, None] & (pair < 2)
    ix, iy, iz, fx, fy, fz = _cell(x, n, i, scale, last)
    total = tl.zeros((BLOCK, 2), tl.float32)
    for corner in tl.static_range(8):
        row = _row(ix + (corner & 1), iy + (corner >> 1 & 1), iz + (corner >> 2), size, y, z, dense)
        weight = fx if corner & 1 else 1 - fx
        weight *= fy if corner & 2 else 1 - fy
        weight *= fz if corner & 4 else 1 - fz
        features = tl.load(table + 2 * (first + row)[:, None] + pair, mask=known, other=0.0)
        total += weight[:, None] * features
    tl.store(out + 2 * (levels * i + level)[:, None] + pair, total, mask=known)


@triton.jit(do_not_specialize=["n"])
def _backward_table(x, grad, scales, numbers, out, n, levels, BLOCK: tl.constexpr):
    level = tl.program_id(1)
    scale, first, size, last, y, z, dense = _level(scales, numbers, level)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pair = tl.arange(0, 2)[None, :]
    known = (i < n)[:, None] & (pair < 2)
    ix, iy, iz, fx, fy, fz = _cell(x, n, i, scale, last)
    of_features = tl.load(grad + 2 * (levels * i + level)[:, None] + pair, mask=known, other=0.0)
    known &= of_features != 0
    for corner in tl.static_range(8):
        row = _row(ix + (corner & 1), iy + (corner >> 1 & 1), iz + (corner >> 2), size, y, z, dense)
        weight = fx if corner & 1 else 1 - fx
        weight *= fy if corner & 2 else 1 - fy
        weight *= fz if corner & 4 else 1 - fz
        to = out + 2 * (first + row)[:, None] + pair
        tl.atomic_add(to, weight[:, None] * of_features, mask=known, sem="relaxed")


@triton.jit(do_not_specialize=["n"])
def _backward_position(x, table, grad, scales, numbers, out, n, levels, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pair = tl.arange(0, 2)[None, :]
    known = (i < n)[:, None] & (pair < 2)
    along_x = tl.zeros((BLOCK,), tl.float32)
    along_y = tl.zeros((BLOCK,), tl.float32)
    along_z = tl.zeros((BLOCK,), tl.float32)
    # Levels one after the other: sums without atomics, the same in every run.
    for level in range(levels):
        scale, first, size, last, y, z, dense = _level(scales, numbers, level)
        ix, iy, iz, fx, fy, fz = _cell(x, n, i, scale, last)
        of_features = tl.load(grad + 2 * (levels * i + level)[:, None] + pair, mask=known, other=0.0)
        for corner in tl.static_range(8):
            row = _row(ix + (corner & 1), iy + (corner >> 1 & 1), iz + (corner >> 2), size, y, z, dense)
            features = tl.load(table + 2 * (first + row)[:, None] + pair, mask=known, other=0.0)
            value = scale * tl.sum(of_features * features, 1)
            wx = fx if corner & 1 else 1 - fx
            wy = fy if corner & 2 else 1 - fy
            wz = fz if corner & 4 else 1 - fz
            along_x += value * wy * wz * (1 if corner & 1 else -1)
            along_y += value * wx * wz * (1 if corner & 2 else -1)
            along_z += value * wx * wy * (1 if corner & 4 else -1)
    tl.store(out + 3 * i, along_x, mask=i < n)
    tl.store(out + 3 * i + 1, along_y, mask=i < n)
    tl.store(out + 3 * i + 2, along_z, mask=i < n)


def hash_forward(x: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """Twin of the forward pass."""
    n, levels = len(x), layout.levels
    out = torch.empty(n, 2 * levels, device=x.device)
    if n:
        with torch.cuda.device_of(x):
            grid = (triton.cdiv(n, _BLOCK), levels)
            _forward[grid](x, table, *_levels(layout, x.device), out, n, levels, BLOCK=_BLOCK)
    return out


def hash_backward_table(x: Tensor, grad: Tensor, layout: HashGridLayout) -> Tensor:
    """Gradient of the encoding with respect to the table. Its last bits vary between runs, because sums are atomic."""
    n, levels = len(x), layout.levels
    out = torch.zeros(layout.entries, 2, device=x.device)
    if n:
        with torch.cuda.device_of(x):
            grid = (triton.cdiv(n, _BLOCK), levels)
            _backward_table[grid](x, grad, *_levels(layout, x.device), out, n, levels, BLOCK=_BLOCK)
    return out


def hash_backward_position(x: Tensor, table: Tensor, grad: Tensor, layout: HashGridLayout) -> Tensor:
    """Gradient of the encoding with respect to the positions."""
    n, levels = len(x), layout.levels
    out = torch.empty(n, 3, device=x.device)
    if n:
        with torch.cuda.device_of(x):
            grid = (triton.cdiv(n, _BLOCK),)
            _backward_position[grid](x, table, grad, *_levels(layout, x.device), out, n, levels, BLOCK=_BLOCK)
    return out
