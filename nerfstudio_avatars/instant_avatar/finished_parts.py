"""What a checkpoint keeps of a finished avatar, besides its weights, so that opening it takes less time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.person import Person


@dataclass(frozen=True)
class FinishedParts:
    """Parts that need not be computed again when a finished avatar is opened."""

    volume: SkinningVolume | None
    """None for SMPL, whose weights lie in no checkpoint: it is computed again."""
    jumping_frames: list[int]
    """Training frames whose pose jumps."""
    person: Person
    """The person that the parts belong to."""

    def fit(self, person: Person) -> bool:
        """Whether they belong to this person: the data may have been changed since."""
        ours, theirs = self.person, person
        same_body = (ours.body.name, ours.body.gender) == (theirs.body.name, theirs.body.gender)
        return same_body and torch.equal(ours.motion.betas, theirs.motion.betas)
