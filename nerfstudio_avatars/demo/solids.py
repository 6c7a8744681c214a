"""Toys made of painted ellipsoids in rigid parts, ray-cast in closed form: pictures whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL

_LIGHT = np.array([-0.45, -0.6, -0.66]) / np.linalg.norm([-0.45, -0.6, -0.66])
_AMBIENT = 0.6


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid whose axes are those of the toy."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    colour: tuple[float, float, float]
    grain: float = 0.06
    """Strength of the waves on its colour."""
    part: int = 0
    """The rigid part that it belongs to."""
    cut: float | None = None
    """As hair, which leaves the face free: what is in front of the toy's middle shows only above this height."""


@dataclass(frozen=True)
class Motion:
    """Motion of a rigid part within the toy: x_toy = R x_rest + shift."""

    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    @classmethod
    def about(cls, pivot: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"]) -> Motion:
        """A rotation about a point."""
        return cls(rotation, pivot - rotation @ pivot)

    def after(self, first: Motion) -> Motion:
        """This motion after another one."""
        return Motion(self.rotation @ first.rotation, self.rotation @ first.shift + self.shift)


REST = Motion(np.eye(3), np.zeros(3))
"""No motion."""


@dataclass(frozen=True)
class ToyPicture:
    """A picture and its ground truth."""

    rgb: Float[np.ndarray, "size size 3"]
    """Colour from 0 to 1, over the background of the clip."""
    mask: Float[np.ndarray, "size size"]
    """Share of each pixel that the toy covers."""
    parts: Float[np.ndarray, "size size parts"]
    """Share of each pixel that each of its parts covers."""
    depth: Float[np.ndarray, "size size"]
    """Mean z of the toy in the pixel, relative to `DISTANCE`; NaN where there is none."""
    normal: Float[np.ndarray, "size size 3"]
    """Mean outward normal of the toy in the pixel, in camera axes; 0 where there is none."""


class Solids:
    """Ellipsoids before a background that is a gradient from top to bottom.

    Axes are those of the camera: x right, y down, z away from the viewer. Light is baked into the colours, so it turns
    with the toy.

    Args:
        ellipsoids: what it is made of.
        draw: decides the waves on its colours, and the background.
    """

    def __init__(self, ellipsoids: list[Ellipsoid], draw: np.random.Generator) -> None:
        self.ellipsoids = ellipsoids
        self._parts = 1 + max(one.part for one in ellipsoids)
        self._waves = draw.normal(0, 9, (len(ellipsoids), 3)), draw.uniform(0, 2 * np.pi, len(ellipsoids))
        self._backdrop = draw.uniform(0.1, 0.95, (2, 3))

    def render(self, whole: Motion, within: list[Motion], size: int, samples: int = 2) -> ToyPicture:
        """Draws a picture from the standard camera, with samples x samples rays per pixel.

        Args:
            whole: pose of the toy: x_camera = R x_toy + shift + distance.
            within: motion of each part within it.
            size: side in pixels.
            samples: along each side of a pixel.
        """
        fine = size * samples
        steps = (np.arange(fine) + 0.5) / fine * 2 - 1
        x, y = np.meshgrid(steps / FOCAL, steps / FOCAL)
        rays = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
        depth, rgb, part, normal = self._cast(whole, within, rays)
        hit = np.isfinite(depth)
        rgb = np.where(hit[:, None], rgb, self.background(steps).reshape(-1, 3))

        def mean(values: np.ndarray) -> np.ndarray:
            values = values.reshape(size, samples, size, samples, *values.shape[1:])
            return values.mean((1, 3))

        mask = mean(hit.astype(np.float64))
        covered = np.maximum(mask, 1e-9)
        inside = np.where(mask > 0, mean(np.where(hit, depth - DISTANCE, 0)) / covered, np.nan)
        return ToyPicture(mean(rgb), mask, mean(np.eye(self._parts + 1)[part][:, 1:]), inside, mean(normal))

    def background(self, steps: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n 3"]:
        """What is behind it, at rows of pixels from -1 to 1."""
        share = (steps[:, None, None] + 1) / 2
        colours = self._backdrop[0] * (1 - 0.4 * share) + self._backdrop[1] * 0.4 * share
        return np.broadcast_to(colours, (len(steps), len(steps), 3))

    def _cast(
        self, whole: Motion, within: list[Motion], rays: Float[np.ndarray, "n 3"]
    ) -> tuple[np.ndarray, np.ndarray, Int[np.ndarray, " n"], np.ndarray]:
        """Nearest hit of each ray: z (inf where none), colour, 1 + part (0 where none), and outward normal."""
        depth, part = np.full(len(rays), np.inf), np.zeros(len(rays), np.int64)
        rgb, normal = np.zeros((len(rays), 3)), np.zeros((len(rays), 3))
        seen = [Motion(whole.rotation, whole.shift + [0, 0, DISTANCE]).after(motion) for motion in within]
        origins = [-motion.rotation.T @ motion.shift for motion in seen]
        directions = [rays @ motion.rotation for motion in seen]
        for number, one in enumerate(self.ellipsoids):
            near = _rays_near(rays, seen[one.part], one)
            o, d, radii = origins[one.part], directions[one.part][near], np.array(one.radii)
            a, b = (o - one.centre) / radii, d / radii
            bb, ab = (b * b).sum(-1), b @ a
            inside = ab * ab - bb * ((a * a).sum() - 1)
            z = (-ab - np.sqrt(np.maximum(inside, 0))) / bb
            closer: Bool[np.ndarray, " n"] = (inside > 0) & (z < depth[near])
            if one.cut is not None:
                points = o + z[:, None] * d
                closer &= (points[:, 1] < one.cut) | (points[:, 2] > 0.0)
            hit = near[closer]
            points = o + z[closer, None] * d[closer]
            depth[hit], part[hit] = z[closer], 1 + one.part
            outward = (points - one.centre) / radii**2
            outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
            rgb[hit] = self._paint(number, points, outward)
            normal[hit] = outward @ seen[one.part].rotation.T
        return depth, rgb, part, normal

    def _paint(
        self, number: int, points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        one = self.ellipsoids[number]
        light = _AMBIENT + (1 - _AMBIENT) * np.maximum(normals @ _LIGHT, 0)
        waves = 1 + one.grain * np.sin(points @ self._waves[0][number] + self._waves[1][number])
        return np.clip(np.array(one.colour) * (light * waves)[:, None], 0, 1)


def _rays_near(rays: Float[np.ndarray, "n 3"], motion: Motion, one: Ellipsoid) -> Int[np.ndarray, " near"]:
    """Numbers of the rays (x, y, 1) that may hit an ellipsoid: those in a box around a ball around it."""
    centre, radius = motion.rotation @ np.array(one.centre) + motion.shift, max(one.radii)
    if centre[2] <= radius:
        return np.arange(len(rays))
    depths = centre[2] + np.array([[-radius], [radius]])
    least, most = ((centre[:2] - radius) / depths).min(0), ((centre[:2] + radius) / depths).max(0)
    return ((rays[:, :2] >= least) & (rays[:, :2] <= most)).all(1).nonzero()[0]


def rotation_about(axis: int, angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about the x (0), y (1) or z axis (2), in radians, after the right-hand rule."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[second, first], rotation[first, second] = np.sin(angle), -np.sin(angle)
    return rotation


def smooth_wave(draw: np.random.Generator, frames: int, turns: float, amplitude: float) -> Float[np.ndarray, " frames"]:
    """A smooth path around 0, with a slow and a faster swing."""
    time = np.linspace(0, 1, frames)
    slow, fast = draw.uniform(0, 2 * np.pi, 2)
    path = np.sin(2 * np.pi * turns * time + slow) + 0.35 * np.sin(2 * np.pi * 2.7 * turns * time + fast)
    return amplitude * np.clip(path / 1.15, -1, 1)


def clipped(colour: Sequence[float] | Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    """A colour that can be shown."""
    red, green, blue = np.clip(np.asarray(colour, np.float64), 0, 1).tolist()
    return red, green, blue


SKIN = np.array([[0.95, 0.76, 0.64], [0.87, 0.62, 0.47], [0.72, 0.48, 0.34], [0.5, 0.32, 0.22], [0.36, 0.22, 0.16]])
"""Colours of skin."""
HAIR = np.array([[0.12, 0.09, 0.07], [0.35, 0.2, 0.1], [0.85, 0.66, 0.35], [0.62, 0.2, 0.1], [0.75, 0.75, 0.78]])
"""Colours of hair."""
