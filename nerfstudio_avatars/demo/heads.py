"""Toy heads with a hinged jaw, ray-cast in closed form: identities whose pose, depth, mask and parts are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL

_LIGHT = np.array([-0.45, -0.6, -0.66])
_HINGE = np.array([0.0, 0.02, 0.16])
_SKIN = np.array([[0.95, 0.76, 0.64], [0.87, 0.62, 0.47], [0.72, 0.48, 0.34], [0.5, 0.32, 0.22], [0.36, 0.22, 0.16]])
_HAIR = np.array([[0.12, 0.09, 0.07], [0.35, 0.2, 0.1], [0.85, 0.66, 0.35], [0.62, 0.2, 0.1], [0.75, 0.75, 0.78]])
_AMBIENT = 0.6


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


@dataclass(frozen=True)
class HeadPicture:
    """A picture and its ground truth."""

    rgb: Float[np.ndarray, "size size 3"]
    """Colour from 0 to 1, over the background of the clip."""
    mask: Float[np.ndarray, "size size"]
    """Share of each pixel that the head covers."""
    jaw: Float[np.ndarray, "size size"]
    """Share of each pixel that the jaw covers."""
    depth: Float[np.ndarray, "size size"]
    """Mean z of the head in the pixel, relative to `DISTANCE`; NaN where there is no head."""
    normal: Float[np.ndarray, "size size 3"]
    """Mean outward normal of the head in the pixel, in camera axes; 0 where there is no head."""


class ToyHead:
    """A head made of ellipsoids. A seed decides its features, hair and background, and whether it has a hat or a beard.

    Axes are those of the camera: x right, y down, z away from the viewer; an unmoved head faces the camera. Light is
    baked into the colours, so it turns with the head.
    """

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        skin = np.clip(_SKIN[seed % len(_SKIN)] + draw.uniform(-0.06, 0.06, 3), 0, 1)
        hair = np.clip(_HAIR[draw.integers(len(_HAIR))] + draw.uniform(-0.05, 0.1, 3), 0, 1)
        iris = draw.uniform(0.05, 0.45, 3)
        lips = np.clip(skin * [1.0, 0.5, 0.5] + [0.12, 0, 0], 0, 1)
        width, height, length = draw.uniform(0.46, 0.56), draw.uniform(0.5, 0.58), draw.uniform(0.54, 0.6)
        jaw_width = width * draw.uniform(0.72, 0.88)
        eye, eye_size = width * draw.uniform(0.36, 0.44), draw.uniform(0.085, 0.115)
        nose, ear = draw.uniform(0.08, 0.14), draw.uniform(0.1, 0.16)
        front = -length * 0.86
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, float, bool]] = []
        add = self._add
        add((0, -0.1, 0.04), (width, height, length), skin)
        add((0, 0.05, front - 0.03), (0.07 + nose / 4, 0.13, 0.06 + nose), skin * 0.97)
        for side in (-1, 1):
            add((side * width, 0.0, 0.1), (0.07, ear + 0.04, ear), skin * 0.9)
            add((side * eye, -0.14, front + 0.06), (eye_size, eye_size * 0.8, eye_size), (0.95, 0.95, 0.93))
            add((side * eye, -0.14, front + 0.06 - eye_size * 0.72), (eye_size * 0.5,) * 3, iris)
            add((side * eye, -0.29, front + 0.03), (eye_size * 1.3, 0.03, 0.07), hair * 0.8)
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
        self._centre, self._radii, self._colour, self._grain, self._is_jaw = (
            np.array(column, np.float64) for column in zip(*self._parts, strict=True)
        )
        self._waves = draw.normal(0, 9, (len(self._parts), 3)), draw.uniform(0, 2 * np.pi, len(self._parts))
        self._backdrop = draw.uniform(0.1, 0.95, (2, 3))
        self._cut = -height * draw.uniform(0.3, 0.5)

    def _add(
        self,
        centre: Sequence[float] | np.ndarray,
        radii: Sequence[float] | np.ndarray,
        colour: Sequence[float] | np.ndarray,
        grain: float = 0.06,
        jaw: bool = False,
    ) -> None:
        self._parts.append((np.asarray(centre), np.asarray(radii), np.clip(colour, 0, 1), grain, jaw))

    def render(self, pose: HeadPose, size: int, samples: int = 2) -> HeadPicture:
        """Draws a picture from the standard camera, with samples x samples rays per pixel."""
        fine = size * samples
        steps = (np.arange(fine) + 0.5) / fine * 2 - 1
        x, y = np.meshgrid(steps / FOCAL, steps / FOCAL)
        rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
        depth, rgb, jaw, normal = self._cast(pose, rays)
        hit = np.isfinite(depth)
        rgb = np.where(hit[:, None], rgb, self.background(steps, fine).reshape(-1, 3))

        def mean(values: np.ndarray) -> np.ndarray:
            values = values.reshape(size, samples, size, samples, *values.shape[1:])
            return values.mean((1, 3))

        mask = mean(hit.astype(np.float64))
        covered = np.maximum(mask, 1e-9)
        inside = np.where(mask > 0, mean(np.where(hit, depth - DISTANCE, 0)) / covered, np.nan)
        return HeadPicture(mean(rgb), mask, mean((hit & jaw).astype(np.float64)), inside, mean(normal))

    def background(self, steps: Float[np.ndarray, " n"], size: int) -> Float[np.ndarray, "size size 3"]:
        """The background of the clip: a gradient from top to bottom."""
        share = (steps[:, None, None] + 1) / 2
        return np.broadcast_to(self._backdrop[0] * (1 - 0.4 * share) + self._backdrop[1] * 0.4 * share, (size, size, 3))

    def _cast(
        self, pose: HeadPose, rays: Float[np.ndarray, "n 3"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nearest hit of each ray: z (inf where none), colour, whether it is on the jaw, and outward normal."""
        rotation = pose.rotation
        origin = -rotation.T @ (np.array(pose.shift) + [0, 0, DISTANCE])
        directions = rays @ rotation
        cosine, sine = np.cos(pose.jaw), np.sin(pose.jaw)
        opened = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])  # the chin goes down and back
        depth = np.full(len(rays), np.inf)
        rgb, jaw, normal = np.zeros((len(rays), 3)), np.zeros(len(rays), bool), np.zeros((len(rays), 3))
        for part in range(len(self._parts)):
            o, d = origin, directions
            if self._is_jaw[part]:
                o, d = (origin - _HINGE) @ opened + _HINGE, directions @ opened
            a, b = (o - self._centre[part]) / self._radii[part], d / self._radii[part]
            bb, ab = (b * b).sum(-1), b @ a
            inside = ab * ab - bb * ((a * a).sum() - 1)
            z = (-ab - np.sqrt(np.maximum(inside, 0))) / bb
            points = o + z[:, None] * d
            closer = (inside > 0) & (z < depth)
            if part == _CAP:  # hair leaves the face free
                closer &= (points[:, 1] < self._cut) | (points[:, 2] > 0.0)
            depth[closer], jaw[closer] = z[closer], bool(self._is_jaw[part])
            outward = (points[closer] - self._centre[part]) / self._radii[part] ** 2
            outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
            rgb[closer] = self._paint(part, points[closer], outward)
            normal[closer] = (outward @ opened.T if self._is_jaw[part] else outward) @ rotation.T
        return depth, rgb, jaw, normal

    def _paint(
        self, part: int, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        light = _AMBIENT + (1 - _AMBIENT) * np.maximum(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0)
        waves = 1 + self._grain[part] * np.sin(points @ self._waves[0][part] + self._waves[1][part])
        return np.clip(self._colour[part] * (light * waves)[:, None], 0, 1)


_CAP = 10
"""Index of the hair among the parts of a head."""


def wandering_poses(seed: int, frames: int) -> list[HeadPose]:
    """Poses of a clip: smooth in time, and wide in range (yaw +-40, pitch +-20, roll +-10 degrees; jaw 0 to 28)."""
    draw = np.random.default_rng([seed, 1])
    time = np.linspace(0, 1, frames)

    def wave(turns: float, amplitude: float) -> np.ndarray:
        slow, fast = draw.uniform(0, 2 * np.pi, 2)
        path = np.sin(2 * np.pi * turns * time + slow) + 0.35 * np.sin(2 * np.pi * 2.7 * turns * time + fast)
        return amplitude * np.clip(path / 1.15, -1, 1)

    yaw, pitch, roll = wave(3, np.radians(40)), wave(2.3, np.radians(20)), wave(1.7, np.radians(10))
    x, y, z = wave(1.3, 0.1), wave(1.9, 0.08), wave(1.1, 0.2)
    jaw = np.radians(14) + wave(5, np.radians(14))
    return [
        HeadPose(float(yaw[i]), float(pitch[i]), float(roll[i]), (float(x[i]), float(y[i]), float(z[i])), float(jaw[i]))
        for i in range(frames)
    ]
