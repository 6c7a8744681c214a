"""Which axis of a motion's file points up, by the body itself.

Files say it nowhere, and the names of their fields mislead: results of trackers, y up, are saved with AMASS's names, z
up. Upright, the torso points up and the feet hang below the hips; and whatever a body does on a floor, walk, crawl or
turn cartwheels, its lowest part stands still while the rest moves. The format's axis breaks ties.
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
"""Weight of a lowest part that stands still against an upright body (torso and legs, two at most)."""
_CLEAR, _VERY_CLEAR = 0.4, 3.0
"""By how much another axis must be better than the format's: one that names suggest, one that a tool always writes.
The second takes a body on its head; who lies down in the right frame is no more than two behind."""
_SLOW = 0.3
"""Metres a second below which a body hardly moves: what stands still then says nothing."""
ALWAYS = "up axis "
"""How every note of `find_up` begins."""


def find_up(sequence: BodySequence, given: Up, sure: bool) -> tuple[Up, Literal["body", "format"], str]:
    """The axis that points up, what told it, and a note.

    Args:
        sequence: in the file's frame.
        given: the axis that the format suggests.
        sure: the format's tool writes no other.
    """
    scores = evidence(sequence, 0.0 if sure else _SUPPORT)
    best, second = sorted(scores, key=lambda axis: -scores[axis])[:2]
    if best != given and scores[best] - scores[given] > (_VERY_CLEAR if sure else _CLEAR):
        note = f"{ALWAYS}{best}, as the body stands and moves, not {given} as in other files of the kind"
        return best, "body", f"{note}: give --up {given} if that is wrong"
    if best == given and scores[best] - scores[second] > _CLEAR:
        return given, "body", f"{ALWAYS}{given}, as the body stands and moves"
    return given, "format", f"{ALWAYS}{given}, the format's: the body does not tell; give --up if that is wrong"


def evidence(sequence: BodySequence, support: float) -> dict[Up, float]:
    """For each axis: the torso's part along it (-1..1), the feet's place below the hips (-1..1), and whether what is
    lowest stands still (0..`support`)."""
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
    """1 where the lowest joint stands still between frames while the body moves, 0 where it moves along."""
    if not len(velocities):
        return 0.0
    lowest = heights[:-1].argmin(1)
    slip = velocities[torch.arange(len(lowest)), lowest].norm(dim=-1).median()
    speed = velocities.mean(1).norm(dim=-1).median().clamp(min=_SLOW)
    return float(1 - (slip / speed).clamp(0, 1))
