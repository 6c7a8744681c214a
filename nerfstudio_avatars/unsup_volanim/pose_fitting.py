"""Fits poses of parts to pictures of an identity whose cube is known, from those that the detector finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize
from nerfstudio_avatars.unsup_volanim.losses.pixel_pyramid import pixel_pyramid_loss
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

if TYPE_CHECKING:
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

_STEPS = PartPoseTableConfig(turn_rate=0.04, shift_rate=0.02, final_share=0.1)
_LEVELS = 3
_SIZE = 64
"""Side in pixels to which pictures are shrunk."""
_AT_ONCE = 16
"""Number of frames to fit at the same time."""


def fit_poses(
    network: VolumetricAnimation,
    cube: Float[Tensor, "channels n n n"],
    images: Float[Tensor, "frames 3 size size"],
    poses: PartPoses,
    rounds: int,
) -> PartPoses:
    """Moves the parts in each picture so that renderings look like it; the network is not changed.

    Args:
        cube: canonical voxels of who is seen.
        images: pictures from 0 to 1.
        poses: where to begin (frames, parts).
        rounds: number of steps to take along the gradient.
    """
    pieces = range(0, len(images), _AT_ONCE)
    cube = cube.detach().clone()
    with torch.inference_mode(False), torch.enable_grad(), network.evaluating():
        found = [
            _fit(network, cube, images[start : start + _AT_ONCE].clone(), poses[start : start + _AT_ONCE], rounds)
            for start in pieces
        ]
    return PartPoses(torch.cat([one.rotation for one in found]), torch.cat([one.translation for one in found]))


def fit_clip(model: UnsupVolanimModel, clip: int, frames: Sequence[int], rounds: int) -> list[PartPoses]:
    """Poses (1, parts) in frames of a clip of the data: the detector's, fitted to who is seen there.

    Args:
        model: trained.
        clip: number of the clip.
        frames: numbers of the frames.
        rounds: as in `fit_poses`; 0 leaves the poses as the detector finds them.
    """
    found = [model.driving_pose(clip, frame) for frame in frames]
    if not rounds:
        return found
    images = torch.stack([model.clips.frame(clip, frame) for frame in frames]).to(model.device).permute(0, 3, 1, 2)
    poses = PartPoses(torch.cat([one.rotation for one in found]), torch.cat([one.translation for one in found]))
    fitted = fit_poses(model.network, model.cube_of_clip(clip), images, poses, rounds)
    return [fitted[place : place + 1] for place in range(len(found))]


def _fit(network: VolumetricAnimation, cube: Tensor, images: Tensor, poses: PartPoses, rounds: int) -> PartPoses:
    size = min(_SIZE, images.shape[-1])
    target = antialiased_resize(images, size).permute(0, 2, 3, 1)
    rays, rows = standard_rays(size, images.device), torch.arange(len(images), device=images.device)
    middles = part_middles(cube[None], network.scene * network.config.render.enlarge)[0]
    table = PartPoseTable.holding(poses, _STEPS)
    for done in range(rounds):
        moved = table.learning(rows, middles, done / rounds)
        seen = network.render(cube[None], moved, rays).rgb.unflatten(1, (size, size))
        # The sum over frames, because each has steps of its own.
        (len(images) * pixel_pyramid_loss(seen, target, _LEVELS)).backward()
    return table.parts(rows)
