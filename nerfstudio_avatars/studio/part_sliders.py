"""Moves parts by hand: each along the way that it goes most in the first clip, such as a jaw that opens."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
from nerfstudio_avatars.unsup_volanim.root_pose import PartPlaces, part_places
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

MOST = 4.0
"""Farthest that a slider moves a part, in standard deviations of its own motion."""
_FRAMES = 48
"""Number of frames of the clip that are looked at, evenly spread."""


class PartMoves:
    """How far each part is moved, beyond what the clip does.

    Args:
        model: whose parts.
    """

    def __init__(self, model: UnsupVolanimModel) -> None:
        self._model = model
        self.amounts: dict[int, float] = {}
        """By part, in standard deviations; parts that are not there are not moved."""
        self._ways: tuple[PartPlaces, Tensor] | None = None

    def learnt(self) -> None:
        """The model has changed."""
        self._ways = None

    def applied(self, poses: PartPoses) -> PartPoses:
        """Poses (1, parts) with the parts moved."""
        amounts = {part: amount for part, amount in self.amounts.items() if amount and part < poses.rotation.shape[1]}
        if not amounts:
            return poses
        if self._ways is None:
            self._ways = self._found()
        places, ways = self._ways
        moves = torch.zeros_like(ways)
        for part, amount in amounts.items():
            moves[part] = amount * ways[part]
        moves, middles = moves.to(poses.translation), places.middles.to(poses.translation)
        return poses.moved_within(moves[None, :, :3], moves[None, :, 3:], middles)

    def _found(self) -> tuple[PartPlaces, Float[Tensor, "parts 6"]]:
        """Where the parts are, and for each the turn (radians) and shift (half pictures) of a standard deviation."""
        places = part_places(self._model.network)
        count = self._model.clips.table[0].frames
        frames = sorted({round(place * (count - 1) / (_FRAMES - 1)) for place in range(_FRAMES)})
        every = [self._model.driving_pose(0, frame).to("cpu") for frame in frames]
        poses = PartPoses(torch.cat([one.rotation for one in every]), torch.cat([one.translation for one in every]))
        apart = places.root(poses).inverse().after(poses)
        turns = matrix_to_axis_angle(apart.rotation)
        shifts = (apart.rotation @ places.middles[..., None])[..., 0] + apart.translation - places.middles
        motion = torch.cat([turns, shifts], -1).transpose(0, 1)
        _, sizes, ways = torch.linalg.svd(motion - motion.mean(1, keepdim=True), full_matrices=False)
        way = ways[:, 0] * sizes[:, :1] / max(len(frames) - 1, 1) ** 0.5
        # Positive is where the motion goes farther from its mean.
        skewed = ((motion - motion.mean(1, keepdim=True)) @ way[..., None]).pow(3).sum((1, 2))
        return places, way * torch.where(skewed < 0, -1.0, 1.0)[:, None]
