"""The texture of a mesh, fitted to what the field shows: the texels whose pictures are most like the field's.

Each pixel of the field's pictures, in many poses and from all around, says what four texels together look like. That is
a linear least-squares problem, solved by conjugate gradients. Where nothing was seen, texels are as their neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from nerfstudio.cameras.cameras import Cameras
from scipy.ndimage import binary_dilation, distance_transform_edt
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import cg

from nerfstudio_avatars.export.mesh_picture import bilinear, lookups
from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.media.rasteriser import rasterise

_GUTTER = 3
"""Texels around each chart that are filled too, because viewers look between texels and shrink textures."""
_LIKE_START, _LIKE_NEIGHBOURS = 0.02, 0.2
"""Weights of the wish to be as the start and as the neighbours, where a pixel that faces the camera has 1."""
_LEAST_OPAQUE, _LEAST_FACING = 0.97, 0.25
_STEPS = 60


@dataclass(frozen=True)
class View:
    """A picture by the field, and where the mesh is in it."""

    picture: Float[np.ndarray, "height width 4"]
    """Premultiplied colours and accumulation, 0 to 1."""
    vertices: Float[np.ndarray, "vertices 3"]
    """The mesh in the same pose, metres."""
    camera: Cameras


def fit_texture(
    mesh: RiggedMesh, start: Float[np.ndarray, "vertices 3"], views: Iterable[View], size: int
) -> Float[np.ndarray, "size size 3"]:
    """The texture, 0 to 1.

    Args:
        mesh: whose.
        start: a first guess of the colour of each vertex, 0 to 1.
        views: what the field shows.
        size: texels along each side.
    """
    guess, charts = _painted(mesh, start, size)
    known = binary_dilation(charts, iterations=_GUTTER)
    number = np.full(size * size, -1)
    number[known.ravel()] = np.arange(known.sum())
    normal, right = _equations(mesh, guess, views, number, size)
    smooth = _neighbours(number, known, size)
    # Squared differences of neighbours; the texels that no pixel saw follow theirs.
    left = normal + _LIKE_NEIGHBOURS * smooth + _LIKE_START * diags(np.ones(normal.shape[0]))
    guessed = guess.reshape(-1, 3)[known.ravel()]
    jacobi = diags(1 / left.diagonal())
    fitted = np.stack(
        [guessed[:, channel] + cg(left, right[:, channel], M=jacobi, maxiter=_STEPS)[0] for channel in range(3)], -1
    )
    texture = guess.reshape(-1, 3).copy()
    texture[known.ravel()] = fitted.clip(0, 1)
    return texture.reshape(size, size, 3).astype(np.float32)


def _painted(
    mesh: RiggedMesh, colours: Float[np.ndarray, "vertices 3"], size: int
) -> tuple[Float[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """A texture with interpolated colours of vertices, beyond the charts those of the nearest texel, and the charts."""
    flat = np.concatenate([mesh.uv * size - 0.5, np.ones((len(mesh.uv), 1))], 1)
    # Charts may be mirrored by no means: a rasteriser that sees both sides is all that is needed.
    found = rasterise(flat, mesh.faces, np.eye(3), size, size)
    charts = found.face >= 0
    painted = np.zeros((size, size, 3))
    painted[charts] = (found.barycentric[charts][..., None] * colours[mesh.faces[found.face[charts]]]).sum(1)
    nearest = distance_transform_edt(~charts, return_distances=False, return_indices=True)
    return painted[tuple(nearest)], charts


def _equations(
    mesh: RiggedMesh,
    guess: Float[np.ndarray, "size size 3"],
    views: Iterable[View],
    number: Int[np.ndarray, " texels"],
    size: int,
) -> tuple[csr_matrix, Float[np.ndarray, "unknown 3"]]:
    """Normal matrix and right side of the difference to the guess, summed over the views."""
    unknown = int(number.max()) + 1
    normal, right = csr_matrix((unknown, unknown)), np.zeros((unknown, 3))
    for view in views:
        looked = lookups(mesh, view.vertices, view.camera)
        pixels = view.picture.reshape(-1, 4)[looked.seen]
        texels, shares = bilinear(looked.uv, size)
        column = number[texels]
        used = (pixels[:, 3] > _LEAST_OPAQUE) & (looked.facing > _LEAST_FACING) & (column >= 0).all(1)
        column, shares, pixels = column[used], shares[used], pixels[used]
        wanted = pixels[:, :3] / pixels[:, 3:] - (shares[..., None] * guess.reshape(-1, 3)[texels[used]]).sum(1)
        rows = np.repeat(np.arange(len(column)), 4)
        matrix = csr_matrix((shares.ravel(), (rows, column.ravel())), (len(column), unknown))
        weighted = matrix.multiply(looked.facing[used][:, None]).tocsr()
        normal = normal + weighted.T @ matrix
        right += weighted.T @ wanted
    return normal, right


def _neighbours(number: np.ndarray, known: Bool[np.ndarray, "size size"], size: int) -> csr_matrix:
    """The Laplacian of the texture: what the sum of squared differences of neighbouring texels is made of."""
    grid = number.reshape(size, size)
    pairs = []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        both = known[one] & known[other]
        pairs.append(np.stack([grid[one][both], grid[other][both]], -1))
    a, b = np.concatenate(pairs).T
    links = csr_matrix((np.ones(len(a)), (a, b)), (int(number.max()) + 1,) * 2)
    links = links + links.T
    return diags(np.asarray(links.sum(1)).ravel()) - links
