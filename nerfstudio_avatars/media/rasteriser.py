"""A small z-buffer that finds what each sub-pixel sees of a mesh. Exact, and without a graphics library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numba import prange

from nerfstudio_avatars.kernels import njit


@dataclass(frozen=True)
class Hits:
    """What the sub-pixels see. The centre of sub-pixel (r, c) is at OpenCV coordinate (c + 0.5) / samples - 0.5."""

    face: Int[np.ndarray, "rows columns"]
    """Index of the triangle, or -1."""
    barycentric: Float[np.ndarray, "rows columns 3"]
    """Weights of the corners of the triangle, corrected for perspective."""
    depth: Float[np.ndarray, "rows columns"]
    """Distance along the optical axis in metres; infinite where nothing is hit."""


@njit(parallel=True, cache=True, nogil=True)
def _fill(pixels, depths, faces, samples, face, barycentric, depth):
    rows, columns = face.shape
    bands = 16
    for band in prange(bands):
        first, last = band * rows // bands, (band + 1) * rows // bands
        for f in range(len(faces)):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            ax, ay = (pixels[a, 0] + 0.5) * samples - 0.5, (pixels[a, 1] + 0.5) * samples - 0.5
            bx, by = (pixels[b, 0] + 0.5) * samples - 0.5, (pixels[b, 1] + 0.5) * samples - 0.5
            cx, cy = (pixels[c, 0] + 0.5) * samples - 0.5, (pixels[c, 1] + 0.5) * samples - 0.5
            top, bottom = max(first, int(np.ceil(min(ay, by, cy)))), min(last - 1, int(np.floor(max(ay, by, cy))))
            if top > bottom:
                continue
            left, right = max(0, int(np.ceil(min(ax, bx, cx)))), min(columns - 1, int(np.floor(max(ax, bx, cx))))
            area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
            if area == 0:
                continue
            for r in range(top, bottom + 1):
                for q in range(left, right + 1):
                    u = ((bx - q) * (cy - r) - (by - r) * (cx - q)) / area
                    v = ((cx - q) * (ay - r) - (cy - r) * (ax - q)) / area
                    w = 1 - u - v
                    if u < 0 or v < 0 or w < 0:
                        continue
                    pu, pv, pw = u / depths[a], v / depths[b], w / depths[c]
                    z = 1 / (pu + pv + pw)
                    if z < depth[r, q]:
                        depth[r, q] = z
                        face[r, q] = f
                        barycentric[r, q, 0] = pu * z
                        barycentric[r, q, 1] = pv * z
                        barycentric[r, q, 2] = pw * z


def rasterise(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    intrinsic: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    samples: int = 1,
) -> Hits:
    """Finds the nearest triangle at every sub-pixel.

    Args:
        vertices: in metres in the camera frame (OpenCV: x right, y down, z forward), all in front of the camera.
        intrinsic: camera matrix; pixel centres at whole numbers.
        samples: the number of sub-pixels along each side of a pixel.
    """
    projected = vertices @ intrinsic.T
    pixels = projected[:, :2] / projected[:, 2:]
    rows, columns = height * samples, width * samples
    hits = Hits(
        np.full((rows, columns), -1, np.int32),
        np.zeros((rows, columns, 3), np.float32),
        np.full((rows, columns), np.inf),
    )
    _fill(pixels, vertices[:, 2].copy(), faces, float(samples), hits.face, hits.barycentric, hits.depth)
    return hits
