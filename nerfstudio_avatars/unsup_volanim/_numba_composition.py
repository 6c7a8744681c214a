"""Numba twins of `posed_cubes.composed` and of the compositing of its samples, for the CPU.

The backward pass reads the cubes again instead of keeping samples. Trials of one part's pose read the others once.
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

_ONE = np.float32(1)
OPAQUE = np.float32(1e-7)
"""Transmittance behind which nothing is seen."""
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
    parts = cubes.shape[1] - 4
    held = F.pad(torch.cat([cubes[:, -1:], cubes[:, parts:-1]], 1), (1,) * 6)
    weights = F.pad(cubes[:, :parts].softmax(1), (1,) * 6, mode="replicate")
    return torch.cat([held, weights], 1).permute(0, 2, 3, 4, 1).contiguous()


def draw_trials(
    volumes: Tensor,
    rotation: Tensor,
    translation: Tensor,
    part: Tensor,
    tried_rotation: Tensor,
    tried_translation: Tensor,
    origins: Tensor,
    directions: Tensor,
    z: Tensor,
    length: Tensor,
    extents: Tensor,
) -> tuple[Tensor, Tensor]:
    """RGB and accumulation for each of some poses of one part, before the background is added; without gradient.

    The arguments are those of `draw_composed`, and these:

    Args:
        volumes: from `padded_volumes`.
        part: number of the part that moves, for each frame (frames).
        tried_rotation: (frames, trials, 3, 3).
        tried_translation: (frames, trials, 3).
        z: of the samples (samples).
    """
    shape = (*tried_rotation.shape[:2], len(origins))
    rgb, accumulation = torch.empty(*shape, 3), torch.empty(shape)
    inputs = volumes, rotation, translation, part, tried_rotation, tried_translation
    arrays = [_array(one) for one in (*inputs, origins, directions, z, length, extents, rgb, accumulation)]
    _draw_trials(get_num_threads(), *arrays)
    return rgb, accumulation


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
        inputs = volumes, rotation, translation, origins, directions, z, noise, length, extents, visible
        arrays = [_array(one) for one in (*inputs, slopes)]
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
        inputs = [_array(one) for one in ctx.saved_tensors]
        volumes, rotation, translation = ctx.saved_tensors[:3]
        lanes = min(get_num_threads(), _LANES)
        outs = [torch.zeros(lanes, *one.shape) for one in (volumes, rotation, translation)]
        pulls = [_array(one) for one in (g_rgb, g_accumulation, g_depth, g_parts)]
        _pull_back(*inputs, np.float32(ctx.middle), ctx.with_noise, *pulls, *(one.numpy() for one in outs))
        return (*(one.sum(0) for one in outs), *(None,) * 9)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


@njit(fastmath=True, cache=True, nogil=True)
def _along_ray(rotation, translation, origin, direction, extents, n, start, step):
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
def _place(start, step, p, z):
    return start[p, 0] + z * step[p, 0], start[p, 1] + z * step[p, 1], start[p, 2] + z * step[p, 2]


@njit(fastmath=True, cache=True, nogil=True, inline="always")
def _read(volume, x, y, z, channel):
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
def _read_three(volume, x, y, z, first):
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
    lanes, volumes, rotation, translation, origins, directions, z, noise, length, extents, visible, slopes, middle,
    with_noise, with_normals, rgb, accumulation, depth, segmentation, normals, part_density,
):  # fmt: skip
    frames, rays, samples = z.shape
    parts = rotation.shape[1]
    each, n = frames // len(volumes), np.float32(volumes.shape[1] - 2)
    for lane in prange(lanes):
        start, step = np.empty((parts, 3), np.float32), np.empty((parts, 3), np.float32)
        dense = np.empty(parts, np.float32)
        for task in range(lane, frames * rays, lanes):
            f, r = task // rays, task % rays
            volume, turn = volumes[f // each], rotation[f]
            _along_ray(turn, translation[f], origins[r], directions[r], extents, n, start, step)
            through = np.float32(1)
            for s in range(samples):
                at = z[f, r, s]
                extra = noise[f, r, s] if with_noise else np.float32(0)
                total = np.float32(0)
                for p in range(parts):
                    x, y, w = _place(start, step, p, at)
                    raw, weight = _read(volume, x, y, w, 4 + p)
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
                    x, y, w = _place(start, step, p, at)
                    seen = share * dense[p]
                    colour = _read_three(volume, x, y, w, 1)
                    for i in range(3):
                        rgb[f, r, i] += seen * colour[i]
                    accumulation[f, r] += seen
                    depth[f, r] += seen * (at - middle)
                    segmentation[f, r, p] += seen
                    if with_normals:
                        d0, d1, d2 = _read_three(slopes[f // each], x, y, w, 0)
                        size = np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
                        scale = -seen / max(size, np.float32(1e-12))
                        for i in range(3):
                            normals[f, r, i] += scale * (turn[p, i, 0] * d0 + turn[p, i, 1] * d1 + turn[p, i, 2] * d2)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _pull_back(
    volumes, rotation, translation, origins, directions, z, noise, length, extents, visible, middle, with_noise,
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
            volume, grads = volumes[f // each], g_volumes[lane, f // each]
            _along_ray(rotation[f], translation[f], origins[r], directions[r], extents, n, start, step)
            e0, e1, e2 = g_rgb[f, r, 0], g_rgb[f, r, 1], g_rgb[f, r, 2]
            through, reached = _ONE, 0
            for s in range(samples):
                at = z[f, r, s]
                extra = noise[f, r, s] if with_noise else np.float32(0)
                plain = g_accumulation[f, r] + g_depth[f, r] * (at - middle)
                total = value = np.float32(0)
                for p in range(parts):
                    x, y, w = _place(start, step, p, at)
                    raw, weight = _read(volume, x, y, w, 4 + p)
                    raw = max(raw + extra, np.float32(0))
                    # Outside there is nothing, whatever the noise: weights are 0 there too.
                    solid[s, p], weights[s, p] = (raw * visible[p], weight) if weight > 0 else (np.float32(0), weight)
                    if solid[s, p] > 0:
                        c0, c1, c2 = _read_three(volume, x, y, w, 1)
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
                    x, y, w = _place(start, step, p, at)
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


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _draw_trials(
    lanes, volumes, rotation, translation, part, tried_rotation, tried_translation, origins, directions, z, length,
    extents, rgb, accumulation,
):  # fmt: skip
    frames, trials, rays, _ = rgb.shape
    parts, samples = rotation.shape[1], len(z)
    each, n = frames // len(volumes), np.float32(volumes.shape[1] - 2)
    for lane in prange(lanes):
        start, step = np.empty((parts, 3), np.float32), np.empty((parts, 3), np.float32)
        from_, by = np.empty((trials, 3), np.float32), np.empty((trials, 3), np.float32)
        others = np.empty((samples, 4), np.float32)
        for task in range(lane, frames * rays, lanes):
            f, r = task // rays, task % rays
            volume, moving = volumes[f // each], part[f]
            _along_ray(rotation[f], translation[f], origins[r], directions[r], extents, n, start, step)
            _along_ray(tried_rotation[f], tried_translation[f], origins[r], directions[r], extents, n, from_, by)
            others[:] = 0
            for p in range(parts):
                if p == moving:
                    continue
                for s in range(samples):
                    x, y, w = _place(start, step, p, z[s])
                    raw, weight = _read(volume, x, y, w, 4 + p)
                    if raw > 0 and weight > 0:
                        c0, c1, c2 = _read_three(volume, x, y, w, 1)
                        others[s, 0] += raw * weight
                        others[s, 1] += raw * weight * c0
                        others[s, 2] += raw * weight * c1
                        others[s, 3] += raw * weight * c2
            for t in range(trials):
                through = np.float32(1)
                r0 = r1 = r2 = opaque = np.float32(0)
                for s in range(samples):
                    x, y, w = _place(from_, by, t, z[s])
                    raw, weight = _read(volume, x, y, w, 4 + moving)
                    total, m0, m1, m2 = others[s, 0], others[s, 1], others[s, 2], others[s, 3]
                    if raw > 0 and weight > 0:
                        c0, c1, c2 = _read_three(volume, x, y, w, 1)
                        total += raw * weight
                        m0 += raw * weight * c0
                        m1 += raw * weight * c1
                        m2 += raw * weight * c2
                    if total <= 0:
                        continue
                    optical = total * length[r]
                    share = through * -np.expm1(-optical) / max(total, np.float32(1e-5))
                    r0 += share * m0
                    r1 += share * m1
                    r2 += share * m2
                    opaque += share * total
                    through *= np.exp(-optical)
                    if through < OPAQUE:
                        break
                rgb[f, t, r, 0], rgb[f, t, r, 1], rgb[f, t, r, 2] = r0, r1, r2
                accumulation[f, t, r] = opaque
