"""Toy upper bodies that gesture, ray-cast in closed form: identities whose pose, depth, mask and parts are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.demo.solids import (
    HAIR,
    REST,
    SKIN,
    Ellipsoid,
    Motion,
    Solids,
    ToyPicture,
    clipped,
    rotation_about,
    smooth_wave,
)

_Add = Callable[..., None]
_Colour = Float[np.ndarray, "3"]
PARTS = ("torso", "head", "left upper arm", "left lower arm", "right upper arm", "right lower arm")
"""Names of the rigid parts; left is the viewer's."""
_TORSO, _HEAD = 0, 1
_SIDES = (-1, 1)
_NECK = np.array([0.0, -0.12, 0.03])
_UPPER, _LOWER = 0.28, 0.25
"""Lengths of the upper and the lower arm, in half pictures."""


@dataclass(frozen=True)
class ArmPose:
    """How an arm is held, in radians; 0 lets it hang down."""

    raised: float = 0.0
    """Angle of the upper arm away from the body, in the plane of the chest."""
    forward: float = 0.0
    """Angle of the upper arm towards the viewer."""
    bent: float = 0.0
    """Further angle of the lower arm in the plane of the chest; positive raises the hand."""
    reaching: float = 0.0
    """Further angle of the lower arm towards the viewer."""


@dataclass(frozen=True)
class BodyPose:
    """Pose of an upper body in camera axes (x right, y down, z forward): x_camera = R x_body + shift + distance."""

    yaw: float = 0.0
    """In radians; positive turns the chest towards +x."""
    roll: float = 0.0
    """In radians, in the picture plane."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift of the middle of the body, in half pictures."""
    head_yaw: float = 0.0
    """Turn of the head against the torso, in radians; positive turns the nose towards +x."""
    head_pitch: float = 0.0
    """Nod of the head against the torso, in radians; positive lifts the nose."""
    left: ArmPose = ArmPose()
    right: ArmPose = ArmPose()
    turn: float = 0.0
    """Further turn about the vertical through the middle of the body, in radians; positive as `yaw`."""

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """Rotation from body to camera: yaw first, then roll."""
        return rotation_about(1, -self.turn) @ rotation_about(2, self.roll) @ rotation_about(1, -self.yaw)

    def turned(self, yaw: float) -> BodyPose:
        """The same pose turned further about the vertical of the camera, by an angle in radians."""
        return replace(self, turn=self.turn + yaw)


class ToyBody:
    """The upper half of somebody made of ellipsoids, with the parts in `PARTS`.

    A seed decides build, face, hair, clothes and background. An unmoved body faces the camera, with hanging arms.
    """

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng([seed, 2])
        skin = np.clip(SKIN[seed % len(SKIN)] + draw.uniform(-0.06, 0.06, 3), 0, 1)
        hair = np.clip(HAIR[draw.integers(len(HAIR))] + draw.uniform(-0.05, 0.1, 3), 0, 1)
        shirt, trousers = draw.uniform(0.1, 0.95, 3), draw.uniform(0.05, 0.5, 3)
        lips = np.clip(skin * [1.0, 0.5, 0.5] + [0.12, 0, 0], 0, 1)
        broad, stout = draw.uniform(0.28, 0.33), draw.uniform(0.2, 0.26)
        self.shoulders = [np.array([side * (broad - 0.02), 0.06, 0.0]) for side in _SIDES]
        made: list[Ellipsoid] = []

        def add(
            part: int,
            centre: Sequence[float] | np.ndarray,
            radii: Sequence[float],
            colour: Sequence[float] | np.ndarray,
            grain: float = 0.06,
            cut: float | None = None,
        ) -> None:
            (x, y, z), (a, b, c) = np.asarray(centre).tolist(), radii
            made.append(Ellipsoid((x, y, z), (a, b, c), clipped(colour), grain, part, cut))

        self._add_torso(add, draw, skin, shirt, trousers, broad, stout)
        self._add_head(add, draw, skin, hair, lips)
        long, cuff = draw.uniform() < 0.6, draw.uniform(0.1, 0.95, 3)
        for number, shoulder in enumerate(self.shoulders):
            upper, lower = 2 + 2 * number, 3 + 2 * number
            elbow, wrist = shoulder + [0, _UPPER, 0], shoulder + [0, _UPPER + _LOWER, 0]
            add(upper, shoulder + [0, 0.01, 0], (0.095, 0.09, 0.09), shirt)
            add(upper, shoulder + [0, _UPPER / 2, 0], (0.082, _UPPER * 0.62, 0.08), shirt * 0.95)
            sleeve = shirt * 0.88 if long else skin * 0.95
            add(lower, elbow, (0.072, 0.075, 0.072), sleeve)
            add(lower, elbow + [0, _LOWER / 2, 0], (0.066, _LOWER * 0.64, 0.065), sleeve)
            if long:
                add(lower, wrist - [0, 0.03, 0], (0.068, 0.03, 0.068), cuff)
            add(lower, wrist + [0, 0.06, 0], (0.062, 0.09, 0.045), skin * 1.02)
        self.solids = Solids(made, draw)

    @staticmethod
    def _add_torso(
        add: _Add,
        draw: np.random.Generator,
        skin: _Colour,
        shirt: _Colour,
        trousers: _Colour,
        broad: float,
        stout: float,
    ) -> None:
        add(_TORSO, (0, 0.07, 0), (broad, 0.13, 0.14), shirt)
        add(_TORSO, (0, 0.3, 0), (broad * 0.85, 0.36, 0.17), shirt, grain=0.12)
        add(_TORSO, (0, 0.5, 0), (stout, 0.25, 0.17), shirt, grain=0.12)
        add(_TORSO, (0, 0.78, 0), (stout * 1.06, 0.2, 0.18), trousers)
        add(_TORSO, (0, -0.09, 0.02), (0.085, 0.13, 0.085), skin * 0.93)
        style = draw.integers(3)
        accent = draw.uniform(0.05, 0.95, 3)
        if style == 0:  # a tie
            add(_TORSO, (0, 0.22, -0.145), (0.035, 0.2, 0.05), accent)
        elif style == 1:  # an open jacket
            for side in _SIDES:
                add(_TORSO, (side * broad * 0.6, 0.28, -0.03), (broad * 0.42, 0.34, 0.17), accent, grain=0.1)
        else:  # a badge and a belt
            add(_TORSO, (0.12, 0.14, -0.14), (0.05, 0.035, 0.03), accent)
            add(_TORSO, (0, 0.66, 0), (stout * 1.02, 0.035, 0.18), accent * 0.5)

    @staticmethod
    def _add_head(add: _Add, draw: np.random.Generator, skin: _Colour, hair: _Colour, lips: _Colour) -> None:
        width, height = draw.uniform(0.15, 0.175), draw.uniform(0.19, 0.22)
        y, front = -0.36, -0.17
        add(_HEAD, (0, y, 0), (width, height, 0.19), skin)
        add(_HEAD, (0, y + 0.03, front - 0.01), (0.028, 0.045, 0.05), skin * 0.95)
        for side in _SIDES:
            add(_HEAD, (side * 0.065, y - 0.03, front + 0.015), (0.03, 0.022, 0.03), (0.95, 0.95, 0.93))
            add(_HEAD, (side * 0.065, y - 0.03, front - 0.008), (0.017, 0.017, 0.017), draw.uniform(0.05, 0.4, 3))
            add(_HEAD, (side * 0.065, y - 0.075, front + 0.015), (0.04, 0.012, 0.03), hair * 0.8)
            add(_HEAD, (side * width, y + 0.01, 0.02), (0.025, 0.05, 0.04), skin * 0.9)
        add(_HEAD, (0, y + 0.1, front + 0.025), (0.055, 0.018, 0.04), lips)
        cut = y - height * draw.uniform(0.35, 0.55)
        add(_HEAD, (0, y - 0.03, 0.03), (width * 1.1, height * 1.06, 0.2), hair, 0.25, cut)
        if draw.uniform() < 0.4:  # long hair
            add(_HEAD, (0, y + 0.1, 0.11), (width * 1.15, height * 1.15, 0.11), hair, 0.25)

    def motions(self, pose: BodyPose) -> list[Motion]:
        """Motion of each part within the body."""
        head = Motion.about(_NECK, rotation_about(0, -pose.head_pitch) @ rotation_about(1, -pose.head_yaw))
        motions = [REST, head]
        for side, shoulder, arm in zip(_SIDES, self.shoulders, (pose.left, pose.right), strict=True):
            upper = Motion.about(shoulder, rotation_about(2, -side * arm.raised) @ rotation_about(0, -arm.forward))
            elbow = shoulder + [0, _UPPER, 0]
            bend = Motion.about(elbow, rotation_about(2, -side * arm.bent) @ rotation_about(0, -arm.reaching))
            motions += [upper, upper.after(bend)]
        return motions

    def render(self, pose: BodyPose, size: int, samples: int = 2) -> ToyPicture:
        """Draws a picture from the standard camera, with samples x samples rays per pixel."""
        return self.solids.render(Motion(pose.rotation, np.array(pose.shift)), self.motions(pose), size, samples)


_ARM_PATHS = ((2.7, 35, 45), (1.8, 12, 12), (3.3, 55, 35), (2.2, 15, 10))
"""Of each angle of an arm: swings in a clip, amplitude and middle in degrees."""


def gesturing_poses(seed: int, frames: int) -> list[BodyPose]:
    """Poses of a clip: smooth in time, and wide in range.

    The chest turns by +-25 degrees and the head by +-20 more; upper arms are raised by 10 to 80 degrees, and lower arms
    bent by -20 to 90.
    """
    draw = np.random.default_rng([seed, 3])

    def wave(turns: float, degrees: float, middle: float = 0.0) -> list[float]:
        return np.radians(middle + smooth_wave(draw, frames, turns, degrees)).tolist()

    yaw, roll, head_yaw, head_pitch = wave(2.1, 25), wave(1.6, 4), wave(3.1, 20), wave(2.6, 10)
    x, y, z = (smooth_wave(draw, frames, *path).tolist() for path in ((1.3, 0.06), (1.9, 0.03), (1.1, 0.15)))
    arms = [[ArmPose(*angles) for angles in zip(*(wave(*path) for path in _ARM_PATHS), strict=True)] for _ in _SIDES]
    return [
        BodyPose(yaw[i], roll[i], (x[i], y[i], z[i]), head_yaw[i], head_pitch[i], arms[0][i], arms[1][i])
        for i in range(frames)
    ]
