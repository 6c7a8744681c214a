"""Numba twins of `posed_cubes.composed` and of the compositing of its samples, for the CPU.

The backward pass reads the cubes again instead of keeping samples.
"""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numba import get_num_threads, prange
from torch import Tensor

from nerfstudio_avatars.kernels import njit
from nerfstudio_avatars.unsup_volanim._numba_volumes import Packed

_ONE = np.float32(1)
OPAQUE = np.float32(1e-7)
"""Transmittance behind which nothing is seen."""
_NEGLIGIBLE = np.float32(1 / 2048)
"""Weight up to which there is nothing of a part."""
_LANES = 8
"""Maximum number of gradients that are summed side by side."""


def draw_composed(
    cubes: Tensor,
    rotation: Tensor,
    translation: Tensor,
    origins: Tensor,
    directions: Tensor,
    z: Tensor,
    noise: Tensor | None,
    length: Tensor,
    middle: float,
    extents: Tensor,
    slopes: Tensor | None,
    visible: Tensor | None,
) -> tuple[Tensor, ...]:
    """Pictures before the background is added: RGB, accumulation, depth, parts, normals, part density.

    Args:
        cubes: (identities, parts + 4, n, n, n): part logits, RGB, density before activation.
        rotation, translation: (frames, parts, 3, 3), (frames, parts, 3); frames are grouped by identity.
        origins: of the rays (rays, 3); with `directions`, points are origins + z * directions.
        z: of the samples (frames, rays, samples).
        noise: on the density before activation (frames, rays, samples); without gradient.
        length: of a sample's share of each ray (rays).
        middle: z that depth is relative to.
        extents: half extents of the cube.
        slopes: of the density (identities, 3, n, n, n), for normals; zeros are returned without.
        visible: factor on the density of each part.
    """
    shown = torch.ones(cubes.shape[1] - 4) if visible is None else visible.detach().float()
    away = None if slopes is None else F.pad(slopes, (1,) * 6).permute(0, 2, 3, 4, 1)
    return _Draw.apply(
        padded_volumes(cubes), rotation, translation, origins.contiguous(), directions.contiguous(), z, noise,
        length.contiguous(), middle, extents, away, shown,
    )  # fmt: skip


def padded_volumes(cubes: Tensor) -> Tensor:
    """Density, RGB and weights of the parts (identities, n + 2, n + 2, n + 2, 4 + parts), as the kernels read them.

    Around the cube there is nothing; weights go on, so that a single part is all that there is.
    """
    return Packed.apply(cubes, cubes[:, :-4].softmax(1))


def filled_cells(volumes: Tensor, anyhow: bool) -> Tensor:
    """Which parts there are in each cell of padded volumes (identities, n + 1, n + 1, n + 1), a bit for each.

    Args:
        volumes: from `padded_volumes`.
        anyhow: whether all count wherever their weight does, as noise may be solid anywhere.
    """
    identities, side = volumes.shape[:2]
    cells = torch.zeros(identities, *[side - 1] * 3, dtype=torch.int64)
    if anyhow:
        return cells.fill_(-1)
    _fill(get_num_threads(), as_array(volumes), cells.numpy())
    return cells


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, volumes, rotation, translation, origins, directions, z, noise, length, middle, extents, slopes, visible
    ):
        frames, rays, _ = z.shape
        parts = rotation.shape[1]
        with_noise, with_normals = noise is not None, slopes is not None
        noise = torch.empty(0, 0, 0) if noise is None else noise
        slopes = torch.empty(0, 0, 0, 0, 0) if slopes is None else slopes
        seen = [torch.zeros(frames, rays, *more) for more in ((3,), (), (), (parts,), (3,))]
        density = torch.zeros(frames, rays, parts)
        filled = filled_cells(volumes, with_noise)
        inputs = volumes, filled, rotation, translation, origins, directions, z, noise, length, extents, visible
        arrays = [as_array(one) for one in (*inputs, slopes)]
        _draw(
            get_num_threads(),
            *arrays,
            np.float32(middle),
            with_noise,
            with_normals,
            *(one.numpy() for one in (*seen, density)),
        )
        ctx.save_for_backward(*inputs)
        ctx.middle, ctx.with_noise = middle, with_noise
        density = density.mean(1)
        ctx.mark_non_differentiable(seen[4], density)
        return (*seen, density)

    @staticmethod
    def backward(ctx, g_rgb, g_accumulation, g_depth, g_parts, _g_normals, _g_density):
        inputs = [as_array(one) for one in ctx.saved_tensors]
        volumes, _, rotation, translation = ctx.saved_tensors[:4]
        lanes = min(get_num_threads(), _LANES)
        outs = [torch.zeros(lanes, *one.shape) for one in (volumes, rotation, translation)]
        pulls = [as_array(one) for one in (g_rgb, g_accumulation, g_depth, g_parts)]
        _pull_back(*inputs, np.float32(ctx.middle), ctx.with_noise, *pulls, *(one.numpy() for one in outs))
        return (*(one[0] if lanes == 1 else one.sum(0) for one in outs), *(None,) * 9)


def as_array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


@njit(fastmath=True, cache=True, nogil=True)
def along_ray(rotation, translation, origin, direction, extents, n, start, step):
    """Places of a ray's points in the padded volume of each part: start + z * step."""
    half = np.float32(0.5) * (n - 1)
    for p in range(len(rotation)):
        for i in range(3):
            s = d = np.float32(0)
            for j in range(3):
                s += rotation[p, j, i] * (origin[j] - translation[p, j])
                d += rotation[p, j, i] * direction[j]
            start[p, i] = (s / extents[i] + 1) * half + 1
            step[p, i] = d / extents[i] * half


@njit(fastmath=True, cache=True, nogil=True, inline="always")
def place(start, step, p, z):
    return start[p, 0] + z * step[p, 0], start[p, 1] + z * step[p, 1], start[p, 2] + z * step[p, 2]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _fill(lanes, volumes, cells):
    side, parts = volumes.shape[1], volumes.shape[4] - 4
    layers = side - 1
    for lane in prange(lanes):
        bits = np.empty((2, side, side), np.int64)
        for task in range(lane, len(volumes) * layers, lanes):
            volume, k = volumes[task // layers], task % layers
            bits[:] = 0
            for c in range(2):
                for j in range(side):
                    for i in range(side):
                        cell = volume[k + c, j, i]
                        if cell[0] > 0:
                            for p in range(parts):
                                if cell[4 + p] > _NEGLIGIBLE:
                                    bits[c, j, i] |= np.int64(1) << np.int64(min(p, 62))
            for j in range(layers):
                for i in range(layers):
                    found = np.int64(0)
                    for corner in range(8):
                        found |= bits[corner >> 2, j + ((corner >> 1) & 1), i + (corner & 1)]
                    cells[task // layers, k, j, i] = found


@njit(fastmath=True, cache=True, nogil=True, inline="always")
def is_filled(cells, x, y, z, p):
    """Whether there may be something of a part at a place in the padded volume."""
    last = cells.shape[0]
    if x > 0 and y > 0 and z > 0 and x < last and y < last and z < last:
        return (cells[int(z), int(y), int(x)] >> np.int64(min(p, 62))) & 1 != 0
    return False


@njit(fastmath=True, cache=True, nogil=True, inline="always")
def read_two(volume, x, y, z, channel):
    """Density before activation, and the weight in a channel; (0, 0) outside."""
    density = weight = np.float32(0)
    last = volume.shape[0] - 1
    if x > 0 and y > 0 and z > 0 and x < last and y < last and z < last:
        i, j, k = int(x), int(y), int(z)
        u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
        for corner in range(8):
            a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
            share = (u if a else _ONE - u) * (v if b else _ONE - v) * (w if c else _ONE - w)
            cell = volume[k + c, j + b, i + a]
            density += share * cell[0]
            weight += share * cell[channel]
    return density, weight


@njit(fastmath=True, cache=True, nogil=True, inline="always")
def read_three(volume, x, y, z, first):
    """Three channels at a place inside."""
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
    r = g = h = np.float32(0)
    for corner in range(8):
        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
        share = (u if a else _ONE - u) * (v if b else _ONE - v) * (w if c else _ONE - w)
        cell = volume[k + c, j + b, i + a]
        r += share * cell[first]
        g += share * cell[first + 1]
        h += share * cell[first + 2]
    return r, g, h


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _draw(
    lanes, volumes, filled, rotation, translation, origins, directions, z, noise, length, extents, visible, slopes,
    middle, with_noise, with_normals, rgb, accumulation, depth, segmentation, normals, part_density,
):  # fmt: skip
    frames, rays, samples = z.shape
    parts = rotation.shape[1]
    each, n = frames // len(volumes), np.float32(volumes.shape[1] - 2)
    for lane in prange(lanes):
        start, step = np.empty((parts, 3), np.float32), np.empty((parts, 3), np.float32)
        dense = np.empty(parts, np.float32)
        for task in range(lane, frames * rays, lanes):
            f, r = task // rays, task % rays
            volume, cells, turn = volumes[f // each], filled[f // each], rotation[f]
            along_ray(turn, translation[f], origins[r], directions[r], extents, n, start, step)
            through = np.float32(1)
            for s in range(samples):
                at = z[f, r, s]
                extra = noise[f, r, s] if with_noise else np.float32(0)
                total = np.float32(0)
                for p in range(parts):
                    x, y, w = place(start, step, p, at)
                    dense[p] = 0
                    if not is_filled(cells, x, y, w, p):
                        continue
                    raw, weight = read_two(volume, x, y, w, 4 + p)
                    weight *= visible[p]
                    part_density[f, r, p] += weight * max(raw, np.float32(0)) / np.float32(samples)
                    dense[p] = weight * max(raw + extra, np.float32(0))
                    total += dense[p]
                if total <= 0 or through < OPAQUE:
                    continue
                optical = total * length[r]
                share = through * -np.expm1(-optical) / max(total, np.float32(1e-5))
                through *= np.exp(-optical)
                for p in range(parts):
                    if dense[p] <= 0:
                        continue
                    x, y, w = place(start, step, p, at)
                    seen = share * dense[p]
                    colour = read_three(volume, x, y, w, 1)
                    for i in range(3):
                        rgb[f, r, i] += seen * colour[i]
                    accumulation[f, r] += seen
                    depth[f, r] += seen * (at - middle)
                    segmentation[f, r, p] += seen
                    if with_normals:
                        d0, d1, d2 = read_three(slopes[f // each], x, y, w, 0)
                        size = np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
                        scale = -seen / max(size, np.float32(1e-12))
                        for i in range(3):
                            normals[f, r, i] += scale * (turn[p, i, 0] * d0 + turn[p, i, 1] * d1 + turn[p, i, 2] * d2)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _pull_back(
    volumes, filled, rotation, translation, origins, directions, z, noise, length, extents, visible, middle, with_noise,
    g_rgb, g_accumulation, g_depth, g_parts, g_volumes, g_rotation, g_translation,
):  # fmt: skip
    """Adds up gradients in one array for each lane."""
    frames, rays, samples = z.shape
    parts = rotation.shape[1]
    each, n = frames // len(volumes), np.float32(volumes.shape[1] - 2)
    half = np.float32(0.5) * (n - 1)
    lanes = len(g_volumes)
    for lane in prange(lanes):
        start, step = np.empty((parts, 3), np.float32), np.empty((parts, 3), np.float32)
        g_start, g_step = np.empty((parts, 3), np.float32), np.empty((parts, 3), np.float32)
        solid, weights = np.empty((samples, parts), np.float32), np.empty((samples, parts), np.float32)
        worth = np.empty((samples, parts), np.float32)
        totals, left = np.empty(samples, np.float32), np.empty(samples, np.float32)
        worths = np.empty(samples, np.float32)
        for task in range(lane, frames * rays, lanes):
            f, r = task // rays, task % rays
            volume, cells, grads = volumes[f // each], filled[f // each], g_volumes[lane, f // each]
            along_ray(rotation[f], translation[f], origins[r], directions[r], extents, n, start, step)
            e0, e1, e2 = g_rgb[f, r, 0], g_rgb[f, r, 1], g_rgb[f, r, 2]
            through, reached = _ONE, 0
            for s in range(samples):
                at = z[f, r, s]
                extra = noise[f, r, s] if with_noise else np.float32(0)
                plain = g_accumulation[f, r] + g_depth[f, r] * (at - middle)
                total = value = np.float32(0)
                for p in range(parts):
                    x, y, w = place(start, step, p, at)
                    solid[s, p] = 0
                    if not is_filled(cells, x, y, w, p):
                        continue
                    raw, weight = read_two(volume, x, y, w, 4 + p)
                    raw = max(raw + extra, np.float32(0))
                    # Outside there is nothing, whatever the noise: weights are 0 there too.
                    solid[s, p], weights[s, p] = (raw * visible[p], weight) if weight > 0 else (np.float32(0), weight)
                    if solid[s, p] > 0:
                        c0, c1, c2 = read_three(volume, x, y, w, 1)
                        worth[s, p] = e0 * c0 + e1 * c1 + e2 * c2 + plain + g_parts[f, r, p]
                        total += solid[s, p] * weight
                        value += solid[s, p] * weight * worth[s, p]
                left[s], totals[s], worths[s] = through, total, value
                through *= np.exp(-total * length[r])
                reached = s + 1
                if through < OPAQUE:
                    break
            g_start[:], g_step[:], behind, touched = 0, 0, np.float32(0), False
            for s in range(reached - 1, -1, -1):
                total, at = totals[s], z[f, r, s]
                kept = np.exp(-total * length[r])
                low = max(total, np.float32(1e-5))
                share = left[s] * -np.expm1(-total * length[r]) / low
                mean = worths[s] / low
                for p in range(parts):
                    if solid[s, p] <= 0:
                        continue
                    touched = True
                    by_density = length[r] * (left[s] * kept * mean - behind) + share * (worth[s, p] - mean)
                    by_raw = by_density * weights[s, p] * visible[p]
                    by_weight = by_density * solid[s, p]
                    seen = share * solid[s, p] * weights[s, p]
                    x, y, w = place(start, step, p, at)
                    i, j, k = int(x), int(y), int(w)
                    u, v, t = x - np.float32(i), y - np.float32(j), w - np.float32(k)
                    gx = gy = gz = np.float32(0)
                    for corner in range(8):
                        a, b, c = corner & 1, (corner >> 1) & 1, corner >> 2
                        su, sv, st = (u if a else _ONE - u), (v if b else _ONE - v), (t if c else _ONE - t)
                        cell, into = volume[k + c, j + b, i + a], grads[k + c, j + b, i + a]
                        here = su * sv * st
                        into[0] += here * by_raw
                        into[1] += here * seen * e0
                        into[2] += here * seen * e1
                        into[3] += here * seen * e2
                        into[4 + p] += here * by_weight
                        pull = by_raw * cell[0] + seen * (e0 * cell[1] + e1 * cell[2] + e2 * cell[3])
                        pull += by_weight * cell[4 + p]
                        gx += pull * (sv * st if a else -sv * st)
                        gy += pull * (su * st if b else -su * st)
                        gz += pull * (su * sv if c else -su * sv)
                    for i, pulled in enumerate((gx, gy, gz)):
                        g_start[p, i] += pulled
                        g_step[p, i] += pulled * at
                behind += share * worths[s]
            if not touched:
                continue
            for p in range(parts):
                for i in range(3):
                    by_start, by_step = g_start[p, i] * half / extents[i], g_step[p, i] * half / extents[i]
                    for j in range(3):
                        away = origins[r, j] - translation[f, p, j]
                        g_rotation[lane, f, p, j, i] += away * by_start + directions[r, j] * by_step
                        g_translation[lane, f, p, j] -= rotation[f, p, j, i] * by_start
