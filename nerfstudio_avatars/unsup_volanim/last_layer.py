"""Solves for the last layer of the second network of `part_detector upright`, at the end of a training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, motions_of
from nerfstudio_avatars.unsup_volanim.rehearsal import rehearse
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

_MOST, _AT_ONCE = 512, 32
"""Maximum numbers of training frames to look at: in all, and at the same time."""
_RENDERED = 0.5
"""Weight of a rendering, compared with that of a frame."""


@dataclass(frozen=True)
class _Known:
    """Pictures whose poses are known."""

    images: Float[Tensor, "frames 3 height width"]
    detected: PartPoses
    """Poses of the whole object (frames, 1) that keypoints give."""
    whole: PartPoses
    """The true ones."""
    parts: PartPoses
    """Poses of the parts (frames, parts)."""
    weight: float


@torch.no_grad()
def solve_last_layer(network: VolumetricAnimation, table: PartPoseTable, clips: Clips) -> None:
    """Fits the last layer, if there is one, to the poses in a table: least squares over frames and as many renderings.

    Steps of a gradient see few frames at a time, with poses of the whole object that were shaken at random. Here they
    have the errors that keypoints really make.
    """
    relative = network.relative
    if relative is None or not relative.config.solved or not bool(table.split):
        return
    with network.evaluating(), torch.random.fork_rng(devices=[]):
        # The same frames on every process.
        torch.manual_seed(0)
        known = _known_pictures(network, table, clips)
        if not known:
            return
        weights = torch.cat([one.images.new_full([len(one.images)], one.weight) for one in known])
        if relative.config.corrections:
            seen = torch.cat([relative.features(one.images, one.detected) for one in known])
            away = torch.cat([_away(one.detected, one.whole) for one in known])
            relative.solve(seen, away, weights, of_whole=True)
        # Parts are seen in pictures that the corrected pose of the whole sets upright.
        seen = torch.cat([relative.features(one.images, relative.corrected(one.images, one.detected)) for one in known])
        within = [motions_of(one.whole.inverse().after(one.parts), relative.pivots) for one in known]
        relative.solve(seen, torch.cat([torch.cat(motion, -1) for motion in within]), weights, of_whole=False)


def _known_pictures(network: VolumetricAnimation, table: PartPoseTable, clips: Clips) -> list[_Known]:
    device, visited = table.rotation.device, table.visited_rows()
    first, rows = clips.first_rows(), clips.train_rows()
    rows = rows[torch.randperm(len(rows))[:_MOST]]
    known: list[_Known] = []

    def add(images: Tensor, whole: PartPoses, parts: PartPoses, weight: float) -> None:
        detected = network.poses_of(network.detect(images)).poses
        known.append(_Known(images, detected, whole, parts, weight))

    for clip in rows[:, 0].unique().tolist():
        pictures, places = [], []
        for frame in rows[rows[:, 0] == clip, 1].tolist():
            # What cannot be read is left out of training too.
            with suppress(DataError):
                pictures.append(clips.frame(clip, frame))
                places.append(int(first[clip]) + frame)
        cube = network.cubes(torch.tensor([clips.identity_of_clip[clip]], device=device))
        for start in range(0, len(places), _AT_ONCE):
            here = torch.tensor(places[start : start + _AT_ONCE], device=device)
            images = torch.stack(pictures[start : start + _AT_ONCE]).to(device).permute(0, 3, 1, 2)
            add(images, table.whole(here), table.parts(here), 1.0)
            if network.config.relative.rehearsal and len(visited):
                drawn = rehearse(network, cube, table, here, visited)
                add(drawn.images, drawn.whole, drawn.parts, _RENDERED)
    return known


def _away(detected: PartPoses, whole: PartPoses) -> Float[Tensor, "frames 1 6"]:
    """Turns (radians) and shifts (half pictures) from detected poses to true ones."""
    turn = matrix_to_axis_angle(whole.rotation @ detected.rotation.mT)
    return torch.cat([turn, whole.translation - detected.translation], -1)
