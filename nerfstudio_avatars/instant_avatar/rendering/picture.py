"""Renders pictures without gradient: marching, unposing, field and compositing; and the shading of samples."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from nerfacc import accumulate_along_rays
from torch import Tensor

from nerfstudio_avatars.backend import use_numba
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.field.hash_field import HashField
from nerfstudio_avatars.instant_avatar.rendering.compositing import rendering_weights
from nerfstudio_avatars.instant_avatar.rendering.density_rule import DensityRule
from nerfstudio_avatars.instant_avatar.rendering.ray_march import march, ray_box
from nerfstudio_avatars.instant_avatar.rendering.samples import PosedSpace


@torch.no_grad()
def render(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    space: PosedSpace,
    field: HashField,
    rule: DensityRule,
    rays_at_a_time: int = 1 << 15,
) -> Float[Tensor, "rays 8"]:
    """Sums along rays, weighted by rendering weights (specification: `_render_torch`; numba twin).

    The twin computes in float32 throughout, ends opaque rays, and leaves out colours of faint samples: colours and
    weights differ from the specification in float32 by at most `OPAQUE` + `FAINT`.

    Args:
        directions: unit vectors.
        space: around the body in its pose.
        rays_at_a_time: limits the memory of the specification; that of the twin is constant.

    Returns:
        Colour (3), weight, distance in metres, and position in the unit cube of the field (3).
    """
    if use_numba(origins) and field.config.implementation == "auto":
        from nerfstudio_avatars.instant_avatar.rendering import _numba_picture

        return _numba_picture.render(origins, directions, space, field, rule)
    rays = zip(origins.split(rays_at_a_time), directions.split(rays_at_a_time), strict=True)
    parts = [_render_torch(o, d, space, field, rule) for o, d in rays]
    return torch.cat(parts)


def _render_torch(
    origins: Tensor,
    directions: Tensor,
    space: PosedSpace,
    field: HashField,
    rule: DensityRule,
) -> Tensor:
    # Most rays of a picture miss: their steps are not even tried.
    near, far = ray_box(origins, directions, space.posed.box)
    hit = (near < far).nonzero()[:, 0]
    jitter = torch.full_like(hit, 0.5, dtype=origins.dtype)
    found = march(origins[hit], directions[hit], jitter, space)
    roots = found.roots
    point = roots.point if len(roots.point) > len(found.t) else None
    volume, step = space.volume, space.settings.step
    sums, _ = shade(len(hit), found.ray, found.t, roots.x_canonical, point, field, volume, rule, step)
    return sums.new_zeros(len(origins), 8).index_copy(0, hit, sums)


def shade(
    num_rays: int,
    ray: Int[Tensor, " samples"],
    t: Float[Tensor, " samples"],
    x_canonical: Float[Tensor, "roots 3"],
    point: Int[Tensor, " roots"] | None,
    field: HashField,
    volume: SkinningVolume,
    rule: DensityRule,
    step: float,
    noise: float = 0.0,
) -> tuple[Float[Tensor, "rays 8"], Float[Tensor, " samples"]]:
    """Evaluates the field at roots of samples and composites them: sums along rays as in `render`, and weights.

    Args:
        ray, t: of the samples, grouped by ray; `num_rays` for padding, which is ignored.
        x_canonical: roots of the samples, at least one for each.
        point: the sample of each root; None if every sample has one.
        noise: standard deviation of noise on the raw density, in 1/m.
    """
    # Without gradient, one pass over the roots gives their colours too.
    learning = torch.is_grad_enabled()
    raw, seen = field.density(x_canonical) if learning else field.infer(x_canonical)
    if noise > 0:
        raw = raw + noise * torch.randn_like(raw)
    density = rule(raw, x_canonical, volume)
    if point is not None:  # Of several roots the densest one is seen.
        winner = densest_of_each(density.detach(), point, len(t))
        density, seen, x_canonical = density[winner], seen[winner], x_canonical[winner]
    colour = field.colour(seen) if learning else seen
    weights = rendering_weights(torch.where(ray < num_rays, density, 0.0), step, ray)
    unit = (x_canonical.detach() - field.centre) / (2 * field.half_size) + 0.5
    values = torch.cat([colour, torch.ones_like(t)[:, None], t[:, None], unit], -1)
    return accumulate_along_rays(weights, values, ray, num_rays + 1)[:-1], weights


def densest_of_each(
    density: Float[Tensor, " roots"], point: Int[Tensor, " roots"], points: int
) -> Int[Tensor, " points"]:
    """Row of the densest root of each point (the first of equals); any row for points without one (padding).

    Args:
        density: not negative.
        point: of each root.
    """
    best = density.new_zeros(points).scatter_reduce(0, point, density, "amax")
    row = torch.arange(len(point), device=point.device)
    row = torch.where(density < best[point], len(point), row)
    return point.new_full((points,), len(point) - 1).scatter_reduce(0, point, row, "amin")
