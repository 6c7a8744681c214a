"""Numba twin of `posed_cells._binning_torch`, and the root search for one point that all other twins share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import NEWTON_STEPS, RESIDUAL, SAME_ROOT, TOLERANCE
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.kernels import njit

_FAR = 1e30


@dataclass(frozen=True)
class MappedCells(PosedCells):
    """Posed cells in bins, with the values per cell that make inverting them fast."""

    bounds: np.ndarray
    """Bounding box: lower and upper corner."""
    guess: np.ndarray
    """Inverse of the affine part of the map at the centre: local = guess[:3] + guess[3:12] @ x. It puts points of the
    cell within guess[12:] of the centre; points that are farther cannot be in the cell."""
    polynomial: np.ndarray
    """Factors of 1, u, v, w, uv, uw, vw, uvw, for x, y, z."""


class CellSearch(NamedTuple):
    """The arrays of one pose that roots are searched in."""

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
    def of(cls, posed: PosedCells, volume: SkinningVolume) -> CellSearch:
        """Builds the search from posed cells, whichever twin binned them."""
        if isinstance(posed, MappedCells):
            maps = posed.bounds, posed.guess, posed.polynomial
        else:
            cells = posed.cells.numpy()
            maps = tuple(x[0] for x in _map_cells(posed.nodes.numpy()[None], cells, np.arange(len(cells)))[:3])
        return cls(
            posed.origin.numpy(), np.float32(1 / posed.bin_size), np.array(posed.dims), posed.offsets.numpy(),
            posed.members.numpy(), *maps, posed.sides.numpy(), volume.cell_index.numpy(),
            np.float32((SAME_ROOT / volume.spacing) ** 2), NEWTON_STEPS, np.float32(RESIDUAL), np.float32(TOLERANCE),
        )  # fmt: skip


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _map(nodes, cells, rows, residual, tolerance, far, bounds, guess, polynomial, sides):
    for task in prange(len(nodes) * len(rows)):
        pose, c = task // len(rows), rows[task % len(rows)]
        _map_cell(nodes[pose], cells, c, bounds[pose], polynomial[pose], sides[pose])
        _guess(polynomial[pose], c, residual, tolerance, far, guess[pose])


@njit(fastmath=True, cache=True, nogil=True)
def _map_cell(nodes, cells, c, bounds, polynomial, sides):
    """Bounding box, polynomial and sides of one cell."""
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
    highest, lowest = np.float32(0), np.float32(0)
    sides[c, 0] = sides[c, 1] = -1
    for k in range(8):
        determinant = _determinant(polynomial, c, np.float32(k & 1), np.float32(k >> 1 & 1), np.float32(k >> 2))
        if determinant > highest:
            highest = determinant
            sides[c, 0] = k
        if determinant < lowest:
            lowest = determinant
            sides[c, 1] = k
    if sides[c, 0] < 0 or sides[c, 1] < 0:
        sides[c, 0] = sides[c, 1] = -1


@njit(inline="always")
def _determinant(b, c, u, v, w):
    """Determinant of the map of a cell, at a place in it."""
    vw, uw, uv = v * w, u * w, u * v
    ax = b[c, 1, 0] + v * b[c, 4, 0] + w * b[c, 5, 0] + vw * b[c, 7, 0]
    ay = b[c, 1, 1] + v * b[c, 4, 1] + w * b[c, 5, 1] + vw * b[c, 7, 1]
    az = b[c, 1, 2] + v * b[c, 4, 2] + w * b[c, 5, 2] + vw * b[c, 7, 2]
    bx = b[c, 2, 0] + u * b[c, 4, 0] + w * b[c, 6, 0] + uw * b[c, 7, 0]
    by = b[c, 2, 1] + u * b[c, 4, 1] + w * b[c, 6, 1] + uw * b[c, 7, 1]
    bz = b[c, 2, 2] + u * b[c, 4, 2] + w * b[c, 6, 2] + uw * b[c, 7, 2]
    cx = b[c, 3, 0] + u * b[c, 5, 0] + v * b[c, 6, 0] + uv * b[c, 7, 0]
    cy = b[c, 3, 1] + u * b[c, 5, 1] + v * b[c, 6, 1] + uv * b[c, 7, 1]
    cz = b[c, 3, 2] + u * b[c, 5, 2] + v * b[c, 6, 2] + uv * b[c, 7, 2]
    return ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)


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
    """Inverse of the affine part of a cell at its centre, and the largest distance from the centre it gives a point of
    it."""
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


def _map_cells(
    nodes: np.ndarray, cells: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounds, guess and polynomial as in `MappedCells`, and the sides, of some cells in each of several poses."""
    n, f32 = (len(nodes), len(cells)), np.float32
    bounds, guess, polynomial = np.empty((*n, 6), f32), np.empty((*n, 15), f32), np.empty((*n, 8, 3), f32)
    sides = np.empty((*n, 2), np.int32)
    _map(nodes, cells, rows, f32(RESIDUAL), f32(TOLERANCE), f32(_FAR), bounds, guess, polynomial, sides)
    return bounds, guess, polynomial, sides


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _enclose(bounds, rows, box):
    """Bounding box of the cells, one for each pose."""
    for pose in prange(len(bounds)):
        for a in range(3):
            low, high = bounds[pose, rows[0], a], bounds[pose, rows[0], 3 + a]
            for c in rows:
                low, high = min(low, bounds[pose, c, a]), max(high, bounds[pose, c, 3 + a])
            box[pose, 0, a], box[pose, 1, a] = low, high


@njit(inline="always")
def _bins_of(bounds, c, origin, scale, dims):
    """First and last bin along each axis that a cell overlaps."""
    i0, i1 = int((bounds[c, 0] - origin[0]) * scale), int((bounds[c, 3] - origin[0]) * scale)
    j0, j1 = int((bounds[c, 1] - origin[1]) * scale), int((bounds[c, 4] - origin[1]) * scale)
    k0, k1 = int((bounds[c, 2] - origin[2]) * scale), int((bounds[c, 5] - origin[2]) * scale)
    return i0, min(i1, dims[0] - 1), j0, min(j1, dims[1] - 1), k0, min(k1, dims[2] - 1)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _count(bounds, rows, box, scale, dims, starts, offsets):
    """Start of the entries of each bin, pose by pose: those of a pose are in `offsets` from `starts` on."""
    for pose in prange(len(bounds)):
        of_bin = offsets[starts[pose] : starts[pose + 1]]
        of_bin[:] = 0
        for c in rows:
            i0, i1, j0, j1, k0, k1 = _bins_of(bounds[pose], c, box[pose, 0], scale, dims[pose])
            for i in range(i0, i1 + 1):
                for j in range(j0, j1 + 1):
                    row = (i * dims[pose, 1] + j) * dims[pose, 2] + 1
                    for k in range(k0, k1 + 1):
                        of_bin[row + k] += 1
        for b in range(len(of_bin) - 1):
            of_bin[b + 1] += of_bin[b]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _fill(bounds, rows, box, scale, dims, starts, offsets, firsts, members):
    """The entries; those of a pose are in `members` from `firsts` on."""
    for pose in prange(len(bounds)):
        of_bin, entries = offsets[starts[pose] : starts[pose + 1]], members[firsts[pose] : firsts[pose + 1]]
        for c in rows:
            i0, i1, j0, j1, k0, k1 = _bins_of(bounds[pose], c, box[pose, 0], scale, dims[pose])
            for i in range(i0, i1 + 1):
                for j in range(j0, j1 + 1):
                    row = (i * dims[pose, 1] + j) * dims[pose, 2]
                    for k in range(k0, k1 + 1):
                        entries[of_bin[row + k]] = c
                        of_bin[row + k] += 1
        # Writing advanced each offset to the end of its bin, which is the start of the next one.
        for b in range(len(of_bin) - 1, 0, -1):
            of_bin[b] = of_bin[b - 1]
        of_bin[0] = 0


@njit(inline="always")
def _invert(px, py, pz, b, c, u, v, w, steps, residual, tolerance):
    """Newton's method in posed cell `c` from a place in it: (found, u, v, w)."""
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
    """Finds all roots of a posed point in the cells of its bin, at most `most`; returns their number.

    Args:
        density: of the canonical half-size cells; roots in negative ones do not count. Empty: all roots count.
        first: where roots are written: from `out_cell[row, first]` on, and their densities from `out_density[row, 0]`
        on.
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


def bin_all(nodes: Tensor, cells: Tensor, occupied: Tensor, bin_size: float) -> list[PosedCells]:
    """Sorts the occupied cells of each of several poses into bins: a counting sort, the poses side by side."""
    poses, chosen = len(nodes), occupied.nonzero()[:, 0].int().numpy()
    bounds, guess, polynomial, sides = _map_cells(nodes.numpy(), cells.numpy(), chosen)
    box = np.empty((poses, 2, 3), np.float32)
    _enclose(bounds, chosen, box)
    if not np.isfinite(box).all():
        raise FloatingPointError("a pose that is not finite")
    dims = np.floor((box[:, 1] - box[:, 0]) / np.float32(bin_size)).astype(np.int64) + 1
    starts = np.concatenate([[0], np.cumsum(dims.prod(1) + 1)])
    offsets = np.empty(starts[-1], np.int32)
    sizes = bounds, chosen, box, np.float32(1 / bin_size), dims, starts, offsets
    _count(*sizes)
    firsts = np.concatenate([[0], np.cumsum(offsets[starts[1:] - 1])])
    members = np.empty(firsts[-1], np.int32)
    _fill(*sizes, firsts, members)
    as_tensor = torch.from_numpy
    return [
        MappedCells(
            nodes[p],
            cells,
            as_tensor(bounds[p, :, :3]),
            as_tensor(bounds[p, :, 3:]),
            as_tensor(sides[p]),
            as_tensor(box[p]),
            as_tensor(box[p, 0]),
            bin_size,
            tuple(int(d) for d in dims[p]),
            as_tensor(offsets[starts[p] : starts[p + 1]]),
            as_tensor(members[firsts[p] : firsts[p + 1]]),
            bounds[p],
            guess[p],
            polynomial[p],
        )
        for p in range(poses)
    ]
