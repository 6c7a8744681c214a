"""Numba twin of `picture._render_torch`, for the CPU: from rays to colours in one pass.

Each thread keeps a few hundred rays in flight. All of them advance to their next sample, the field (hash grid and
density network) is evaluated for these samples together, and rays that have become opaque make room for new ones.
Colours are queued separately, because only samples that contribute need one.
"""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import get_num_threads, prange
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation._numba_cells import CellSearch, bin_at, roots_in_bin
from nerfstudio_avatars.instant_avatar.articulation._numba_distance import trilinear
from nerfstudio_avatars.instant_avatar.field._numba_dense import LANES, dense, padded
from nerfstudio_avatars.instant_avatar.field._numba_hash_grid import (
    blend_corners,
    cell_of,
    corner_rows,
    corner_weights,
    layout_arrays,
)
from nerfstudio_avatars.instant_avatar.field.hash_field import HashField
from nerfstudio_avatars.instant_avatar.rendering._numba_march import ray_range
from nerfstudio_avatars.instant_avatar.rendering.density_rule import FAINT, LARGEST_EXPONENT, OPAQUE, DensityRule
from nerfstudio_avatars.instant_avatar.rendering.samples import CUT_CAP, MAX_ROOTS, PosedSpace
from nerfstudio_avatars.kernels import njit

_SLOTS = 256
"""Number of rays in flight per thread."""
_RUN = 256
"""Number of neighbouring rays that go to the same thread."""
_LONGEST_GAP = 40


class _Field(NamedTuple):
    """The arrays of the canonical field."""

    table: np.ndarray
    scales: np.ndarray
    resolutions: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    dense: np.ndarray
    centre: np.ndarray
    scale: float
    density1: np.ndarray
    density2: np.ndarray
    colour1: np.ndarray
    colour2: np.ndarray
    colour3: np.ndarray

    @classmethod
    def of(cls, field: HashField) -> _Field:
        density1, density2 = (layer.weight for layer in field.density_network[::2])
        colour1, colour2, colour3 = (layer.weight for layer in field.colour_network[::2])
        # The colour network reads all of the density network's outputs; the density itself does not count.
        colour1 = torch.cat([torch.zeros_like(colour1[:, :1]), colour1], 1)
        return cls(
            field.table.detach().numpy(), *layout_arrays(field.layout), field.centre.numpy(),
            np.float32(1 / (2 * float(field.half_size))), padded(density1 * field.level_weights), padded(density2),
            padded(colour1), padded(colour2), padded(colour3),
        )  # fmt: skip


class _Space(NamedTuple):
    """Canonical space: position of the cells, and distance to the template on half-size cells."""

    origin: np.ndarray
    spacing: float
    distance: np.ndarray
    prior: float
    relu: bool


class _March(NamedTuple):
    """How rays advance and end."""

    step: float
    max_samples: int
    max_roots: int
    cut: float
    cut_cap: float
    bin_size: float
    opaque: float
    faint: float
    largest_exponent: float


@njit(fastmath=True, cache=True, nogil=True)
def _gaps(offsets, dims, longest, gap):
    """Chebyshev distance in bins from every bin to the nearest one with a cell."""
    n0, n1, n2 = dims[0], dims[1], dims[2]
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                at = (i * n1 + j) * n2 + k
                gap[i, j, k] = 0 if offsets[at + 1] > offsets[at] else longest
    before = np.empty(n2, np.int16)
    for sweep in range(2):
        back = 1 if sweep == 0 else -1
        for ii in range(n0):
            i = ii if sweep == 0 else n0 - 1 - ii
            for jj in range(n1):
                j = jj if sweep == 0 else n1 - 1 - jj
                before[:] = longest
                for q in range(4):
                    p0 = i - back if q < 3 else i
                    p1 = j + q - 1 if q < 3 else j - back
                    if p0 < 0 or p0 >= n0 or p1 < 0 or p1 >= n1:
                        continue
                    for k in range(n2):
                        before[k] = min(before[k], gap[p0, p1, k])
                    for k in range(1, n2):
                        before[k] = min(before[k], gap[p0, p1, k - 1])
                    for k in range(n2 - 1):
                        before[k] = min(before[k], gap[p0, p1, k + 1])
                for k in range(n2):
                    gap[i, j, k] = min(gap[i, j, k], before[k] + 1)
                for k in range(1, n2):
                    gap[i, j, k] = min(gap[i, j, k], gap[i, j, k - 1] + 1)
                for k in range(n2 - 2, -1, -1):
                    gap[i, j, k] = min(gap[i, j, k], gap[i, j, k + 1] + 1)


@njit(fastmath=True, cache=True, nogil=True)
def _encode(unit, points, field, out):
    """Hash encoding of columns; positions outside the unit cube are clamped to it."""
    zero, one = np.float32(0), np.float32(1)
    for level in range(len(field.scales)):
        part = field.table[field.offsets[level] : field.offsets[level + 1]]
        scale, resolution = field.scales[level], field.resolutions[level]
        size, is_dense = field.sizes[level], field.dense[level]
        for i in range(points):
            x, y, z = (
                min(max(unit[0, i], zero), one),
                min(max(unit[1, i], zero), one),
                min(max(unit[2, i], zero), one),
            )
            ix, iy, iz, fx, fy, fz = cell_of(x, y, z, scale)
            row = corner_rows(ix, iy, iz, resolution, size, is_dense)
            weight = corner_weights(fx, fy, fz)
            out[2 * level, i] = blend_corners(part, row, weight, 0)
            out[2 * level + 1, i] = blend_corners(part, row, weight, 1)


@njit(fastmath=True, cache=True, nogil=True)
def _densities(x, unit, points, field, space, largest_exponent, features, hidden, geometry, density):
    """Density of columns `x`; `geometry` receives the density network's outputs."""
    full = (points + LANES - 1) // LANES * LANES
    for i in range(points, full):
        for a in range(3):
            unit[a, i] = np.float32(0.5)
    half = np.float32(0.5)
    for a in range(3):
        for i in range(points):
            unit[a, i] = (x[a, i] - field.centre[a]) * field.scale + half
    _encode(unit, full, field, features)
    dense(features, field.density1, full, True, hidden)
    dense(hidden, field.density2, full, False, geometry)
    fine = np.float32(2) / space.spacing
    for i in range(points):
        raw = geometry[0, i]
        if space.prior > 0:
            d, _, _, _ = trilinear(
                space.distance,
                (x[0, i] - space.origin[0]) * fine,
                (x[1, i] - space.origin[1]) * fine,
                (x[2, i] - space.origin[2]) * fine,
            )
            raw -= min(max(d / space.prior, np.float32(-4)), np.float32(4))
        density[i] = max(raw, np.float32(0)) if space.relu else np.exp(min(raw, largest_exponent))


@njit(fastmath=True, cache=True, nogil=True)
def _colours(queue, points, queue_ray, queue_weight, field, hidden, hidden2, colour, out):
    """Adds the queued colours to their rays."""
    full = (points + LANES - 1) // LANES * LANES
    dense(queue, field.colour1, full, True, hidden)
    dense(hidden, field.colour2, full, True, hidden2)
    dense(hidden2, field.colour3, full, False, colour)
    one = np.float32(1)
    for i in range(points):
        r, w = queue_ray[i], queue_weight[i]
        for a in range(3):
            out[r, a] += w / (one + np.exp(-colour[a, i]))


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _picture(origins, directions, jitter, box, search, gap, density, settings, space, field, threads, slots, run, out):
    for thread in prange(threads):
        _rays(origins, directions, jitter, box, search, gap, density, settings, space, field, threads, thread, slots,
              run, out)  # fmt: skip


@njit(fastmath=True, cache=True, nogil=True)
def _rays(
    origins, directions, jitter, box, search, gap, density, settings, space, field, threads, thread, slots, run, out
):
    f32, one = np.float32, np.float32(1)
    step = settings.step
    capacity = slots * settings.max_roots + LANES
    queue_size = 2 * slots + LANES
    width = max(len(field.density1), len(field.colour1), len(field.colour2))
    # Scratch: of roots, of rays on the way, of waiting colours.
    x, unit = np.empty((3, capacity), f32), np.empty((3, capacity), f32)
    features = np.zeros((field.density1.shape[1], capacity), f32)
    hidden, hidden2 = np.empty((width, max(capacity, queue_size)), f32), np.empty((width, queue_size), f32)
    geometry = np.empty((len(field.density2), capacity), f32)
    found_cell, found_local = np.empty((1, capacity), np.int32), np.empty((1, capacity, 3), f32)
    cached, root_density = np.empty((1, settings.max_roots), f32), np.empty(capacity, f32)
    ray, at_step, steps = np.empty(slots, np.int64), np.empty(slots, np.int64), np.empty(slots, np.int64)
    near, skip = np.empty(slots, f32), np.empty(slots, f32)
    clear, depth, pending = np.empty(slots, f32), np.empty(slots, f32), np.empty(slots, f32)
    samples, first, distance = np.empty(slots, np.int64), np.empty(slots + 1, np.int64), np.empty(slots, f32)
    queue = np.zeros((field.colour1.shape[1], queue_size), f32)
    queue_ray, queue_weight = np.empty(queue_size, np.int64), np.empty(queue_size, f32)
    colour = np.empty((len(field.colour3), queue_size), f32)

    waiting = 0
    active = 0
    start, offset = thread * run, 0
    while True:
        roots = 0
        slot = 0
        while slot < slots:
            if slot == active:
                # The next ray of this thread that meets the body's box.
                steps[slot] = 0
                while start + offset < len(origins):
                    r = start + offset
                    offset += 1
                    if offset == run:
                        start, offset = start + threads * run, 0
                    dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
                    enter, leave = ray_range(origins[r, 0], origins[r, 1], origins[r, 2], dx, dy, dz, box)
                    if leave > enter:
                        ray[slot], near[slot] = r, enter
                        steps[slot] = int(np.ceil((leave - enter) / step))
                        at_step[slot], samples[slot] = 0, 0
                        # Steps that a ray makes along its longest axis while it crosses one bin.
                        skip[slot] = settings.bin_size / (step * max(abs(dx), abs(dy), abs(dz)))
                        clear[slot], depth[slot], pending[slot] = one, f32(0), f32(0)
                        break
                if steps[slot] == 0:
                    break
                active += 1
            # To the ray's next sample.
            r, s, count, found = ray[slot], at_step[slot], steps[slot], 0
            ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
            dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
            while s < count:
                t = near[slot] + (f32(s) + jitter) * step
                px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
                at = bin_at(search, px, py, pz)
                s += 1
                if at < 0:
                    continue
                free = gap[at]
                if free > 0:
                    s += int(f32(free - 1) * skip[slot])
                    continue
                found = roots_in_bin(
                    search, at, px, py, pz, density, settings.max_roots, roots, 0, found_cell, found_local, cached
                )
                if found > 0:
                    distance[slot] = t
                    break
            if found == 0:
                # It left the box: the last ray takes its place.
                active -= 1
                last = active
                ray[slot], at_step[slot], steps[slot], near[slot] = ray[last], at_step[last], steps[last], near[last]
                skip[slot], clear[slot], depth[slot] = skip[last], clear[last], depth[last]
                pending[slot], samples[slot] = pending[last], samples[last]
                continue
            at_step[slot] = s
            highest = cached[0, 0]
            for q in range(1, found):
                highest = max(highest, cached[0, q])
            depth[slot] += min(highest * step, settings.cut_cap)
            first[slot] = roots
            for q in range(roots, roots + found):
                c = found_cell[0, q]
                for a in range(3):
                    x[a, q] = space.origin[a] + space.spacing * (f32(search.cell_index[c, a]) + found_local[0, q, a])
            roots += found
            slot += 1
        if active == 0:
            break
        first[active] = roots
        _densities(x, unit, roots, field, space, settings.largest_exponent, features, hidden, geometry, root_density)
        for slot in range(active):
            best = first[slot]
            for q in range(best + 1, first[slot + 1]):
                if root_density[q] > root_density[best]:
                    best = q
            passed = np.exp(-root_density[best] * step)
            weight = clear[slot] * (one - passed)
            clear[slot] *= passed
            r = ray[slot]
            out[r, 3] += weight
            out[r, 4] += weight * distance[slot]
            for a in range(3):
                out[r, 5 + a] += weight * unit[a, best]
            samples[slot] += 1
            # Samples too faint for a colour of their own are given that of the next sample on the ray.
            pending[slot] += weight
            if pending[slot] > settings.faint:
                for g in range(len(geometry)):
                    queue[g, waiting] = geometry[g, best]
                queue_ray[waiting], queue_weight[waiting] = r, pending[slot]
                waiting += 1
                pending[slot] = f32(0)
            ended = clear[slot] < settings.opaque or depth[slot] > settings.cut
            if ended or samples[slot] >= settings.max_samples:
                at_step[slot] = steps[slot]
        if waiting >= slots:
            _colours(queue, waiting, queue_ray, queue_weight, field, hidden, hidden2, colour, out)
            waiting = 0
    if waiting > 0:
        _colours(queue, waiting, queue_ray, queue_weight, field, hidden, hidden2, colour, out)


def render(
    origins: Tensor,
    directions: Tensor,
    space: PosedSpace,
    field: HashField,
    rule: DensityRule,
) -> Tensor:
    """Sums along the rays, as in `picture.render`."""
    f32 = np.float32
    posed, volume, settings = space.posed, space.volume, space.settings
    out = torch.zeros(len(origins), 8)
    gap = np.empty(posed.dims, np.int16)
    _gaps(posed.offsets.numpy(), np.array(posed.dims), _LONGEST_GAP, gap)
    march = _March(
        f32(settings.step), settings.max_samples, MAX_ROOTS, f32(settings.cut), f32(CUT_CAP), f32(posed.bin_size),
        f32(OPAQUE), f32(FAINT), f32(LARGEST_EXPONENT),
    )  # fmt: skip
    canonical = _Space(
        volume.origin.numpy(), f32(volume.spacing), volume.distance.numpy(), f32(rule.template_prior),
        rule.kind == "relu",
    )  # fmt: skip
    _picture(
        origins.contiguous().numpy(), directions.contiguous().numpy(), f32(0.5), posed.box.numpy(),
        CellSearch.of(posed, volume), gap.reshape(-1), space.cached_density.numpy(), march, canonical, _Field.of(field),
        get_num_threads(), _SLOTS, _RUN, out.numpy(),
    )  # fmt: skip
    return out
