"""Fits poses of parts to pictures of an identity whose cube is known, from those that the detector finds."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize
from nerfstudio_avatars.unsup_volanim.losses.pixel_pyramid import pixel_pyramid_loss
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

_STEPS = PartPoseTableConfig(turn_rate=0.04, shift_rate=0.02, final_share=0.1)
_LEVELS = 3
_SIZE, _SIZE_IN_TRAINING = 64, 32
"""Sides in pixels to which pictures are shrunk: for a single clip, and for all of a training."""
_ROUNDS_IN_TRAINING = 10
_AT_ONCE = 16
"""Number of frames to fit at the same time."""


def fit_poses(
    network: VolumetricAnimation,
    cube: Float[Tensor, "channels n n n"],
    images: Float[Tensor, "frames 3 size size"],
    poses: PartPoses,
    rounds: int,
    size: int = _SIZE,
) -> PartPoses:
    """Moves the parts in each picture so that renderings look like it; the network is not changed.

    Args:
        cube: canonical voxels of who is seen.
        images: pictures from 0 to 1.
        poses: where to begin (frames, parts).
        rounds: number of steps to take along the gradient.
        size: side in pixels to which larger pictures are shrunk.
    """
    pieces = range(0, len(images), _AT_ONCE)
    cube = cube.detach().clone()
    with torch.inference_mode(False), torch.enable_grad(), network.evaluating():
        found = [
            _fit(network, cube, images[start : start + _AT_ONCE].clone(), poses[start : start + _AT_ONCE], rounds, size)
            for start in pieces
        ]
    return PartPoses(torch.cat([one.rotation for one in found]), torch.cat([one.translation for one in found]))


def refine_table(table: PartPoseTable, network: VolumetricAnimation, clips: Clips) -> None:
    """Fits the poses of all training frames in a table to whole pictures, with the network as it is.

    Steps of a training see a small part of each picture at a time, and so find motions of parts too small. Afterwards,
    the whole object is where its parts are on average.
    """
    first = clips.first_rows()
    rows = clips.train_rows()
    fitted: dict[int, list[Tensor]] = defaultdict(list)
    middles: dict[int, tuple[Tensor, Tensor]] = {}
    for clip in rows[:, 0].unique().tolist():
        pictures, known = [], []
        for frame in rows[rows[:, 0] == clip, 1].tolist():
            # What cannot be read is left out of training too.
            with suppress(DataError):
                pictures.append(clips.frame(clip, frame))
                known.append(int(first[clip]) + frame)
        if not known:
            continue
        device = table.rotation.device
        places = torch.tensor(known, device=device)
        identity = clips.identity_of_clip[clip]
        with torch.no_grad(), network.evaluating():
            cube = network.cubes(torch.tensor([identity], device=device))[0]
        images = torch.stack(pictures).to(device).permute(0, 3, 1, 2)
        found = fit_poses(network, cube, images, table.parts(places), _ROUNDS_IN_TRAINING, _SIZE_IN_TRAINING)
        table.place(places, found)
        fitted[identity].append(places)
        middles[identity] = part_middles(cube[None], network.scene * network.config.render.enlarge)
    if not bool(table.split):
        return
    for identity, groups in fitted.items():
        table.recentre(torch.cat(groups), *middles[identity])


def _fit(
    network: VolumetricAnimation, cube: Tensor, images: Tensor, poses: PartPoses, rounds: int, size: int
) -> PartPoses:
    size = min(size, images.shape[-1])
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
