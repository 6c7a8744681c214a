"""The surface of an object that `unsup-volanim` has learnt, as a mesh that its parts move.

Axes are those of glTF (x right, y up, z towards the viewer, whom the object faces); the unit is half a picture. Bone 0
is the whole object, bone p + 1 is part p.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.export.rigged_mesh import RiggedMesh, simplified, smoothed, strongest, unwrapped
from nerfstudio_avatars.media.vertex_normals import vertex_normals
from nerfstudio_avatars.unsup_volanim.posed_cubes import look_up
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import Skinning

_FINENESS, _FINEST = 3, 192
"""Samples of the density along the edge of a voxel, and at most along the cube."""
_NOISE = 1.0
"""Standard deviation of the filter on the density, in these samples."""
_LEAST_PIECE = 0.02
"""Share of all triangles below which a piece that is apart is taken for a floater."""
_LEVELS = tuple(0.5 * 1.5**step for step in range(12))
"""Densities (1 / half picture) that the surface may have."""
_MIRROR = (1.0, -1.0, -1.0)
"""From the axes of the scene (x right, y down, z away) to those of glTF, and back."""

Triangles = tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]


def in_gltf(poses: PartPoses) -> Float[Tensor, "*batch parts 4 4"]:
    """Motions of the parts as matrices in glTF's axes, on the CPU."""
    mirror = torch.tensor(_MIRROR)
    matrices = torch.eye(4).repeat(*poses.translation.shape[:-1], 1, 1)
    matrices[..., :3, :3] = mirror[:, None] * poses.rotation.detach().cpu() * mirror
    matrices[..., :3, 3] = mirror * poses.translation.detach().cpu()
    return matrices


def points_in_gltf(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Points of the scene in glTF's axes, or back."""
    return points * torch.tensor(_MIRROR, device=points.device)


def bones_of(poses: PartPoses) -> Float[Tensor, "bones 4 4"]:
    """What moves a mesh of `part_mesh` into a pose (1, parts)."""
    return torch.cat([torch.eye(4)[None], in_gltf(poses)[0]])


def part_mesh(
    cube: Float[Tensor, "channels n n n"],
    extents: Float[Tensor, "3"],
    scene: Float[Tensor, "3"],
    skinning: Skinning,
    triangles: int,
    likeness: Callable[[Triangles], float],
) -> RiggedMesh:
    """The surface of a canonical cube, whose vertices move as the method moves what is there.

    Args:
        cube: part logits, RGB, density before activation.
        extents: half extents of the cube, half pictures.
        scene: half extents of what cameras see of it.
        skinning: the method's.
        triangles: how many there may be.
        likeness: how like the method's own silhouettes those of some triangles (glTF's axes) are: the higher, the more.
            It decides at which density the surface is.

    Raises:
        ValueError: if nothing is solid.
    """
    density = _density_grid(cube, extents, scene)
    surfaces = [found for level in _LEVELS if (found := _surface(density, level, extents)) is not None]
    if not surfaces:
        raise ValueError("the object is solid nowhere")
    vertices, faces = max(surfaces, key=likeness)
    vertices, faces = simplified(smoothed(vertices, faces), faces, triangles)
    weights = _weights_at(cube, extents, vertices, skinning)
    columns = np.zeros((len(vertices), max(4, 1 + weights.shape[1])), np.float32)
    columns[:, 1 : 1 + weights.shape[1]] = weights
    joints, shares = strongest(columns)
    normals = vertex_normals(vertices, faces)
    origin, faces, uv = unwrapped(vertices, faces)
    return RiggedMesh(vertices[origin], normals[origin], faces, uv, joints[origin], shares[origin])


def colours_at(
    cube: Float[Tensor, "channels n n n"], extents: Float[Tensor, "3"], vertices: Float[np.ndarray, "vertices 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Colours of the volume at points in glTF's axes, 0 to 1."""
    return _looked_up(cube[-4:-1], extents, vertices).clip(0, 1)


def _weights_at(
    cube: Float[Tensor, "channels n n n"],
    extents: Float[Tensor, "3"],
    vertices: Float[np.ndarray, "vertices 3"],
    skinning: Skinning,
) -> Float[np.ndarray, "vertices parts"]:
    """Shares of the parts at points in glTF's axes, as pictures of the object at rest have them.

    Args:
        cube: part logits, RGB, density before activation.
        extents: half extents of the cube.
        vertices: half pictures.
        skinning: `compose` reads shares that are made in the voxels, `blend` makes them of logits read between them.
    """
    logits = cube[:-4]
    if skinning == "compose":
        weights = _looked_up(logits.softmax(0), extents, vertices)
    else:
        weights = torch.from_numpy(_looked_up(logits, extents, vertices)).softmax(-1).numpy()
    return weights / weights.sum(1, keepdims=True).clip(1e-9)


def _looked_up(
    volume: Float[Tensor, "channels n n n"], extents: Float[Tensor, "3"], vertices: Float[np.ndarray, "vertices 3"]
) -> Float[np.ndarray, "vertices channels"]:
    places = points_in_gltf(torch.from_numpy(vertices).float()) / extents.cpu()
    return look_up(volume[None].detach().cpu(), places.clamp(-1, 1)[None])[0].mT.numpy()


def _density_grid(
    cube: Float[Tensor, "channels n n n"], extents: Float[Tensor, "3"], scene: Float[Tensor, "3"]
) -> Float[np.ndarray, "fine fine fine"]:
    """Density on a finer grid (z, y, x), smoothed; 0 where no camera looks."""
    from scipy.ndimage import gaussian_filter

    side = min(_FINENESS * (cube.shape[-1] - 1) + 1, _FINEST)
    fine = F.interpolate(cube[None, -1:].detach().cpu().float(), [side] * 3, mode="trilinear", align_corners=True)
    axes = [torch.linspace(-1, 1, side) * float(extents[axis]) for axis in range(3)]
    x, y, z = (axis.abs() <= float(scene[number]) for number, axis in enumerate(axes))
    seen = z[:, None, None] & y[:, None] & x
    # Before the activation, so that the surface lies between solid and empty voxels as pictures have it.
    return F.relu(torch.from_numpy(gaussian_filter(fine[0, 0].numpy(), _NOISE))).mul(seen).numpy()


def _surface(density: Float[np.ndarray, "n n n"], level: float, extents: Float[Tensor, "3"]) -> Triangles | None:
    """Marching cubes without floaters; None if nothing is so dense."""
    from skimage.measure import marching_cubes

    padded = np.pad(density, 1)
    if not padded.max() > level:
        return None
    # The dense side is the inner one.
    found, faces, _, _ = marching_cubes(padded, level, gradient_direction="ascent")
    half = (density.shape[0] - 1) / 2
    places = torch.from_numpy(((found - 1 - half) / half)[:, ::-1].astype(np.float32)) * extents.cpu()
    # From (z, y, x) to (x, y, z) is a mirror, and from the scene's axes to glTF's a turn.
    return _pieces(points_in_gltf(places).numpy(), faces[:, ::-1])


def _pieces(vertices: np.ndarray, faces: np.ndarray) -> Triangles:
    """Without pieces that are small and apart."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    links = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices), len(vertices)))
    _, piece = connected_components(links, directed=False)
    count = np.bincount(piece[faces[:, 0]])
    kept = count[piece[faces[:, 0]]] >= min(_LEAST_PIECE * len(faces), count.max())
    used, renumbered = np.unique(faces[kept], return_inverse=True)
    return vertices[used].astype(np.float32), renumbered.reshape(-1, 3).astype(np.int32)
