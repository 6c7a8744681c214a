"""Marching rays through a posed body: where the samples lie and which canonical points they are.

Empty space is skipped twice: bins of the posed space without a canonically occupied cell, and roots in unoccupied
canonical cells. A ray ends when the densities cached in the occupancy say that it is opaque.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.deformations.posed_cells import PosedCells
from nerfstudio_avatars.deformations.skinning_volume import SkinningVolume
from nerfstudio_avatars.deformations.snarf import Roots, _unpose_torch, unpose
from nerfstudio_avatars.ops.backend import use_numba

MAX_ROOTS = 3
"""Canonical roots kept for one sample."""
STEPS_AT_A_TIME = 32
"""Steps of all rays that are tried together. A GPU waits for the CPU once for each such block."""
CUT_CAP = 0.5
"""Largest optical depth that one step adds to the ray cut: the cache is a maximum over a cell, so a thin dense surface
would otherwise end the ray before it."""


@dataclass(frozen=True)
class MarchSettings:
    """How finely and how far to march."""

    step: float = 0.0078
    """Distance between samples, metres (the paper: 2 m / 256)."""
    max_samples: int = 192
    """Samples kept on one ray."""
    cut: float = 6.0
    """Cached optical depth at which a ray ends."""


@dataclass(frozen=True)
class Samples:
    """Packed samples of some rays, sorted by ray and depth, and the canonical roots of each, sorted by sample."""

    ray: Int[Tensor, "samples"]
    t: Float[Tensor, "samples"]
    first_root: Int[Tensor, "samples"]
    """Row of each sample's first root."""
    roots: Roots


def ray_box(origins: Tensor, directions: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a box `(2, 3)`; they miss it where they leave before they enter."""
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, 1e-9, directions)
    a, b = (box[0] - origins) * inverse, (box[1] - origins) * inverse
    near = torch.minimum(a, b).amax(-1).clamp(min=0)
    return near, torch.maximum(a, b).amin(-1)


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    jitter: Float[Tensor, "rays"],
    posed: PosedCells,
    volume: SkinningVolume,
    cached_density: Float[Tensor, "x y z"],
    settings: MarchSettings,
) -> Samples:
    """Samples of rays in the posed world (specification: `_march_torch`; numba twin on the CPU).

    Args:
        directions: unit vectors.
        jitter: start of each ray within the first step, in [0, 1).
        cached_density: density of the canonical half-size cells in 1/m, negative where they are not occupied.
    """
    if use_numba(origins):
        from nerfstudio_avatars.rendering import _numba

        return _numba.march(origins, directions, jitter, posed, volume, cached_density, settings)
    return _march_torch(origins, directions, jitter, posed, volume, cached_density, settings)


@torch.no_grad()
def march_points(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, "rays"],
    far: Float[Tensor, "rays"],
    jitter: Float[Tensor, "rays"],
    step: float,
    is_occupied: Callable[[Tensor], Tensor],
) -> tuple[Int[Tensor, "samples"], Float[Tensor, "samples"]]:
    """Rays and distances of the samples that fall into occupied space, sorted by ray and depth."""
    count = ((far - near) / step).clamp(min=0).ceil().long()
    longest = int(count.max()) if len(count) else 0
    # All rays side by side, some steps after the others: only sample ids survive.
    hit = count.nonzero()[:, 0]
    o, d, start, offset, count = origins[hit], directions[hit], near[hit], jitter[hit], count[hit]
    rays, steps = [hit[:0]], [hit[:0]]
    for first in range(0, longest, STEPS_AT_A_TIME):
        k = torch.arange(first, min(first + STEPS_AT_A_TIME, longest), device=origins.device)[:, None]
        t = start + (k + offset) * step
        occupied = is_occupied((o + t[..., None] * d).flatten(0, 1)).view_as(t)
        row, column = (occupied & (k < count)).nonzero(as_tuple=True)
        rays.append(hit[column])
        steps.append(first + row)
    ray, index = torch.cat(rays), torch.cat(steps)
    order = torch.argsort(ray * (longest + 1) + index)
    ray, index = ray[order], index[order]
    return ray, near[ray] + (index + jitter[ray]) * step


@torch.no_grad()
def _march_torch(
    origins: Tensor,
    directions: Tensor,
    jitter: Tensor,
    posed: PosedCells,
    volume: SkinningVolume,
    cached_density: Tensor,
    settings: MarchSettings,
) -> Samples:
    near, far = ray_box(origins, directions, posed.box)
    ray, t = march_points(origins, directions, near, far, jitter, settings.step, posed.holds)
    # What specifies numba's march does not lean on numba's search.
    search = _unpose_torch if use_numba(origins) else unpose
    roots = search(origins[ray] + t[:, None] * directions[ray], posed, volume)

    density = density_at_roots(roots, volume, cached_density)
    # Rows rather than masks: a GPU waits for the CPU at every use of a mask.
    keep = (density >= 0).nonzero()[:, 0]
    keep = keep[_rank_within(roots.point[keep]) < MAX_ROOTS]
    point, density = roots.point[keep], density[keep]
    depth = torch.zeros(len(ray), device=origins.device).scatter_reduce(0, point, density, "amax")
    depth = (depth * settings.step).clamp(max=CUT_CAP).double()
    filled = torch.zeros(len(ray), dtype=torch.bool, device=origins.device)
    filled[point] = True
    filled &= _sum_before(depth, ray) <= settings.cut
    filled &= _sum_before(filled.double(), ray) < settings.max_samples

    keep = keep[filled[point]]
    new_index = filled.long().cumsum(0) - 1
    point = new_index[roots.point[keep]]
    kept = Roots(roots.x_canonical[keep], point, roots.cell[keep], roots.local[keep])
    samples = filled.nonzero()[:, 0]
    return Samples(ray[samples], t[samples], first_of_each(point, len(samples)), kept)


def first_of_each(group: Int[Tensor, "items"], groups: int) -> Int[Tensor, "groups"]:
    """Where each group begins in a sorted list of group numbers."""
    return torch.searchsorted(group, torch.arange(groups, device=group.device))


def _rank_within(group: Tensor) -> Tensor:
    """Position of each element within its run of equal values (sorted input)."""
    if len(group) == 0:
        return group
    index = torch.arange(len(group), device=group.device)
    new = torch.ones(len(group), dtype=torch.bool, device=group.device)
    new[1:] = group[1:] != group[:-1]
    return index - torch.where(new, index, 0).cummax(0).values


def _sum_before(values: Tensor, group: Tensor) -> Tensor:
    """Sum of the values that stand before each element in its run of equal groups (sorted input)."""
    total = values.cumsum(0) - values
    return total - total[torch.arange(len(group), device=group.device) - _rank_within(group)]


def density_at_roots(roots: Roots, volume: SkinningVolume, cached_density: Tensor) -> Float[Tensor, "roots"]:
    """The cached density of the half-size cell in which each root lies."""
    half = (roots.local >= 0.5).long()
    i, j, k = (2 * volume.cell_index.long()[roots.cell] + half).unbind(-1)
    return cached_density[i, j, k]
