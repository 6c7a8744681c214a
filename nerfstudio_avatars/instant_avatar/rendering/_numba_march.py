"""Numba twin of `ray_march._marching_torch`, for the CPU: marches and unposes in one pass over each ray."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation._numba_cells import CellSearch, bin_at, roots_in_bin
from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.rendering.samples import CUT_CAP, MAX_ROOTS, PosedSpace, Samples
from nerfstudio_avatars.kernels import njit

_RAYS_AT_A_TIME = 2048


@njit(inline="always")
def ray_range(ox, oy, oz, dx, dy, dz, box):
    """Distances at which a ray enters and leaves a box."""
    tiny = np.float32(1e-9)
    near, far = np.float32(0), np.float32(1e9)
    sides = (ox, dx, box[0, 0], box[1, 0]), (oy, dy, box[0, 1], box[1, 1]), (oz, dz, box[0, 2], box[1, 2])
    for o, d, low, high in sides:
        inverse = np.float32(1) / (tiny if abs(d) < tiny else d)
        t0, t1 = (low - o) * inverse, (high - o) * inverse
        near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
    return near, far


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _march(
    origins, directions, jitter, box, search, density, step, max_samples, max_roots, cut, cut_cap,
    values, out_t, out_first, out_cell, out_local, samples_of_ray, roots_of_ray,
):  # fmt: skip
    capacity = out_cell.shape[1]
    for r in prange(len(origins)):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        near, far = ray_range(ox, oy, oz, dx, dy, dz, box)
        samples = 0
        roots = 0
        depth = np.float32(0)
        count = int(np.ceil((far - near) / step)) if far > near else 0
        for s in range(count):
            t = near + (np.float32(s) + jitter[r]) * step
            px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
            at = bin_at(search, px, py, pz)
            if at < 0 or search.offsets[at] == search.offsets[at + 1]:
                continue
            found = roots_in_bin(search, at, px, py, pz, density, max_roots, roots, r, out_cell, out_local, values)
            if found > 0:
                out_t[r, samples] = t
                out_first[r, samples] = roots
                samples += 1
                roots += found
                highest = values[r, 0]
                for q in range(1, found):
                    highest = max(highest, values[r, q])
                depth += min(highest * step, cut_cap)
                if depth > cut or samples >= max_samples or roots + max_roots > capacity:
                    break
        samples_of_ray[r] = samples
        roots_of_ray[r] = roots


@njit(parallel=True, cache=True, nogil=True)
def _pack(
    ray_offset, sample_offset, root_offset, samples_of_ray, roots_of_ray, in_t, in_first, in_cell, in_local,
    cell_index, origin, spacing, ray, t, x, point, cell, local,
):  # fmt: skip
    for r in prange(len(samples_of_ray)):
        s0, m0 = sample_offset[r], root_offset[r]
        for s in range(samples_of_ray[r]):
            ray[s0 + s] = ray_offset + r
            t[s0 + s] = in_t[r, s]
            last = in_first[r, s + 1] if s + 1 < samples_of_ray[r] else roots_of_ray[r]
            for m in range(in_first[r, s], last):
                point[m0 + m] = s0 + s
                c = in_cell[r, m]
                cell[m0 + m] = c
                for a in range(3):
                    local[m0 + m, a] = in_local[r, m, a]
                    x[m0 + m, a] = origin[a] + spacing * (cell_index[c, a] + in_local[r, m, a])


_kept = threading.local()


def _buffers(max_samples: int) -> tuple[np.ndarray, ...]:
    """Buffers for distances, first roots, cells, positions and densities, kept for the next call: new memory costs more
    than marching, because of page faults."""
    if getattr(_kept, "max_samples", None) != max_samples:
        n, capacity = _RAYS_AT_A_TIME, max_samples + max_samples // 2 + 8
        _kept.max_samples = max_samples
        _kept.buffers = (
            np.empty((n, max_samples), np.float32),
            np.empty((n, max_samples), np.int32),
            np.empty((n, capacity), np.int32),
            np.empty((n, capacity, 3), np.float32),
            np.empty((n, MAX_ROOTS), np.float32),
        )
    return _kept.buffers


def march(
    origins: Tensor,
    directions: Tensor,
    jitter: Tensor,
    space: PosedSpace,
) -> Samples:
    """Samples of rays in the posed world, a few thousand rays at a time to keep buffers small."""
    parts = []
    posed, volume, settings = space.posed, space.volume, space.settings
    search = CellSearch.of(posed, volume)
    f32 = np.float32
    for at in range(0, max(len(origins), 1), _RAYS_AT_A_TIME):
        chunk = slice(at, at + _RAYS_AT_A_TIME)
        n = len(origins[chunk])
        in_t, in_first, in_cell, in_local, values = (buffer[:n] for buffer in _buffers(settings.max_samples))
        samples_of_ray, roots_of_ray = np.zeros(n, np.int64), np.zeros(n, np.int64)
        _march(
            origins[chunk].numpy(), directions[chunk].numpy(), jitter[chunk].numpy(), posed.box.numpy(), search,
            space.cached_density.numpy(), f32(settings.step), settings.max_samples, MAX_ROOTS, f32(settings.cut),
            f32(CUT_CAP), values, in_t, in_first, in_cell, in_local, samples_of_ray, roots_of_ray,
        )  # fmt: skip
        sample_offset, root_offset = samples_of_ray.cumsum() - samples_of_ray, roots_of_ray.cumsum() - roots_of_ray
        samples, roots = int(samples_of_ray.sum()), int(roots_of_ray.sum())
        ray, t = np.empty(samples, np.int64), np.empty(samples, f32)
        x, point = np.empty((roots, 3), f32), np.empty(roots, np.int64)
        cell, local = np.empty(roots, np.int64), np.empty((roots, 3), f32)
        _pack(
            at, sample_offset, root_offset, samples_of_ray, roots_of_ray, in_t, in_first, in_cell, in_local,
            search.cell_index, volume.origin.numpy(), f32(volume.spacing), ray, t, x, point, cell, local,
        )  # fmt: skip
        parts.append((ray, t, x, point, cell, local))
    return _join(parts)


def _join(parts: list[tuple[np.ndarray, ...]]) -> Samples:
    sample = 0
    for part in parts:
        ray, point = part[0], part[3]
        np.add(point, sample, out=point)
        sample += len(ray)
    columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
    ray, t, x, point, cell, local = (torch.from_numpy(column) for column in columns)
    return Samples(ray, t, Roots(x, point, cell, local))
