"""Small shaded pictures of a posed body, with left limbs orange, right limbs blue, and the ground as a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from nerfstudio_avatars.media.contact_sheet import TILE, SheetRow, spread
from nerfstudio_avatars.media.rasteriser import rasterise
from nerfstudio_avatars.media.vertex_normals import vertex_normals

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from nerfstudio_avatars.bodies.body_model import BodyModel
    from nerfstudio_avatars.bodies.body_sequence import BodySequence

SAMPLES = 2
DISTANCE = 60.0
"""Distance from camera to body in metres, so large that parallel lines stay parallel."""
VIEWS = {"front": 0.0, "side": 90.0}
"""Azimuths in degrees: from +y, which an upright person faces at the start, and from their left."""
_LEFT, _RIGHT, _MIDDLE = (0.93, 0.55, 0.25), (0.30, 0.52, 0.86), (0.74, 0.74, 0.72)
LIGHT = np.array([-0.35, -0.55, -0.76])
"""Direction to the lamp, in camera axes (x right, y down, z forward)."""
LINE = 0.55
"""Grey value of the ground line."""


@torch.no_grad()
def motion_rows(title: str, motion: BodySequence, body: BodyModel) -> list[SheetRow]:
    """Eight frames of an upright motion, seen from the front and from the side.

    The ground is at the lowest point of the frames shown; the camera follows the pelvis.
    """
    numbers = spread(len(motion))
    posed = [body.pose(motion.state(number)) for number in numbers]
    vertices = np.stack([one.vertices.double().numpy() for one in posed])
    pelvis = np.stack([one.joints[0].double().numpy() for one in posed])
    vertices[..., :2] -= pelvis[:, None, :2]
    low, high = vertices[..., 2].min(), vertices[..., 2].max()
    side = 1.08 * max(high - low, 2 * np.abs(vertices[..., :2]).max())
    colours = _colours(body)
    rows = []
    for name, azimuth in VIEWS.items():
        pictures = [_draw(one, body, colours, azimuth, (low, high), side) for one in vertices]
        captions = [f"frame {number}, {number / motion.fps:.2f} s" for number in numbers]
        rows.append(SheetRow(f"{title}, {name}", pictures, captions))
    return rows


def _colours(body: BodyModel) -> Float[np.ndarray, "vertices 3"]:
    sides = {"left": _LEFT, "right": _RIGHT}
    of_joint = np.array([sides.get(name.split("_")[0], _MIDDLE) for name in body.joint_names])
    return body.weights.double().numpy() @ of_joint


def _draw(
    vertices: Float[np.ndarray, "vertices 3"],
    body: BodyModel,
    colours: Float[np.ndarray, "vertices 3"],
    azimuth: float,
    heights: tuple[float, float],
    side: float,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draws one picture, whose sides are `side` metres long, with the ground at the first of the heights."""
    angle = np.deg2rad(azimuth)
    back = np.array([-np.sin(angle), np.cos(angle), 0.0])
    axes = np.stack([np.cross([0.0, 0.0, 1.0], back), [0.0, 0.0, -1.0], -back])
    middle = np.array([0.0, 0.0, sum(heights) / 2])
    seen = (vertices - middle) @ axes.T + [0.0, 0.0, DISTANCE]
    scale, centre = TILE / side, (TILE - 1) / 2
    intrinsic = np.array([[scale * DISTANCE, 0, centre], [0, scale * DISTANCE, centre], [0, 0, 1.0]])
    faces = body.faces.numpy()
    hits = rasterise(seen, faces, intrinsic, TILE, TILE, SAMPLES)
    light = 0.4 + 0.6 * (vertex_normals(seen, faces) @ LIGHT).clip(0, 1)
    shaded = colours * light[:, None]
    image = np.ones((TILE * SAMPLES, TILE * SAMPLES, 3))
    ground = int(SAMPLES * (centre + scale * (heights[1] - heights[0]) / 2)) + 1
    image[ground : ground + SAMPLES] = LINE
    hit = hits.face >= 0
    image[hit] = (shaded[faces[hits.face[hit]]] * hits.barycentric[hit][..., None]).sum(1)
    small = image.reshape(TILE, SAMPLES, TILE, SAMPLES, 3).mean((1, 3))
    return (small.clip(0, 1) * 255).round().astype(np.uint8)
