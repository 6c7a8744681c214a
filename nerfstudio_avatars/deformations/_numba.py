"""Numba twin of `posed_cells._binning_torch`, and the search for one point's roots that all other twins share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfstudio_avatars.deformations.posed_cells import PosedCells
from nerfstudio_avatars.deformations.skinning_volume import SkinningVolume
from nerfstudio_avatars.deformations.snarf import NEWTON_STEPS, RESIDUAL, SAME_ROOT, TOLERANCE

_FAR = 1e30


@dataclass(frozen=True)
class MappedCells(PosedCells):
    """Posed cells with what is needed to invert them quickly, per cell."""

    bounds: np.ndarray
    """Bounding box: lower and upper corner."""
    guess: np.ndarray
    """The map's affine part at the cell's centre, inverted: local = guess[:3] + guess[3:12] @ x. A point of the cell
    is given a place within guess[12:] of the centre: what lies farther cannot be in the cell."""
    polynomial: np.ndarray
    """Factors of 1, u, v, w, uv, uw, vw, uvw, for x, y, z."""


class Search(NamedTuple):
    """Arrays of one pose in which points' roots are searched."""

    origin: np.ndarray
    bin_scale: float
    dims: np.ndarray
    offsets: np.ndarray
    members: np.ndarray
    bounds: np.ndarray
    guess: np.ndarray
    polynomial: np.ndarray
    sides: np.ndarray
    cell_index: np.ndarray
    same: float
    """Square of `SAME_ROOT`, in cells."""
    steps: int
    residual: float
    tolerance: float

    @classmethod
    def of(cls, posed: PosedCells, volume: SkinningVolume) -> Search:
        """Of posed cells, whichever twin binned them."""
        if isinstance(posed, MappedCells):
            maps = posed.bounds, posed.guess, posed.polynomial
        else:
            maps = _map_cells(posed.nodes.numpy(), posed.cells.numpy())[:3]
        return cls(
            posed.origin.numpy(), np.float32(1 / posed.bin_size), np.array(posed.dims), posed.offsets.numpy(),
            posed.members.numpy(), *maps, posed.sides.numpy(), volume.cell_index.numpy(),
            np.float32((SAME_ROOT / volume.spacing) ** 2), NEWTON_STEPS, np.float32(RESIDUAL), np.float32(TOLERANCE),
        )  # fmt: skip


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _map(nodes, cells, residual, tolerance, far, bounds, guess, polynomial, sides):
    for c in prange(len(cells)):
        for a in range(3):
            x0, x1, x2, x3 = nodes[cells[c, 0], a], nodes[cells[c, 1], a], nodes[cells[c, 2], a], nodes[cells[c, 3], a]
            x4, x5, x6, x7 = nodes[cells[c, 4], a], nodes[cells[c, 5], a], nodes[cells[c, 6], a], nodes[cells[c, 7], a]
            bounds[c, a] = min(x0, x1, x2, x3, x4, x5, x6, x7)
            bounds[c, 3 + a] = max(x0, x1, x2, x3, x4, x5, x6, x7)
            polynomial[c, 0, a], polynomial[c, 1, a] = x0, x1 - x0
            polynomial[c, 2, a], polynomial[c, 3, a] = x2 - x0, x4 - x0
            polynomial[c, 4, a], polynomial[c, 5, a] = x3 - x2 - x1 + x0, x5 - x4 - x1 + x0
            polynomial[c, 6, a] = x6 - x4 - x2 + x0
            polynomial[c, 7, a] = x7 - x6 - x5 + x4 - x3 + x2 + x1 - x0
        _guess(polynomial, c, residual, tolerance, far, guess)
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
def _at_centre(b, c, a):
    """Coordinate `a` of a cell's map about its centre: value, derivatives, and factors of uv, uw, vw, uvw."""
    half, quarter = np.float32(0.5), np.float32(0.25)
    uvw = b[c, 7, a]
    uv, uw, vw = b[c, 4, a] + half * uvw, b[c, 5, a] + half * uvw, b[c, 6, a] + half * uvw
    value = b[c, 0, a] + half * (b[c, 1, a] + b[c, 2, a] + b[c, 3, a])
    value += quarter * (b[c, 4, a] + b[c, 5, a] + b[c, 6, a] + half * uvw)
    u = b[c, 1, a] + half * (b[c, 4, a] + b[c, 5, a]) + quarter * uvw
    v = b[c, 2, a] + half * (b[c, 4, a] + b[c, 6, a]) + quarter * uvw
    w = b[c, 3, a] + half * (b[c, 5, a] + b[c, 6, a]) + quarter * uvw
    return value, u, v, w, uv, uw, vw, uvw


@njit(fastmath=True, cache=True, nogil=True)
def _guess(b, c, residual, tolerance, far, out):
    """Inverse of a cell's affine part at its centre, and how far from the centre it may put a point of the cell."""
    half = np.float32(0.5)
    x, y, z = _at_centre(b, c, 0), _at_centre(b, c, 1), _at_centre(b, c, 2)
    cofactors = (
        (y[2] * z[3] - z[2] * y[3], z[2] * x[3] - x[2] * z[3], x[2] * y[3] - y[2] * x[3]),
        (y[3] * z[1] - z[3] * y[1], z[3] * x[1] - x[3] * z[1], x[3] * y[1] - y[3] * x[1]),
        (y[1] * z[2] - z[1] * y[2], z[1] * x[2] - x[1] * z[2], x[1] * y[2] - y[1] * x[2]),
    )
    determinant = x[1] * cofactors[0][0] + y[1] * cofactors[0][1] + z[1] * cofactors[0][2]
    singular = abs(determinant) < np.float32(1e-18)
    inverse = np.float32(1) / (np.float32(1e-18) if singular else determinant)
    h = half + tolerance
    for i in range(3):
        p, q, r = cofactors[i][0] * inverse, cofactors[i][1] * inverse, cofactors[i][2] * inverse
        # Largest place, along cell axis i, to which the rest of the map and the residual move a point of the cell.
        reach = abs(p * x[4] + q * y[4] + r * z[4]) + abs(p * x[5] + q * y[5] + r * z[5])
        reach += abs(p * x[6] + q * y[6] + r * z[6]) + h * abs(p * x[7] + q * y[7] + r * z[7])
        reach = h + h * h * reach + residual * np.sqrt(p * p + q * q + r * r) + np.float32(1e-3)
        out[c, 12 + i] = far if singular else reach
        out[c, i] = half - (p * x[0] + q * y[0] + r * z[0])
        out[c, 3 + 3 * i], out[c, 4 + 3 * i], out[c, 5 + 3 * i] = p, q, r


def _map_cells(nodes: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounds, guess and polynomial as in `MappedCells`, and the sides."""
    n, f32 = len(cells), np.float32
    bounds, guess, polynomial = np.empty((n, 6), f32), np.empty((n, 15), f32), np.empty((n, 8, 3), f32)
    sides = np.empty((n, 2), np.int32)
    _map(nodes, cells, f32(RESIDUAL), f32(TOLERANCE), f32(_FAR), bounds, guess, polynomial, sides)
    return bounds, guess, polynomial, sides


@njit(fastmath=True, cache=True, nogil=True)
def _sort(bounds, rows, origin, scale, dims, offsets, members):
    """Counting sort of the cells into bins; returns the number of entries (`members` may be too short: call again)."""
    bins = dims[0] * dims[1] * dims[2]
    for b in range(bins + 1):
        offsets[b] = 0
    total = 0
    for write in range(2):
        for c in rows:
            i0 = int((bounds[c, 0] - origin[0]) * scale)
            j0 = int((bounds[c, 1] - origin[1]) * scale)
            k0 = int((bounds[c, 2] - origin[2]) * scale)
            i1 = min(int((bounds[c, 3] - origin[0]) * scale), dims[0] - 1)
            j1 = min(int((bounds[c, 4] - origin[1]) * scale), dims[1] - 1)
            k1 = min(int((bounds[c, 5] - origin[2]) * scale), dims[2] - 1)
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


@njit(inline="always")
def _invert(px, py, pz, b, c, u, v, w, steps, residual, tolerance):
    """Newton in posed cell `c` from a place in it: (found, u, v, w)."""
    half = np.float32(0.5)
    # The map's polynomial in locals: slices of arrays would be counted, at every one of them.
    b00, b01, b02 = b[c, 0, 0] - px, b[c, 0, 1] - py, b[c, 0, 2] - pz
    b10, b11, b12 = b[c, 1, 0], b[c, 1, 1], b[c, 1, 2]
    b20, b21, b22 = b[c, 2, 0], b[c, 2, 1], b[c, 2, 2]
    b30, b31, b32 = b[c, 3, 0], b[c, 3, 1], b[c, 3, 2]
    b40, b41, b42 = b[c, 4, 0], b[c, 4, 1], b[c, 4, 2]
    b50, b51, b52 = b[c, 5, 0], b[c, 5, 1], b[c, 5, 2]
    b60, b61, b62 = b[c, 6, 0], b[c, 6, 1], b[c, 6, 2]
    b70, b71, b72 = b[c, 7, 0], b[c, 7, 1], b[c, 7, 2]
    error = np.float32(0)
    for it in range(steps + 1):
        # Derivatives a, h, d along the cell's axes, and the map's value f.
        e0, e1, e2 = b40 + b70 * w, b41 + b71 * w, b42 + b72 * w
        g0, g1, g2 = b30 + b60 * v, b31 + b61 * v, b32 + b62 * v
        a0, a1, a2 = b10 + b50 * w + e0 * v, b11 + b51 * w + e1 * v, b12 + b52 * w + e2 * v
        f0 = b00 + b20 * v + g0 * w + a0 * u
        f1 = b01 + b21 * v + g1 * w + a1 * u
        f2 = b02 + b22 * v + g2 * w + a2 * u
        error = f0 * f0 + f1 * f1 + f2 * f2
        if error < residual * residual * np.float32(0.01) or it == steps:
            break
        h0, h1, h2 = b20 + b60 * w + e0 * u, b21 + b61 * w + e1 * u, b22 + b62 * w + e2 * u
        uv = u * v
        d0, d1, d2 = g0 + b50 * u + b70 * uv, g1 + b51 * u + b71 * uv, g2 + b52 * u + b72 * uv
        m0, m1, m2 = h1 * d2 - h2 * d1, h2 * d0 - h0 * d2, h0 * d1 - h1 * d0
        determinant = a0 * m0 + a1 * m1 + a2 * m2
        if abs(determinant) < np.float32(1e-18):
            determinant = np.float32(1e-18)
        inv = np.float32(1.0) / determinant
        du = (m0 * f0 + m1 * f1 + m2 * f2) * inv
        dv = ((d1 * a2 - d2 * a1) * f0 + (d2 * a0 - d0 * a2) * f1 + (d0 * a1 - d1 * a0) * f2) * inv
        dw = ((a1 * h2 - a2 * h1) * f0 + (a2 * h0 - a0 * h2) * f1 + (a0 * h1 - a1 * h0) * f2) * inv
        u = min(max(u - du, -half), half + 1)
        v = min(max(v - dv, -half), half + 1)
        w = min(max(w - dw, -half), half + 1)
    low, high = -tolerance, 1 + tolerance
    inside = u >= low and u <= high and v >= low and v <= high and w >= low and w <= high
    return error < residual * residual and inside, u, v, w


@njit(inline="always")
def bin_at(search, px, py, pz):
    """Bin of a posed point, -1 outside all of them."""
    i = int(np.floor((px - search.origin[0]) * search.bin_scale))
    j = int(np.floor((py - search.origin[1]) * search.bin_scale))
    k = int(np.floor((pz - search.origin[2]) * search.bin_scale))
    dims = search.dims
    inside = i >= 0 and j >= 0 and k >= 0 and i < dims[0] and j < dims[1] and k < dims[2]
    return (i * dims[1] + j) * dims[2] + k if inside else -1


@njit(inline="always")
def roots_in_bin(search, at, px, py, pz, density, most, first, row, out_cell, out_local, out_density):
    """All roots of a posed point in its bin's cells, at most `most`; returns their number.

    Args:
        density: of the canonical half-size cells; roots in negative ones do not count. Empty: all roots count.
        first: where the roots go: `out_cell[row, first]` and so on; their densities to `out_density[row, 0]` and on.
    """
    half = np.float32(0.5)
    found_here = 0
    anywhere = density.shape[0] == 0
    bounds, guess, sides, cell_index = search.bounds, search.guess, search.sides, search.cell_index
    for m in range(search.offsets[at], search.offsets[at + 1]):
        c = search.members[m]
        # One branch for all six: which of them fails cannot be predicted.
        inside = (px >= bounds[c, 0]) & (py >= bounds[c, 1]) & (pz >= bounds[c, 2])
        inside &= (px <= bounds[c, 3]) & (py <= bounds[c, 4]) & (pz <= bounds[c, 5])
        if not inside:
            continue
        gu = guess[c, 0] + guess[c, 3] * px + guess[c, 4] * py + guess[c, 5] * pz
        gv = guess[c, 1] + guess[c, 6] * px + guess[c, 7] * py + guess[c, 8] * pz
        gw = guess[c, 2] + guess[c, 9] * px + guess[c, 10] * py + guess[c, 11] * pz
        if abs(gu - half) > guess[c, 12] or abs(gv - half) > guess[c, 13] or abs(gw - half) > guess[c, 14]:
            continue
        for attempt in range(1 if sides[c, 0] < 0 else 3):
            u, v, w = min(max(gu, -half), half + 1), min(max(gv, -half), half + 1), min(max(gw, -half), half + 1)
            if attempt > 0:
                start = sides[c, attempt - 1]
                u = np.float32(0.85) if start & 1 else np.float32(0.15)
                v = np.float32(0.85) if start & 2 else np.float32(0.15)
                w = np.float32(0.85) if start & 4 else np.float32(0.15)
            found, u, v, w = _invert(
                px, py, pz, search.polynomial, c, u, v, w, search.steps, search.residual, search.tolerance
            )
            if not found or found_here == most:
                continue
            i, j, k = cell_index[c, 0], cell_index[c, 1], cell_index[c, 2]
            sigma = np.float32(0)
            if not anywhere:
                sigma = density[2 * i + (u >= half), 2 * j + (v >= half), 2 * k + (w >= half)]
                if sigma < 0:
                    continue
            new = True
            for q in range(first, first + found_here):
                o = out_cell[row, q]
                e0 = (cell_index[o, 0] - i) + (out_local[row, q, 0] - u)
                e1 = (cell_index[o, 1] - j) + (out_local[row, q, 1] - v)
                e2 = (cell_index[o, 2] - k) + (out_local[row, q, 2] - w)
                if e0 * e0 + e1 * e1 + e2 * e2 < search.same:
                    new = False
            if new:
                out_cell[row, first + found_here] = c
                out_local[row, first + found_here, 0] = u
                out_local[row, first + found_here, 1] = v
                out_local[row, first + found_here, 2] = w
                out_density[row, found_here] = sigma
                found_here += 1
    return found_here


def bin_cells(nodes: Tensor, cells: Tensor, rows: Tensor, bin_size: float) -> MappedCells:
    """Sorts some cells of a pose into bins."""
    bounds, guess, polynomial, sides = _map_cells(nodes.numpy(), cells.numpy())
    chosen = rows.numpy()
    of_chosen = bounds[chosen]
    box = np.stack([of_chosen[:, :3].min(0), of_chosen[:, 3:].max(0)])
    dims = np.floor((box[1] - box[0]) / np.float32(bin_size)).astype(np.int64) + 1
    offsets = np.empty(int(dims.prod()) + 1, np.int32)
    members = np.empty(len(chosen) * 16, np.int32)
    scale = np.float32(1 / bin_size)
    total = _sort(bounds, chosen, box[0], scale, dims, offsets, members)
    if total > len(members):
        members = np.empty(total, np.int32)
        _sort(bounds, chosen, box[0], scale, dims, offsets, members)
    as_tensor = torch.from_numpy
    return MappedCells(
        nodes,
        cells,
        as_tensor(bounds[:, :3]),
        as_tensor(bounds[:, 3:]),
        as_tensor(sides),
        as_tensor(box),
        as_tensor(box[0]),
        bin_size,
        tuple(int(d) for d in dims),
        as_tensor(offsets),
        as_tensor(members[:total]),
        bounds,
        guess,
        polynomial,
    )
