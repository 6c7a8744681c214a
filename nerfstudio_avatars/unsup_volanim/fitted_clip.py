"""Poses in clips of the data, fitted to who is seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from nerfstudio_avatars.unsup_volanim.pose_fitting import fit_poses
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

if TYPE_CHECKING:
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel


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
