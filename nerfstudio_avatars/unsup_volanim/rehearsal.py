"""Pictures of known identities in motions that others were seen in: their poses are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

_SIZE, _SAMPLES = 40, 12
"""Side of the pictures in pixels, and samples along each of their rays."""
_SPREAD, _SHIFT = 0.1, 0.3
"""Standard deviation of further turns of the parts in radians, and that of shifts in half pictures over it."""


@dataclass(frozen=True)
class Rehearsal:
    """Renderings to learn poses from."""

    images: Float[Tensor, "frames 3 size size"]
    whole: PartPoses
    """Poses of the whole object (frames, 1)."""
    parts: PartPoses
    """Poses of the parts (frames, parts)."""


@torch.no_grad()
def rehearse(
    network: VolumetricAnimation,
    cubes: Float[Tensor, "identities channels n n n"],
    table: PartPoseTable,
    rows: Int[Tensor, " frames"],
    known: Int[Tensor, " known"],
) -> Rehearsal:
    """Draws frames again, with the parts moved as in other frames of any identity.

    A table is learnt from pictures, so its errors are noise to whoever learns from it: all motions are found too small.
    Renderings have no such errors, and show every identity in the motions of all others.

    Args:
        network: whose renderer draws.
        cubes: of the identities in the batch, in the order of the frames.
        table: where poses of whole objects and motions of parts are taken from.
        rows: numbers of the frames in the table, grouped by identity.
        known: numbers of the frames to take poses from.
    """
    others, elsewhere = (known[torch.randint(len(known), rows.shape, device=rows.device)] for _ in range(2))
    whole = table.whole(elsewhere)
    within = table.whole(others).inverse().after(table.parts(others))
    middles = part_middles(cubes, network.scene * network.config.render.enlarge)[0]
    more = _SPREAD * torch.randn(*within.translation.shape[:2], 6, device=rows.device)
    more = more * torch.rand(len(rows), 1, 1, device=rows.device)
    parts = whole.after(within).moved_within(more[..., :3], more[..., 3:] * _SHIFT, middles)
    seen = network.render(cubes, parts, standard_rays(_SIZE, rows.device), _SAMPLES)
    return Rehearsal(seen.rgb.mT.unflatten(2, (_SIZE, _SIZE)), whole, parts)
