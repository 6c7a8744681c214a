"""Solves for the last layer of the second network of `part_detector upright`, at the end of a training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.lessons import Lessons
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, motions_of
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

_MOST, _AT_ONCE = 512, 32
"""Maximum numbers of training frames to look at: in all, and at the same time."""
_RENDERED = 0.5
"""Weight of a rendering, compared with that of a frame."""


@torch.no_grad()
def solve_last_layer(network: VolumetricAnimation, table: PartPoseTable, clips: Clips) -> None:
    """Fits the last layer, if there is one, to the poses in a table: least squares over frames and as many renderings.

    Steps of a gradient see few frames at a time, with poses of the whole object that were shaken at random. Here they
    have the errors that keypoints really make.
    """
    relative = network.relative
    if relative is None or not relative.config.solved or not bool(table.split):
        return
    with network.evaluating():
        lessons = Lessons.collect(network, table, clips, _MOST, 1)
        if lessons is None:
            return
        known = [lessons.frames] + ([] if lessons.renderings is None else [lessons.renderings])
        weights = torch.cat(
            [one.images.new_full([len(one)], w) for one, w in zip(known, (1.0, _RENDERED), strict=False)]
        )
        # Pictures of one size, a few at a time.
        pieces = [one[start : start + _AT_ONCE] for one in known for start in range(0, len(one), _AT_ONCE)]
        found = [network.poses_of(network.detect(one.images)).poses for one in pieces]
        if relative.config.corrections:
            seen = torch.cat([relative.features(one.images, f) for one, f in zip(pieces, found, strict=True)])
            away = torch.cat([_away(f, one.whole) for one, f in zip(pieces, found, strict=True)])
            relative.solve(seen, away, weights, of_whole=True)
            # Parts are seen in pictures that the corrected pose of the whole sets upright.
            found = [relative.corrected(one.images, f) for one, f in zip(pieces, found, strict=True)]
        seen = torch.cat([relative.features(one.images, f) for one, f in zip(pieces, found, strict=True)])
        within = [motions_of(one.whole.inverse().after(one.parts), relative.pivots) for one in pieces]
        relative.solve(seen, torch.cat([torch.cat(motion, -1) for motion in within]), weights, of_whole=False)


def _away(detected: PartPoses, whole: PartPoses) -> Float[Tensor, "frames 1 6"]:
    """Turns (radians) and shifts (half pictures) from detected poses to true ones."""
    turn = matrix_to_axis_angle(whole.rotation @ detected.rotation.mT)
    return torch.cat([turn, whole.translation - detected.translation], -1)
