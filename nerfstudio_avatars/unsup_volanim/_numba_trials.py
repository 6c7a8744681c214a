"""The numba kernel behind `pose_trials`: trials of one part's pose read the others once."""

# Compiled kernels are typed by numba.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
import torch
from numba import get_num_threads, prange
from torch import Tensor

from nerfstudio_avatars.kernels import njit
from nerfstudio_avatars.unsup_volanim._numba_composition import (
    OPAQUE,
    along_ray,
    as_array,
    filled_cells,
    is_filled,
    place,
    read_three,
    read_two,
)


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
    inputs = volumes, filled_cells(volumes, False), rotation, translation, part, tried_rotation, tried_translation
    arrays = [as_array(one) for one in (*inputs, origins, directions, z, length, extents, rgb, accumulation)]
    _draw_trials(get_num_threads(), *arrays)
    return rgb, accumulation


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def _draw_trials(
    lanes, volumes, filled, rotation, translation, part, tried_rotation, tried_translation, origins, directions, z,
    length, extents, rgb, accumulation,
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
            volume, cells, moving = volumes[f // each], filled[f // each], part[f]
            along_ray(rotation[f], translation[f], origins[r], directions[r], extents, n, start, step)
            along_ray(tried_rotation[f], tried_translation[f], origins[r], directions[r], extents, n, from_, by)
            others[:] = 0
            for p in range(parts):
                if p == moving:
                    continue
                for s in range(samples):
                    x, y, w = place(start, step, p, z[s])
                    if not is_filled(cells, x, y, w, p):
                        continue
                    raw, weight = read_two(volume, x, y, w, 4 + p)
                    if raw > 0 and weight > 0:
                        c0, c1, c2 = read_three(volume, x, y, w, 1)
                        others[s, 0] += raw * weight
                        others[s, 1] += raw * weight * c0
                        others[s, 2] += raw * weight * c1
                        others[s, 3] += raw * weight * c2
            for t in range(trials):
                through = np.float32(1)
                r0 = r1 = r2 = opaque = np.float32(0)
                for s in range(samples):
                    x, y, w = place(from_, by, t, z[s])
                    raw = weight = np.float32(0)
                    if is_filled(cells, x, y, w, moving):
                        raw, weight = read_two(volume, x, y, w, 4 + moving)
                    total, m0, m1, m2 = others[s, 0], others[s, 1], others[s, 2], others[s, 3]
                    if raw > 0 and weight > 0:
                        c0, c1, c2 = read_three(volume, x, y, w, 1)
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
