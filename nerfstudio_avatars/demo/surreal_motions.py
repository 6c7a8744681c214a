"""Motions of the SURREAL demo: many poses for training, and other motions for testing."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.demo.person import DemoPerson
from nerfstudio_avatars.motion import load_motion, shipped_motions

POSES: tuple[dict[int, float], ...] = (
    {2: 0.15, 5: -0.15, 47: -0.9, 50: 0.9},
    {2: 0.3, 5: -0.3},
    {2: 0.1, 5: -0.1, 47: 0.9, 50: -0.9},
    {0: -0.6, 9: 0.5, 3: 0.4, 12: 0.4, 46: 0.5, 47: -1.2, 49: 0.6, 50: 1.2, 52: -0.7, 55: 0.7},
    {6: 0.6, 15: 0.3, 24: 0.2, 0: -0.4, 3: 0.1, 12: 0.7, 46: -0.8, 47: 0.2, 49: 0.9, 50: 0.8},
    {0: 0.4, 9: 0.4, 3: -0.6, 12: 0.5, 46: -0.6, 47: -1.2, 49: -0.5, 50: 1.2, 52: -0.7, 55: 0.7},
    {0: -1.0, 3: -1.0, 9: 1.5, 12: 1.5, 2: 0.2, 5: -0.2, 6: 0.4, 46: -1.2, 49: 1.2, 52: -0.3, 55: 0.3},
    {2: 0.5, 5: -0.5, 7: 0.6, 46: -0.5, 49: -0.5, 47: -0.3, 50: 0.5, 52: -1.2, 55: 0.4},
    {6: 0.3, 8: 0.4, 16: -0.4, 17: 0.2, 3: 0.5, 12: 0.6, 47: 0.5, 46: 0.4, 50: 0.2, 49: 0.6, 34: 0.4},
    {3: -1.1, 12: 1.2, 8: 0.2, 47: 0.3, 50: 0.7, 52: -0.5, 55: 1.5, 34: 0.5},
    {6: -0.2, 8: -0.4, 16: 0.4, 17: -0.2, 0: 0.5, 9: 0.6, 50: -0.5, 49: -0.4, 47: -0.2, 46: -0.6, 34: -0.4},
    {0: -1.1, 9: 1.2, 8: -0.2, 47: -0.7, 50: -0.3, 52: -1.5, 55: 0.5, 34: -0.5},
)
"""Body angles by their index of 69, radians: A, T, arms up, strides, bends, a squat, a twist, either knee raised."""
FEET = (7, 8, 10, 11)
TURNS = 2


def poses_on_a_turn(person: DemoPerson, frames: int) -> BodySequence:
    """All poses, blended one into the next, while the person turns twice; metres, z up, the pelvis above the origin."""
    keys = torch.zeros(len(POSES) + 1, 69)
    for row, angles in enumerate((*POSES, POSES[0])):
        for index, angle in angles.items():
            keys[row, index] = angle
    still = torch.zeros(len(keys), 3)
    flow = BodySequence(person.betas, still, keys, still, fps=1.0)
    body_pose = torch.stack([flow.at(frame / max(frames - 1, 1)).body_pose for frame in range(frames)])
    yaw = 2 * torch.pi * TURNS * torch.arange(frames) / frames
    zero = torch.zeros(frames)
    motion = BodySequence(person.betas, torch.stack([zero, yaw, zero], -1), body_pose, torch.zeros(frames, 3), fps=30.0)
    upright = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    return _in_place(person, motion.in_frame(upright, torch.zeros(3), _pelvis(person)))


def shipped(person: DemoPerson, name: str, frames: int) -> BodySequence:
    """A shipped motion in place, in a given number of frames; metres, z up."""
    motion = replace(load_motion(shipped_motions()[name], _pelvis(person)), betas=person.betas)
    states = [motion.at(frame / max(frames - 1, 1)) for frame in range(frames)]
    chosen = BodySequence(
        person.betas,
        torch.stack([state.global_orient for state in states]),
        torch.stack([state.body_pose for state in states]),
        torch.zeros(frames, 3),
        fps=30.0,
    )
    return _in_place(person, chosen)


def _pelvis(person: DemoPerson) -> Float[Tensor, "3"]:
    return person.body.rest(person.betas)[1][0]


def _in_place(person: DemoPerson, motion: BodySequence) -> BodySequence:
    """Keeps the pelvis above the origin, and the lower foot 0.9 m below it."""
    places = torch.zeros(len(motion), 3)
    for frame in range(len(motion)):
        joints = person.body.pose(motion.state(frame)).joints
        places[frame, 2] = joints[0, 2] - joints[FEET, 2].min() - 0.9
    return replace(motion, transl=places - _pelvis(person))
