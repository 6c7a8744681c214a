"""Finds poses of single parts by trial, beside their gradient (part of `unsup-volanim`'s articulation)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, motions_of
from nerfstudio_avatars.unsup_volanim.pose_trials import render_trials
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

_ALWAYS = 3
"""Poses that are always among the trials: the one there is, the one beside, and no motion."""
_LEAST = 0.005
"""Share of the object below which a part is not searched for."""


@dataclass
class PartSearchConfig:
    """Options of the search for poses of parts, which helps where they move far."""

    trials: int = 0
    """Number of poses to compare at each visit of a frame, for one of its parts, 3 or more; 0 leaves the search out."""
    size: int = 32
    """Side length in pixels of the pictures that are compared."""
    samples: int = 12
    """Number of samples to take along each ray of the pictures that are compared."""
    turn_spread: float = 0.35
    """Standard deviation of tried rotations about each axis, in radians."""
    shift_spread: float = 0.08
    """Standard deviation of tried translations along each axis, in half pictures."""
    pivot_spread: float = 0.0
    """Standard deviation of the points that tried rotations turn about, around the part's middle; in half pictures."""
    last_spread: float = 0.15
    """Share of the initial standard deviations that is left at the end of the search."""
    mask_weight: float = 0.1
    """Weight of the accumulation's error, compared with that of the colours."""
    stillness: float = 0.0005
    """Weight of the square of the distance of a pose from that of the whole, which decides where pictures do not."""

    def check(self, has_table: bool) -> None:
        """Checks that there is a search where one is asked for.

        Args:
            has_table: whether poses of parts are in a table.

        Raises:
            UserError: if there is no table, or too few trials for the poses that are always among them.
        """
        if self.trials and not has_table:
            raise UserError("part-search.trials searches in a table: use schedule.articulation table.")
        if 0 < self.trials < _ALWAYS:
            raise UserError(f"part-search.trials {self.trials}: expected 0, or {_ALWAYS} or more.")


@torch.no_grad()
def search_parts(
    table: PartPoseTable,
    config: PartSearchConfig,
    network: VolumetricAnimation,
    cubes: Float[Tensor, "identities channels n n n"],
    images: Float[Tensor, "frames 3 size size"],
    masks: Float[Tensor, "frames 1 size size"] | None,
    rows: Int[Tensor, " frames"],
    middles: Float[Tensor, "parts 3"],
    shares: Float[Tensor, " parts"],
    progress: float,
) -> None:
    """Tries poses of one part of each frame, and leaves the best in the table.

    They are the one that is there, how the part moves against the whole in the frame before or after, no such motion,
    and some near the first.

    Args:
        rows: numbers of the frames, in which frames of a clip are consecutive.
        middles: canonical points that the parts turn about.
        shares: of the parts in the object.
        progress: share of the search that has passed, 0 to 1.
    """
    frames, count, device = len(rows), config.trials, rows.device
    part = torch.multinomial((shares > _LEAST).float() + 1e-9, frames, replacement=True)
    each = torch.arange(frames, device=device), part
    whole, poses = table.whole(rows), table.parts(rows)
    beside = (rows + torch.randint(0, 2, rows.shape, device=device) * 2 - 1).clamp(0, len(table.rotation) - 1)
    elsewhere = whole.after(table.whole(beside).inverse().after(table.parts(beside)))
    kept = PartPoses(*(one[each][:, None] for one in (poses.rotation, poses.translation)))
    spread = (1 + (config.last_spread - 1) * progress) * torch.rand(frames, count, 1, device=device)
    spread[:, 0] = 0
    near = PartPoses(kept.rotation.expand(-1, count, -1, -1), kept.translation.expand(-1, count, -1)).moved_within(
        config.turn_spread * spread * torch.randn(frames, count, 3, device=device),
        config.shift_spread * spread * torch.randn(frames, count, 3, device=device),
        # Limbs turn about a joint, which is not in their middle.
        middles[part][:, None] + config.pivot_spread * torch.randn(frames, count, 3, device=device),
    )
    rotation, translation = near.rotation.clone(), near.translation.clone()
    rotation[:, 1], translation[:, 1] = elsewhere.rotation[each], elsewhere.translation[each]
    rotation[:, 2], translation[:, 2] = whole.rotation[:, 0], whole.translation[:, 0]
    tried = PartPoses(rotation, translation)
    small = replace(network.config.render, samples=config.samples)
    rgb, opaque = render_trials(cubes, poses, part, tried, standard_rays(config.size, device), small)
    target = antialiased_resize(images, config.size).flatten(2).mT
    score = (rgb - target[:, None]).abs().mean((2, 3))
    if masks is not None:
        true = antialiased_resize(masks, config.size).flatten(1)
        score = score + config.mask_weight * (opaque - true[:, None]).abs().mean(2)
    score = score + config.stillness * _size_of_motion(whole, tried, middles[part][:, None])
    best = torch.arange(frames, device=device), score.argmin(1)
    poses.rotation[each], poses.translation[each] = rotation[best], translation[best]
    table.place(rows, poses)


def _size_of_motion(
    whole: PartPoses, tried: PartPoses, pivots: Float[Tensor, "frames 1 3"]
) -> Float[Tensor, "frames trials"]:
    """Squares of turns (radians) against the whole, and four times those of shifts (half pictures)."""
    turn, moved = motions_of(whole.inverse().after(tried), pivots)
    return turn.square().sum(-1) + 4 * moved.square().sum(-1)
