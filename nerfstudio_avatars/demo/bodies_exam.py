"""Measures a trained `unsup-volanim` on toy upper bodies, whose poses, depth and parts are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from nerfstudio_avatars.demo.body_clips import BodyTruth, read_body_truth
from nerfstudio_avatars.demo.toy_exam import ToyExam
from nerfstudio_avatars.demo.upper_bodies import PARTS
from nerfstudio_avatars.metrics.geometry import turn_agreement

if TYPE_CHECKING:
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

_HEAD = PARTS.index("head")
_UPPER = [number for number, name in enumerate(PARTS) if name.endswith("upper arm")]
_LOWER = [number for number, name in enumerate(PARTS) if name.endswith("lower arm")]


class BodyExam(ToyExam[BodyTruth]):
    """Compares the model with toy upper bodies on held-out frames; for its arguments, see `ToyExam`."""

    def __init__(
        self,
        model: UnsupVolanimModel,
        data: Path,
        rows: Int[Tensor, "rows 2"],
        true_poses: bool = False,
        fit_rounds: int = 0,
    ) -> None:
        super().__init__(model, data, rows, read_body_truth, true_poses, fit_rounds)

    def figures(self) -> dict[str, Any]:
        """All figures (see docs/unsup-volanim.md); NaN if there are too few frames or bodies.

        `turn_corrs` and `turn_slopes` have an entry for each part but the torso, against which the others move.
        """
        return self.motions() | self._new_views()

    def motions(self) -> dict[str, Any]:
        """The same without new views."""
        found = self._reconstruction() | self._poses()
        return found | self._limbs() | self._others_poses("arms", [*_UPPER, *_LOWER])

    def _limbs(self) -> dict[str, Any]:
        identity = self._identities()
        true = torch.stack([torch.from_numpy(self.truth[clip].turns[frame]).float() for clip, frame in self.rows])
        agreement = {
            name: turn_agreement(*self._turns(number, true[:, number]), identity)
            for number, name in enumerate(PARTS)
            if number
        }
        return {
            "upper_arms_iou": _mean_of(self.part_iou, _UPPER),
            "lower_arms_iou": _mean_of(self.part_iou, _LOWER),
            "head_iou": self.part_iou[_HEAD],
            "turn_corrs": {name: correlation for name, (correlation, _) in agreement.items()},
            "turn_slopes": {name: slope for name, (_, slope) in agreement.items()},
        }


def _mean_of(values: list[float], places: list[int]) -> float:
    return sum(values[place] for place in places) / len(places)
