"""Measures how far mouths and eyes are open in landmarks of faces, and how well one face follows another in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.metrics.face_landmarks import EYES_OUTER

Landmarks = Float[Tensor, "frames 468 3"]

_LIPS = (13, 14)
"""Inner middle of the upper and of the lower lip."""
_EYELIDS = ((159, 145), (386, 374))
"""Middles of the upper and of the lower lid, of either eye."""
_LEAST_FRAMES = 5


def mouth_opening(landmarks: Landmarks) -> Float[Tensor, " frames"]:
    """Distance of the lips over that of the outer corners of the eyes, both in the picture; NaN without a face."""
    return _apart(landmarks, _LIPS) / _apart(landmarks, EYES_OUTER)


def eye_opening(landmarks: Landmarks) -> Float[Tensor, " frames"]:
    """Mean distance of the lids over that of the outer corners of the eyes, both in the picture; NaN without a face."""
    lids = torch.stack([_apart(landmarks, pair) for pair in _EYELIDS]).mean(0)
    return lids / _apart(landmarks, EYES_OUTER)


@dataclass(frozen=True)
class Following:
    """How the values of one face follow those of another over the frames of a clip."""

    correlation: float
    """Pearson's; 0 for a face that does not change, NaN where too few frames have both."""
    slope: float
    """Of ours on theirs, least squares: 0 is still, 1 moves as far."""
    frames: int
    """Frames that have both."""


def following(ours: Float[Tensor, " frames"], theirs: Float[Tensor, " frames"]) -> Following:
    """Correlation and slope over frames that have both values; others are NaN."""
    both = ours.isfinite() & theirs.isfinite()
    count = int(both.sum())
    if count < _LEAST_FRAMES:
        return Following(torch.nan, torch.nan, count)
    x, y = (one[both].double() - one[both].double().mean() for one in (theirs, ours))
    product, square, own = float((x * y).sum()), float(x.square().sum()), float(y.square().sum())
    if not square:
        return Following(torch.nan, torch.nan, count)
    return Following(product / (square * own) ** 0.5 if own else 0.0, product / square, count)


def _apart(landmarks: Landmarks, pair: tuple[int, int]) -> Float[Tensor, " frames"]:
    return (landmarks[:, pair[0], :2] - landmarks[:, pair[1], :2]).norm(dim=-1)
