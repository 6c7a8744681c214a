"""Pictures for each of some poses of one part, for searches."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import (
    SceneRays,
    VoxelRenderConfig,
    before_slab,
    half_extents,
    is_fused,
    render_voxels,
)


@torch.no_grad()
def render_trials(
    cubes: Float[Tensor, "identities channels n n n"],
    poses: PartPoses,
    part: Int[Tensor, " frames"],
    tried: PartPoses,
    rays: SceneRays,
    config: VoxelRenderConfig,
) -> tuple[Float[Tensor, "frames trials rays 3"], Float[Tensor, "frames trials rays"]]:
    """Colours and accumulation for each tried pose of one part of each frame.

    The fused twin reads the other parts once, so that K trials of P parts cost K + P - 1 parts instead of K P.

    Args:
        cubes: part logits, RGB, density before activation; frames are grouped by identity.
        poses: of all parts (frames, parts).
        part: number of the part that is tried in each frame.
        tried: its poses (frames, trials).
    """
    trials = tried.rotation.shape[1]
    if not is_fused(cubes, config):
        rotation = poses.rotation.repeat_interleave(trials, 0)
        translation = poses.translation.repeat_interleave(trials, 0)
        each = torch.arange(len(rotation), device=part.device), part.repeat_interleave(trials)
        rotation[each], translation[each] = tried.rotation.flatten(0, 1), tried.translation.flatten(0, 1)
        seen = render_voxels(cubes, PartPoses(rotation, translation), rays, config)
        return seen.rgb.unflatten(0, (-1, trials)), seen.accumulation.unflatten(0, (-1, trials))
    from nerfstudio_avatars.unsup_volanim._numba_composition import padded_volumes
    from nerfstudio_avatars.unsup_volanim._numba_trials import draw_trials

    share = (rays.far - rays.near) / config.samples
    extents = half_extents(config.enlarge, cubes.device)
    rgb, accumulation = draw_trials(
        padded_volumes(cubes),
        poses.rotation,
        poses.translation,
        part,
        tried.rotation,
        tried.translation,
        rays.origins,
        rays.directions,
        rays.near + (torch.arange(config.samples) + 0.5) * share,
        share * rays.directions.norm(dim=-1),
        extents,
    )
    over = before_slab(rgb.flatten(0, 1), accumulation.flatten(0, 1), cubes, rays, config, extents)
    return over.unflatten(0, (-1, trials)), accumulation
