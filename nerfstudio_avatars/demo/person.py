"""The demo person: the stand-in body with clothes, drawn in any pose from any camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numba import prange

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.linear_blend_skinning import skin
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.demo.clothing import colour, thickness
from nerfstudio_avatars.demo.wardrobe import CASUAL, Wardrobe
from nerfstudio_avatars.kernels import njit
from nerfstudio_avatars.media.rasteriser import Hits, rasterise
from nerfstudio_avatars.media.vertex_normals import vertex_normals

SAMPLES = 3
"""Sub-pixels along each side of a pixel."""
_AMBIENT = 0.72
"""Share of ambient light; the rest comes from straight above, so that turning around changes no shading."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with OpenCV's conventions."""

    intrinsic: Float[np.ndarray, "3 3"]
    extrinsic: Float[np.ndarray, "4 4"]
    """Transform from world to camera, in metres."""
    width: int
    height: int


@njit(parallel=True, cache=True, nogil=True)
def _shade(face, barycentric, faces, rest, normals, samples, ambient, palette, cut, out):
    for r in prange(out.shape[0]):
        for q in range(out.shape[1]):
            hits = 0
            for i in range(samples):
                for j in range(samples):
                    f = face[r * samples + i, q * samples + j]
                    if f < 0:
                        continue
                    u = barycentric[r * samples + i, q * samples + j]
                    x = y = z = up = length = 0.0
                    for k in range(3):
                        v = faces[f, k]
                        x += u[k] * rest[v, 0]
                        y += u[k] * rest[v, 1]
                        z += u[k] * rest[v, 2]
                    nx = ny = nz = 0.0
                    for k in range(3):
                        v = faces[f, k]
                        nx += u[k] * normals[v, 0]
                        ny += u[k] * normals[v, 1]
                        nz += u[k] * normals[v, 2]
                    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
                    up = ny / length
                    light = ambient + (1 - ambient) * (0.5 + 0.5 * up)
                    c = colour(x, y, z, palette, cut)
                    out[r, q, 0] += c[0] * light
                    out[r, q, 1] += c[1] * light
                    out[r, q, 2] += c[2] * light
                    hits += 1
            if hits:
                for k in range(3):
                    out[r, q, k] = min(out[r, q, k] / hits, 1.0)
            out[r, q, 3] = hits / (samples * samples)


class DemoPerson:
    """The dressed stand-in with a given shape. The skin is up to 2.2 cm below the visible surface."""

    def __init__(self, betas: Float[torch.Tensor, "10"], wardrobe: Wardrobe = CASUAL) -> None:
        self.body = load_standin()
        self.betas = betas
        self.wardrobe = wardrobe
        rest, _ = self.body.rest(betas)
        average, _ = self.body.rest(torch.zeros(10))
        self.faces = self.body.faces.numpy()
        # Patterns and folds are laid out on the average body, so that every shape wears them alike.
        self._pattern = average.double().numpy()
        normals = vertex_normals(rest.double().numpy(), self.faces)
        self.clothes = normals * thickness(self._pattern, wardrobe)[:, None]
        self._rest = rest + torch.from_numpy(self.clothes).float()

    def surface(self, state: BodyState) -> Float[np.ndarray, "vertices 3"]:
        """The dressed surface in a pose, in the world frame, in metres."""
        transforms = self.body.pose(state).joint_transforms
        return skin(self._rest, self.body.weights, transforms).double().numpy()

    def hits(self, state: BodyState, camera: Camera, samples: int = 1) -> tuple[Hits, Float[np.ndarray, "vertices 3"]]:
        """Hits of the sub-pixels of a camera (mask and depth are exact), and the surface in the camera's frame."""
        surface = self.surface(state) @ camera.extrinsic[:3, :3].T + camera.extrinsic[:3, 3]
        return rasterise(surface, self.faces, camera.intrinsic, camera.width, camera.height, samples), surface

    def draw(self, state: BodyState, camera: Camera, up: tuple[float, float, float]) -> UInt8[np.ndarray, "h w 4"]:
        """Draws straight colour and a soft mask.

        Args:
            up: the direction that light comes from, in the world frame.
        """
        hits, surface = self.hits(state, camera, SAMPLES)
        # The shader reads a normal's second number as its height.
        towards_light = camera.extrinsic[:3, :3] @ np.array(up)
        normals = vertex_normals(surface, self.faces)
        normals[:, 1] = normals @ towards_light
        out = np.zeros((camera.height, camera.width, 4))
        worn = self.wardrobe
        _shade(
            hits.face,
            hits.barycentric,
            self.faces,
            self._pattern,
            normals,
            SAMPLES,
            _AMBIENT,
            worn.palette,
            worn.cut,
            out,
        )
        return (out * 255).round().astype(np.uint8)
