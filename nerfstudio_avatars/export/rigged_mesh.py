"""A triangle mesh that an avatar's skeleton moves: its surface, simplified, with skinning weights and charts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar
from nerfstudio_avatars.instant_avatar.surface import canonical_surface, corners_around
from nerfstudio_avatars.media.vertex_normals import vertex_normals

_SPACING = 0.006
"""Distance between samples of the density, metres: fingers are twice as thick."""
_SMOOTHING = 0.002
"""Standard deviation of the filter that takes away what a training's noise leaves on the surface, metres."""
_TAUBIN, _ROUNDS = (0.5, -0.53), 10
"""Steps of a round towards the mean of the neighbours and back, and the number of rounds."""
_SURFACE = 45.0
"""Density of the surface, 1/m."""
_SQUARE, _APART = 1024, 8
"""Side of the square that charts are packed into, roughly, and the distance between charts, in the same unit."""


@dataclass(frozen=True)
class RiggedMesh:
    """Triangles in the avatar's canonical pose, metres, y up, in its own axes."""

    vertices: Float[np.ndarray, "vertices 3"]
    normals: Float[np.ndarray, "vertices 3"]
    """Unit length, outward."""
    faces: Int[np.ndarray, "faces 3"]
    """Counter-clockwise from outside."""
    uv: Float[np.ndarray, "vertices 2"]
    """Place in the texture, 0 to 1 from its upper left corner."""
    joints: UInt8[np.ndarray, "vertices 4"]
    """The four joints that move a vertex most. Joints without weight are 0."""
    weights: Float[np.ndarray, "vertices 4"]
    """Their shares, which sum to one."""

    def moved(self, transforms: Float[Tensor, "bones 4 4"]) -> Float[np.ndarray, "vertices 3 4"]:
        """What moves each vertex, and whatever is bound to it, by linear blend skinning.

        Args:
            transforms: from canonical space to the pose, metres.
        """
        by_joint = transforms.detach().cpu().numpy()[self.joints, :3]
        return (self.weights[..., None, None] * by_joint).sum(1).astype(np.float32)

    def posed(self, transforms: Float[Tensor, "bones 4 4"]) -> Float[np.ndarray, "vertices 3"]:
        """Vertices after linear blend skinning, metres.

        Args:
            transforms: from canonical space to the pose.
        """
        moved = self.moved(transforms)
        return (np.einsum("vij,vj->vi", moved[..., :3], self.vertices) + moved[..., 3]).astype(np.float32)


def rigged_mesh(avatar: CanonicalAvatar, triangles: int) -> RiggedMesh:
    """The surface of an avatar with a skeleton.

    Args:
        avatar: trained.
        triangles: how many there may be.

    Raises:
        ValueError: if the avatar is opaque nowhere.
    """
    vertices, faces, all_weights = skinned_surface(avatar, triangles)
    normals = vertex_normals(vertices, faces)
    joints, weights = strongest(all_weights)
    origin, faces, uv = unwrapped(vertices, faces)
    return RiggedMesh(vertices[origin], normals[origin], faces, uv, joints[origin], weights[origin])


def skinned_surface(
    avatar: CanonicalAvatar, triangles: int
) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"], Float[np.ndarray, "vertices 24"]]:
    """The surface of an avatar, and which joints move it: vertices in the canonical pose in metres, triangles, weights.

    Args:
        avatar: trained.
        triangles: how many there may be.

    Raises:
        ValueError: if the avatar is opaque nowhere.
    """
    surface = canonical_surface(avatar, _SPACING, smoothing=_SMOOTHING, density=_SURFACE)
    faces = surface.faces.cpu().numpy()
    vertices, faces = simplified(smoothed(surface.vertices.cpu().numpy(), faces), faces, triangles)
    return vertices, faces, _weights_at(avatar.volume, torch.from_numpy(vertices)).numpy()


def smoothed(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """The same surface without the noise of a training, by Taubin's filter (1995), which does not shrink it."""
    from scipy.sparse import coo_matrix, diags

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = coo_matrix((np.ones(len(edges)), edges.T), (len(vertices), len(vertices))).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    mean_of_neighbours = diags(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links
    moved = vertices.astype(np.float64)
    for step in _TAUBIN * _ROUNDS:
        moved += step * (mean_of_neighbours @ moved - moved)
    return moved.astype(np.float32)


def simplified(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"], triangles: int
) -> tuple[Float[np.ndarray, "fewer 3"], Int[np.ndarray, "fewer_faces 3"]]:
    """About so many triangles, by quadric error metrics (Garland and Heckbert 1997)."""
    import fast_simplification

    if len(faces) <= triangles:
        return vertices, faces
    points, kept = fast_simplification.simplify(vertices, faces, target_count=triangles, agg=4.0)
    return _used(points.astype(np.float32), kept.astype(np.int32))


def _used(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> tuple[Float[np.ndarray, "fewer 3"], Int[np.ndarray, "fewer_faces 3"]]:
    """Without triangles of two corners, and without vertices that belong to none."""
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    used, renumbered = np.unique(faces, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3).astype(np.int32)


def _weights_at(volume: SkinningVolume, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 24"]:
    """Skinning weights of canonical points, as the avatar's pictures have them."""
    nodes, shares = corners_around(volume, points.to(volume.origin))
    weights = (shares[..., None] * volume.node_weights[nodes]).sum(1).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).cpu()


def strongest(
    weights: Float[np.ndarray, "vertices bones"],
) -> tuple[UInt8[np.ndarray, "vertices 4"], Float[np.ndarray, "vertices 4"]]:
    """The four largest weights of each vertex, which is as many as every viewer knows."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    kept = np.take_along_axis(weights, joints, 1)
    kept = kept / kept.sum(1, keepdims=True)
    kept = np.where(kept < 1e-4, 0, kept)
    kept = (kept / kept.sum(1, keepdims=True)).astype(np.float32)
    return np.where(kept > 0, joints, 0).astype(np.uint8), kept


def unwrapped(
    vertices: Float[np.ndarray, "vertices 3"], faces: Int[np.ndarray, "faces 3"]
) -> tuple[Int[np.ndarray, " more"], Int[np.ndarray, "faces 3"], Float[np.ndarray, "more 2"]]:
    """Charts in a square (xatlas): the old vertex of each new one, triangles, and places in the square, 0 to 1.

    Charts keep apart, because viewers mix neighbouring texels where they draw a texture smaller than it is.
    """
    import xatlas

    atlas, options = xatlas.Atlas(), xatlas.PackOptions()
    atlas.add_mesh(vertices, faces)
    options.resolution, options.padding = _SQUARE, _APART
    atlas.generate(pack_options=options)
    origin, charted, uv = atlas[0]
    return origin.astype(np.int64), charted.astype(np.int32), uv.astype(np.float32)
