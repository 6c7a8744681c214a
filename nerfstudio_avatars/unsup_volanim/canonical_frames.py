"""Brings the canonical frames of all identities together: everybody looks the same way, from as far, on average."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable
from nerfstudio_avatars.unsup_volanim.part_seeds import voxel_places
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE

_BACKGROUND = 3
"""Number of slices at the far end of a cube that are left where they are: a slab of them is the background."""


@torch.no_grad()
def align_identities(network: VolumetricAnimation, table: PartPoseTable, clips: Clips) -> None:
    """Turns and scales the cube of each identity, and its poses in a table against that; pictures stay as they are.

    Pictures of one identity say nothing about where its canonical frame lies, nor whether it is small or far away. So
    frames of different identities end up degrees apart, and poses do not fit anybody else. Afterwards, the mean
    rotation of the whole object, and its mean distance, are the same for everybody.

    Raises:
        ValueError: if identities have no volumes of their own that can be changed.
    """
    rows = _rows_of_identities(clips)
    whole = {identity: table.whole(own.to(table.rotation.device)) for identity, own in rows.items()}
    rotations = torch.stack([_nearest(one.rotation.mean((0, 1))) for one in whole.values()])
    depths = torch.stack([one.translation[..., 2].mean() for one in whole.values()])
    turns = rotations.mT @ _nearest(rotations.mean(0))
    scales = (DISTANCE + depths.mean()) / (DISTANCE + depths)
    extents = network.scene * network.config.render.enlarge
    camera = torch.tensor([0.0, 0.0, DISTANCE], device=depths.device)
    for (identity, own), turn, scale in zip(rows.items(), turns, scales, strict=True):
        table.rotation[own] = table.rotation[own] @ turn
        table.translation[own] = scale * (table.translation[own] + camera) - camera
        network.replace_volume(identity, partial(moved_volume, turn=turn, scale=float(scale), extents=extents))


def moved_volume(
    volume: Float[Tensor, "4 n n n"], turn: Float[Tensor, "3 3"], scale: float, extents: Float[Tensor, "3"]
) -> Float[Tensor, "4 n n n"]:
    """Colours and density after an object is turned back and scaled: what is at x then was at turn x / scale.

    Args:
        volume: RGB, and density before activation.
        extents: half extents of the cube (x, y, z).
    """
    places = (voxel_places(volume.shape[-1], volume.device) * extents) @ turn.mT / (scale * extents)
    kept = volume.clone()
    # The background is no part of the object, wherever it is turned to.
    kept[3, -_BACKGROUND:] = kept[3, -_BACKGROUND:].clamp(max=0)
    moved = F.grid_sample(kept[None], places[None], align_corners=True, padding_mode="border")[0]
    moved[:, -_BACKGROUND:] = volume[:, -_BACKGROUND:]
    return moved


def _rows_of_identities(clips: Clips) -> dict[int, Tensor]:
    """Numbers of the training frames of each identity."""
    first, rows = clips.first_rows(), defaultdict(list)
    for clip, frame in clips.train_rows().tolist():
        rows[clips.identity_of_clip[clip]].append(int(first[clip]) + frame)
    return {identity: torch.tensor(own) for identity, own in sorted(rows.items())}


def _nearest(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The nearest rotation."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right
