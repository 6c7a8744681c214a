"""Pictures of a textured mesh, as the viewers that open it draw it: unlit, without a graphics library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.media.rasteriser import Hits, rasterise


@dataclass(frozen=True)
class Lookups:
    """What samples of a picture look up in a texture."""

    seen: Int[np.ndarray, " samples"]
    """Flat indices of the samples that see the mesh."""
    uv: Float[np.ndarray, "samples 2"]
    facing: Float[np.ndarray, " samples"]
    """Cosine of the angle between the surface and the way to the camera."""


def _hits(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], camera: Cameras, samples: int = 1
) -> Hits:
    """What a camera of nerfstudio's sees of a mesh in the world.

    Args:
        vertices: metres.
        faces: triangles.
        camera: one, without distortion.
        samples: sub-pixels along each side of a pixel.
    """
    pose = camera.camera_to_worlds.reshape(-1, 3, 4)[0].double().cpu().numpy()
    seen = (vertices - pose[:, 3]) @ pose[:, :3] * [1, -1, -1]
    focal = [float(value.flatten()[0]) for value in (camera.fx, camera.fy)]
    # nerfstudio's pixels have their centres at halves.
    centre = [float(value.flatten()[0]) - 0.5 for value in (camera.cx, camera.cy)]
    intrinsic = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1.0]])
    width, height = int(camera.width.flatten()[0]), int(camera.height.flatten()[0])
    return rasterise(seen, faces, intrinsic, width, height, samples)


def covered(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], camera: Cameras
) -> Bool[np.ndarray, "height width"]:
    """Which pixels see a mesh in the world."""
    return _hits(vertices, faces, camera).face >= 0


def lookups(mesh: RiggedMesh, vertices: Float[np.ndarray, "vertices 3"], camera: Cameras, samples: int = 1) -> Lookups:
    """Where in the texture the samples of a picture look.

    Args:
        mesh: whose.
        vertices: posed, metres.
        camera: of nerfstudio's.
        samples: sub-pixels along each side of a pixel.
    """
    found = _hits(vertices, mesh.faces, camera, samples)
    seen = np.flatnonzero(found.face.ravel() >= 0)
    face, share = mesh.faces[found.face.ravel()[seen]], found.barycentric.reshape(-1, 3)[seen]
    uv = (share[..., None] * mesh.uv[face]).sum(1)
    corners = vertices[face]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    towards = camera.camera_to_worlds.reshape(-1, 3, 4)[0, :, 3].cpu().numpy() - corners.mean(1)
    length = np.linalg.norm(across, axis=1) * np.linalg.norm(towards, axis=1)
    return Lookups(seen, uv, (across * towards).sum(1) / np.maximum(length, 1e-12))


def bilinear(
    uv: Float[np.ndarray, "samples 2"], size: int
) -> tuple[Int[np.ndarray, "samples 4"], Float[np.ndarray, "samples 4"]]:
    """Flat indices of the four texels around places in a square texture, and their shares."""
    place = (uv.astype(np.float64) * size - 0.5).clip(0, size - 1.000001)
    first = np.minimum(place.astype(np.int64), size - 2)
    (x, y), (right, down) = first.T, (place - first).T
    texels = np.stack([y * size + x, y * size + x + 1, (y + 1) * size + x, (y + 1) * size + x + 1], -1)
    return texels, np.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)


def draw(
    mesh: RiggedMesh,
    texture: Float[np.ndarray, "size size 3"],
    vertices: Float[np.ndarray, "vertices 3"],
    camera: Cameras,
    samples: int = 3,
) -> Float[np.ndarray, "height width 4"]:
    """A picture on nothing: premultiplied colours and coverage, 0 to 1.

    Args:
        mesh: whose.
        texture: 0 to 1.
        vertices: posed, metres.
        camera: of nerfstudio's.
        samples: sub-pixels along each side of a pixel.
    """
    width, height = int(camera.width.flatten()[0]), int(camera.height.flatten()[0])
    looked = lookups(mesh, vertices, camera, samples)
    texels, shares = bilinear(looked.uv, len(texture))
    colours = (shares[..., None] * texture.reshape(-1, 3)[texels]).sum(1)
    picture = np.zeros((height * width * samples**2, 4), np.float32)
    picture[looked.seen, :3], picture[looked.seen, 3] = colours, 1
    return picture.reshape(height, samples, width, samples, 4).mean((1, 3))
