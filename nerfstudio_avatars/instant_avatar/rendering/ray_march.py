"""Marches rays through a posed body, and finds the canonical points of the samples.

Empty space is skipped twice: bins of the posed space without a canonically occupied cell, and roots in unoccupied
canonical cells. A ray ends when the densities cached in the occupancy say that it is opaque.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.backend import use_numba
from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.articulation.snarf import _unpose_torch, unposing
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Program, Sizes, owners, run
from nerfstudio_avatars.instant_avatar.rendering.samples import CUT_CAP, MAX_ROOTS, PosedSpace, Samples

_STEPS_AT_A_TIME = 32
"""Number of steps of all rays to try together; more need more memory."""
_NOWHERE = 1e6
"""Distance of padding samples in metres, where the scene is empty."""


def ray_box(origins: Tensor, directions: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Distances at which rays enter and leave a box `(2, 3)`; rays miss it if they leave before they enter."""
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    a, b = (box[0] - origins) * inverse, (box[1] - origins) * inverse
    near = torch.minimum(a, b).amax(-1).clamp(min=0)
    return near, torch.maximum(a, b).amin(-1)


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    jitter: Float[Tensor, " rays"],
    space: PosedSpace,
) -> Samples:
    """Samples of rays in the posed world (specification: `_marching_torch`; numba twin on the CPU).

    Args:
        directions: unit vectors.
        jitter: start of each ray within the first step, in [0, 1).
        space: around the body in its pose.
    """
    return run(marching(origins, directions, jitter, space))


def marching(
    origins: Tensor,
    directions: Tensor,
    jitter: Tensor,
    space: PosedSpace,
) -> Program[Samples]:
    """`march` as a program for several poses at once."""
    if use_numba(origins):
        from nerfstudio_avatars.instant_avatar.rendering import _numba_march

        return _numba_march.march(origins, directions, jitter, space)
    return (yield from _marching_torch(origins, directions, jitter, space))


@torch.no_grad()
def marching_points(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, " rays"],
    far: Float[Tensor, " rays"],
    longest: float,
    jitter: Float[Tensor, " rays"],
    step: float,
    is_occupied: Callable[[Tensor], Tensor],
) -> Program[tuple[Int[Tensor, " samples"], Float[Tensor, " samples"]]]:
    """A program for rays and distances of the samples in occupied space, sorted by ray and depth. Padding belongs to
    the last ray, at `_NOWHERE`.

    Args:
        longest: upper bound in metres on the length of rays, as a number, because the host must know it.
    """
    count = ((far - near) / step).clamp(min=0).ceil()
    steps = math.ceil(longest / step) + 1  # One for the rounding of near and far.
    blocks = []
    for first in range(0, steps, _STEPS_AT_A_TIME):
        k = torch.arange(first, min(first + _STEPS_AT_A_TIME, steps), device=origins.device)
        t = near[:, None] + (k + jitter[:, None]) * step
        occupied = is_occupied((origins[:, None] + t[..., None] * directions[:, None]).flatten(0, 1)).view_as(t)
        blocks.append(occupied & (k < count[:, None]))
    occupied = torch.cat(blocks, 1).flatten()
    (samples,) = yield Sizes("samples", occupied.sum()[None])
    index = owners(occupied, samples)
    ray = (index // steps).clamp(max=len(origins) - 1)
    t = near[ray] + (index % steps + jitter[ray]) * step
    return ray, torch.where(index < len(occupied), t, _NOWHERE)


@torch.no_grad()
def _marching_torch(
    origins: Tensor,
    directions: Tensor,
    jitter: Tensor,
    space: PosedSpace,
) -> Program[Samples]:
    posed, volume, settings = space.posed, space.volume, space.settings
    near, far = ray_box(origins, directions, posed.box)
    ray, t = yield from marching_points(
        origins, directions, near, far, posed.diagonal, jitter, settings.step, posed.holds
    )
    x_posed = origins[ray] + t[:, None] * directions[ray]
    # What specifies numba's march does not lean on numba's search.
    if use_numba(origins):
        roots = _unpose_torch(x_posed, posed, volume)
    else:
        roots = yield from unposing(x_posed, posed, volume)

    if len(ray) and not len(roots.point):  # Padding is taken from some row.
        nowhere = torch.zeros_like(x_posed[:1])
        roots = Roots(nowhere, torch.zeros_like(ray[:1]), torch.full_like(ray[:1], -1), nowhere)

    # Masks up to the end, where one read tells how much is left of both samples and roots.
    density = _density_at_roots(roots, volume, space.cached_density)
    keep = density >= 0
    keep &= _sum_before(keep.long(), roots.point) < MAX_ROOTS
    depth = torch.zeros_like(t).scatter_reduce(0, roots.point, torch.where(keep, density, 0.0), "amax")
    depth = (depth * settings.step).clamp(max=CUT_CAP).double()
    filled = torch.zeros_like(ray).scatter_add(0, roots.point, keep.long()) > 0
    filled &= _sum_before(depth, ray) <= settings.cut
    filled &= _sum_before(filled.long(), ray) < settings.max_samples
    keep &= filled[roots.point]
    samples, kept = yield Sizes("kept", torch.stack([filled.sum(), keep.sum()]))
    left, rows = owners(filled, samples), owners(keep, kept)
    is_sample, is_root = left < len(filled), rows < len(keep)
    left, rows = left.clamp(max=len(filled) - 1), rows.clamp(max=len(keep) - 1)
    point = torch.where(is_root, (filled.cumsum(0) - 1)[roots.point[rows]], samples - 1)
    found = Roots(roots.x_canonical[rows], point, roots.cell[rows].clamp(min=0), roots.local[rows])
    return Samples(torch.where(is_sample, ray[left], len(origins)), t[left], found)


def _rank_within(group: Tensor) -> Tensor:
    """Position of each element in its run of equal values (sorted input)."""
    if len(group) == 0:
        return group
    index = torch.arange(len(group), device=group.device)
    new = torch.ones(len(group), dtype=torch.bool, device=group.device)
    new[1:] = group[1:] != group[:-1]
    return index - torch.where(new, index, 0).cummax(0).values


def _sum_before(values: Tensor, group: Tensor) -> Tensor:
    """Sum of the values before each element in its run of equal groups (sorted input)."""
    total = values.cumsum(0) - values
    return total - total[torch.arange(len(group), device=group.device) - _rank_within(group)]


def _density_at_roots(roots: Roots, volume: SkinningVolume, cached_density: Tensor) -> Float[Tensor, " roots"]:
    """Cached density of the half-size cell of each root; -1 for padding."""
    half = (roots.local >= 0.5).long()
    i, j, k = (2 * volume.cell_index.long()[roots.cell] + half).unbind(-1)
    return torch.where(roots.cell < 0, -1.0, cached_density[i, j, k])
