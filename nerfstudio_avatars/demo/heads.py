"""Toy heads with a hinged jaw, ray-cast in closed form: identities whose pose, depth, mask and parts are known."""

from __future__ import annotations

from collections.abc import Sequence
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

JAW = 1
"""Number of the jaw among the parts; the rest of the head comes first."""
_HINGE = np.array([0.0, 0.02, 0.16])


@dataclass(frozen=True)
class HeadPose:
    """Pose of a head in camera axes (x right, y down, z forward): x_camera = R x_head + shift + distance."""

    yaw: float = 0.0
    """In radians; positive turns the nose towards +x."""
    pitch: float = 0.0
    """In radians; positive lifts the nose."""
    roll: float = 0.0
    """In radians, in the picture plane."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift of the middle of the head, in half pictures."""
    jaw: float = 0.0
    """Opening angle of the jaw, in radians."""
    turn: float = 0.0
    """Further turn about the vertical through the middle of the head, in radians; positive as `yaw`."""

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """Rotation from head to camera: yaw first, then pitch, then roll."""
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (-self.yaw, self.pitch, self.roll))
        further = np.array(
            [[np.cos(self.turn), 0, -np.sin(self.turn)], [0, 1, 0], [np.sin(self.turn), 0, np.cos(self.turn)]]
        )
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return further @ about_z @ about_x @ about_y

    def turned(self, yaw: float) -> HeadPose:
        """The same pose turned further about the vertical of the camera, by an angle in radians."""
        return replace(self, turn=self.turn + yaw)


class ToyHead:
    """A head made of ellipsoids, whose second part is its jaw.

    A seed decides its features, hair and background, and whether it has a hat or a beard. An unmoved head faces the
    camera.
    """

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        skin = np.clip(SKIN[seed % len(SKIN)] + draw.uniform(-0.06, 0.06, 3), 0, 1)
        hair = np.clip(HAIR[draw.integers(len(HAIR))] + draw.uniform(-0.05, 0.1, 3), 0, 1)
        iris = draw.uniform(0.05, 0.45, 3)
        lips = np.clip(skin * [1.0, 0.5, 0.5] + [0.12, 0, 0], 0, 1)
        width, height, length = draw.uniform(0.46, 0.56), draw.uniform(0.5, 0.58), draw.uniform(0.54, 0.6)
        jaw_width = width * draw.uniform(0.72, 0.88)
        eye, eye_size = width * draw.uniform(0.36, 0.44), draw.uniform(0.085, 0.115)
        nose, ear = draw.uniform(0.08, 0.14), draw.uniform(0.1, 0.16)
        front = -length * 0.86
        made: list[Ellipsoid] = []

        def add(
            centre: Sequence[float],
            radii: Sequence[float],
            colour: Sequence[float] | np.ndarray,
            grain: float = 0.06,
            jaw: bool = False,
        ) -> None:
            (x, y, z), (a, b, c) = centre, radii
            made.append(Ellipsoid((x, y, z), (a, b, c), clipped(colour), grain, JAW if jaw else 0))

        add((0, -0.1, 0.04), (width, height, length), skin)
        add((0, 0.05, front - 0.03), (0.07 + nose / 4, 0.13, 0.06 + nose), skin * 0.97)
        for side in (-1, 1):
            add((side * width, 0.0, 0.1), (0.07, ear + 0.04, ear), skin * 0.9)
            add((side * eye, -0.14, front + 0.06), (eye_size, eye_size * 0.8, eye_size), (0.95, 0.95, 0.93))
            add((side * eye, -0.14, front + 0.06 - eye_size * 0.72), (eye_size * 0.5,) * 3, iris)
            add((side * eye, -0.29, front + 0.03), (eye_size * 1.3, 0.03, 0.07), hair * 0.8)
        cap = len(made)
        add((0, -0.17 - draw.uniform(0.02, 0.08), 0.13), (width * 1.07, height * 1.04, length * 1.0), hair, grain=0.25)
        add((0, 0.265, front + 0.12), (0.24, 0.05, 0.16), (0.12, 0.03, 0.03))
        add((0, 0.21, front + 0.05), (0.19, 0.035, 0.09), lips)
        if draw.uniform() < 0.5:
            hat = draw.uniform(0.1, 0.9, 3)
            add((0, -height * 0.95, 0.06), (width * 1.1, height * 0.32, length * 1.05), hat)
            add((0, -height * 1.2, 0.06), (width * 0.6, height * 0.4, length * 0.6), hat * 0.9)
        add((0, 0.33, -0.1), (jaw_width, 0.3, length * 0.78), skin, jaw=True)
        add((0, 0.3, front + 0.05), (0.17, 0.045, 0.09), lips, jaw=True)
        if draw.uniform() < 0.5:
            add((0, 0.5, front + 0.16), (jaw_width * 0.6, 0.16, 0.2), hair, grain=0.3, jaw=True)
        else:
            add((0, 0.52, front + 0.13), (0.12, 0.09, 0.1), skin * 1.02, jaw=True)
        self.solids = Solids(made, draw)
        made[cap] = replace(made[cap], cut=-height * draw.uniform(0.3, 0.5))

    def render(self, pose: HeadPose, size: int, samples: int = 2) -> ToyPicture:
        """Draws a picture from the standard camera, with samples x samples rays per pixel."""
        opened = Motion.about(_HINGE, rotation_about(0, pose.jaw))  # the chin goes down and back
        return self.solids.render(Motion(pose.rotation, np.array(pose.shift)), [REST, opened], size, samples)


def wandering_poses(seed: int, frames: int) -> list[HeadPose]:
    """Poses of a clip: smooth in time, and wide in range (yaw +-40, pitch +-20, roll +-10 degrees; jaw 0 to 28)."""
    draw = np.random.default_rng([seed, 1])

    def wave(turns: float, amplitude: float) -> np.ndarray:
        return smooth_wave(draw, frames, turns, amplitude)

    yaw, pitch, roll = wave(3, np.radians(40)), wave(2.3, np.radians(20)), wave(1.7, np.radians(10))
    x, y, z = wave(1.3, 0.1), wave(1.9, 0.08), wave(1.1, 0.2)
    jaw = np.radians(14) + wave(5, np.radians(14))
    return [
        HeadPose(float(yaw[i]), float(pitch[i]), float(roll[i]), (float(x[i]), float(y[i]), float(z[i])), float(jaw[i]))
        for i in range(frames)
    ]
