"""Numba twin of `ray_march._march_torch`, for the CPU: marching and unposing in one pass over each ray."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfstudio_avatars.deformations._numba import newton
from nerfstudio_avatars.deformations.posed_cells import PosedCells
from nerfstudio_avatars.deformations.skinning_volume import SkinningVolume
from nerfstudio_avatars.deformations.snarf import NEWTON_STEPS, RESIDUAL, TOLERANCE, Roots
from nerfstudio_avatars.rendering.ray_march import CUT_CAP, MAX_ROOTS, MarchSettings, Samples

_RAYS_AT_A_TIME = 8192


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _march(
    origins, directions, jitter, box, nodes, cells, lower, upper, sides, bins_origin, bin_scale, dims, offsets,
    members, cell_index, density, step, max_samples, max_roots, cut, cut_cap, steps, residual, tolerance,
    out_t, out_first, out_cell, out_local, samples_of_ray, roots_of_ray,
):  # fmt: skip
    capacity = out_cell.shape[1]
    for r in prange(len(origins)):
        scratch = np.empty((8, 3), np.float32)
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        near, far = np.float32(0), np.float32(1e9)
        for a in range(3):
            d = directions[r, a]
            if abs(d) < 1e-9:
                d = np.float32(1e-9)
            t0, t1 = (box[0, a] - origins[r, a]) / d, (box[1, a] - origins[r, a]) / d
            near = max(near, min(t0, t1))
            far = min(far, max(t0, t1))
        samples = 0
        roots = 0
        depth = 0.0
        count = int(np.ceil((far - near) / step)) if far > near else 0
        for s in range(count):
            t = near + (s + jitter[r]) * step
            px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
            gi = int(np.floor((px - bins_origin[0]) * bin_scale))
            gj = int(np.floor((py - bins_origin[1]) * bin_scale))
            gk = int(np.floor((pz - bins_origin[2]) * bin_scale))
            if gi < 0 or gj < 0 or gk < 0 or gi >= dims[0] or gj >= dims[1] or gk >= dims[2]:
                continue
            at = (gi * dims[1] + gj) * dims[2] + gk
            first = roots
            highest = np.float32(0)
            for m in range(offsets[at], offsets[at + 1]):
                c = members[m]
                if px < lower[c, 0] or py < lower[c, 1] or pz < lower[c, 2]:
                    continue
                if px > upper[c, 0] or py > upper[c, 1] or pz > upper[c, 2]:
                    continue
                for attempt in range(1 if sides[c, 0] < 0 else 3):
                    start = sides[c, attempt - 1] if attempt else -1
                    found, u, v, w = newton(px, py, pz, nodes, cells, c, start, steps, residual, tolerance, scratch)
                    if not found:
                        continue
                    i, j, k = cell_index[c, 0], cell_index[c, 1], cell_index[c, 2]
                    sigma = density[2 * i + (u >= 0.5), 2 * j + (v >= 0.5), 2 * k + (w >= 0.5)]
                    if sigma < 0:
                        continue
                    new = True
                    for q in range(first, roots):
                        o = out_cell[r, q]
                        e0 = (cell_index[o, 0] + out_local[r, q, 0]) - (i + u)
                        e1 = (cell_index[o, 1] + out_local[r, q, 1]) - (j + v)
                        e2 = (cell_index[o, 2] + out_local[r, q, 2]) - (k + w)
                        if e0 * e0 + e1 * e1 + e2 * e2 < 1e-5:
                            new = False
                    if new and roots - first < max_roots and roots < capacity:
                        out_cell[r, roots] = c
                        out_local[r, roots, 0] = u
                        out_local[r, roots, 1] = v
                        out_local[r, roots, 2] = w
                        roots += 1
                        highest = max(highest, sigma)
            if roots > first:
                out_t[r, samples] = t
                out_first[r, samples] = first
                samples += 1
                depth += min(highest * step, cut_cap)
                if depth > cut or samples >= max_samples or roots + max_roots > capacity:
                    break
        samples_of_ray[r] = samples
        roots_of_ray[r] = roots


@njit(parallel=True, cache=True, nogil=True)
def _pack(
    ray_offset, sample_offset, root_offset, samples_of_ray, roots_of_ray, in_t, in_first, in_cell, in_local,
    cell_index, origin, spacing, ray, t, first_root, x, point, cell, local,
):  # fmt: skip
    for r in prange(len(samples_of_ray)):
        s0, m0 = sample_offset[r], root_offset[r]
        for s in range(samples_of_ray[r]):
            ray[s0 + s] = ray_offset + r
            t[s0 + s] = in_t[r, s]
            first_root[s0 + s] = m0 + in_first[r, s]
            last = in_first[r, s + 1] if s + 1 < samples_of_ray[r] else roots_of_ray[r]
            for m in range(in_first[r, s], last):
                point[m0 + m] = s0 + s
                c = in_cell[r, m]
                cell[m0 + m] = c
                for a in range(3):
                    local[m0 + m, a] = in_local[r, m, a]
                    x[m0 + m, a] = origin[a] + spacing * (cell_index[c, a] + in_local[r, m, a])


def march(
    origins: Tensor,
    directions: Tensor,
    jitter: Tensor,
    posed: PosedCells,
    volume: SkinningVolume,
    cached_density: Tensor,
    settings: MarchSettings,
) -> Samples:
    """Samples of rays in the posed world, some thousand rays at a time so that the buffers stay small."""
    parts = []
    box = posed.box.numpy()
    dims = np.array(posed.dims)
    cell_index = volume.cell_index.numpy()
    f32 = np.float32
    for at in range(0, max(len(origins), 1), _RAYS_AT_A_TIME):
        chunk = slice(at, at + _RAYS_AT_A_TIME)
        n = len(origins[chunk])
        capacity = settings.max_samples + settings.max_samples // 2 + 8
        in_t, in_first = np.empty((n, settings.max_samples), f32), np.empty((n, settings.max_samples), np.int32)
        in_cell, in_local = np.empty((n, capacity), np.int32), np.empty((n, capacity, 3), f32)
        samples_of_ray, roots_of_ray = np.zeros(n, np.int64), np.zeros(n, np.int64)
        _march(
            origins[chunk].numpy(), directions[chunk].numpy(), jitter[chunk].numpy(), box, posed.nodes.numpy(),
            posed.cells.numpy(), posed.lower.numpy(), posed.upper.numpy(), posed.sides.numpy(), posed.origin.numpy(),
            f32(1 / posed.bin_size), dims, posed.offsets.numpy(), posed.members.numpy(), cell_index,
            cached_density.numpy(), f32(settings.step),
            settings.max_samples, MAX_ROOTS, f32(settings.cut), f32(CUT_CAP), NEWTON_STEPS, f32(RESIDUAL),
            f32(TOLERANCE),
            in_t, in_first, in_cell, in_local, samples_of_ray, roots_of_ray,
        )  # fmt: skip
        sample_offset, root_offset = samples_of_ray.cumsum() - samples_of_ray, roots_of_ray.cumsum() - roots_of_ray
        samples, roots = int(samples_of_ray.sum()), int(roots_of_ray.sum())
        ray, t, first = np.empty(samples, np.int64), np.empty(samples, f32), np.empty(samples, np.int64)
        x, point = np.empty((roots, 3), f32), np.empty(roots, np.int64)
        cell, local = np.empty(roots, np.int64), np.empty((roots, 3), f32)
        _pack(
            at, sample_offset, root_offset, samples_of_ray, roots_of_ray, in_t, in_first, in_cell, in_local,
            cell_index, volume.origin.numpy(), f32(volume.spacing), ray, t, first, x, point, cell, local,
        )  # fmt: skip
        parts.append((ray, t, first, x, point, cell, local))
    return _join(parts)


def _join(parts: list[tuple[np.ndarray, ...]]) -> Samples:
    sample, root = 0, 0
    for part in parts:
        ray, first, x, point = part[0], part[2], part[3], part[4]
        np.add(point, sample, out=point)
        np.add(first, root, out=first)
        sample, root = sample + len(ray), root + len(x)
    columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
    ray, t, first, x, point, cell, local = (torch.from_numpy(column) for column in columns)
    return Samples(ray, t, first, Roots(x, point, cell, local))
