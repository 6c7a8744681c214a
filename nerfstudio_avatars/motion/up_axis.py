"""Finds the upward axis of a motion file by the body itself.

Files do not say it, and the names of their fields mislead: results of trackers, which are y-up, are saved with the
names of AMASS, which is z-up. When a body stands upright, its torso points up and its feet are below its hips; and
whatever it does on a floor, walk, crawl or turn cartwheels, its lowest part stands still while the rest moves. The axis
of the format breaks ties.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.motion.choices import Up
from nerfstudio_avatars.motion.forward_kinematics import posed_joints

AXES: dict[Up, tuple[float, float, float]] = {"y": (0, 1, 0), "z": (0, 0, 1), "-y": (0, -1, 0)}
_SUPPORT = 4.0
"""Weight of a lowest part that stands still; an upright body (torso and legs) weighs two at most."""
_CLEAR, _VERY_CLEAR = 0.4, 3.0
"""How much better another axis must be than that of the format, if names suggest it, and if a tool always writes it.
Only a body that stands on its head reaches the second; one that lies down in the right frame is at most two behind."""
_SLOW = 0.3
"""Speed in metres per second below which a body hardly moves, so that parts that stand still mean nothing."""
ALWAYS = "up axis "
"""Beginning of every note of `find_up`."""


def find_up(sequence: BodySequence, given: Up, sure: bool) -> tuple[Up, Literal["body", "format"], str]:
    """Finds the axis that points up, and returns it with what it was found by, and a note.

    Args:
        sequence: the motion, in the frame of the file.
        given: the axis that the format suggests.
        sure: whether the tool that writes the format uses no other axis.
    """
    scores = _evidence(sequence, 0.0 if sure else _SUPPORT)
    best, second = sorted(scores, key=lambda axis: -scores[axis])[:2]
    if best != given and scores[best] - scores[given] > (_VERY_CLEAR if sure else _CLEAR):
        note = f"{ALWAYS}{best}, as the body stands and moves, not {given} as in other files of the kind"
        return best, "body", f"{note}: give --up {given} if that is wrong"
    if best == given and scores[best] - scores[second] > _CLEAR:
        return given, "body", f"{ALWAYS}{given}, as the body stands and moves"
    return given, "format", f"{ALWAYS}{given}, the format's: the body does not tell; give --up if that is wrong"


def _evidence(sequence: BodySequence, support: float) -> dict[Up, float]:
    """For each axis, the sum of the torso's share along it (-1 to 1), how far the feet are below the hips (-1 to 1),
    and whether the lowest part stands still (0 to `support`)."""
    joints = posed_joints(sequence).double()
    hips = (joints[:, 1] + joints[:, 2]) / 2
    torso = F.normalize(joints[:, 12] - hips, dim=-1)
    leg = (joints[:, [1, 2]] - joints[:, [4, 5]]).norm(dim=-1) + (joints[:, [4, 5]] - joints[:, [7, 8]]).norm(dim=-1)
    legs = (hips - joints[:, [7, 8]].mean(1)) / leg.mean(1, keepdim=True)
    velocities = joints.diff(dim=0) * sequence.fps
    scores: dict[Up, float] = {}
    for axis, direction in AXES.items():
        up = torch.tensor(direction, dtype=torch.float64)
        scores[axis] = float((torso @ up).mean() + (legs @ up).mean()) + support * _support(joints @ up, velocities)
    return scores


def _support(heights: Float[Tensor, "frames 24"], velocities: Float[Tensor, "steps 24 3"]) -> float:
    """1 if the lowest joint stands still between frames while the body moves, 0 if it moves along."""
    if not len(velocities):
        return 0.0
    lowest = heights[:-1].argmin(1)
    slip = velocities[torch.arange(len(lowest)), lowest].norm(dim=-1).median()
    speed = velocities.mean(1).norm(dim=-1).median().clamp(min=_SLOW)
    return float(1 - (slip / speed).clamp(0, 1))
