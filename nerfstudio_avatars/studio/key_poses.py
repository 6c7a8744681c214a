"""Poses one after the other, as a motion: each is held for a moment, and the body eases from one into the next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence

FPS = 30.0
"""Frames per second of the motion."""


@dataclass(frozen=True)
class KeyPose:
    """A pose, and the time that the body takes to get there from the one before."""

    state: BodyState
    seconds: float


def motion_of(keys: list[KeyPose], like: BodySequence, closed: bool = False) -> BodySequence:
    """The motion through key poses, which starts and ends each way slowly.

    Args:
        keys: at least one; the time to the first counts only if the motion is closed.
        like: a motion of the same person, which says whose body moves.
        closed: whether the last pose leads back to the first one.

    >>> from nerfstudio_avatars.motion import load_motion
    >>> walk = load_motion("walk")
    >>> motion = motion_of([KeyPose(walk[0], 1.0), KeyPose(walk[20], 0.5), KeyPose(walk[10], 1.0)], walk)
    >>> len(motion), round(motion.fps)
    (46, 30)
    """
    states = [keys[0].state]
    ways = [*zip(keys, keys[1:], strict=False), *([(keys[-1], keys[0])] if closed else [])]
    for before, after in ways:
        count = max(round(after.seconds * FPS), 1)
        states += [before.state.towards(after.state, _eased((step + 1) / count)) for step in range(count)]
    return replace(
        like,
        global_orient=torch.stack([state.global_orient for state in states]),
        body_pose=torch.stack([state.body_pose for state in states]),
        transl=torch.stack([state.transl for state in states]),
        fps=FPS,
    )


def _eased(share: float) -> float:
    """From 0 to 1, slowly at both ends."""
    return share * share * (3 - 2 * share)
