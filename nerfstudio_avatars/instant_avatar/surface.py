"""The avatar's surface as triangles, canonical and posed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar, PosedAvatar
from nerfstudio_avatars.instant_avatar.rendering.occupancy import OPACITY_LENGTH

_SURFACE_DENSITY = 25.0
"""Density in 1/m at the surface: it absorbs half of the light within three centimetres."""
_BRIDGED = 0.012
"""Half the width in metres of the gaps in the surface that do not open what is behind them."""
_DEEPEST = 0.012
"""Depth in metres below which a body is solid, whatever a training has left there, which no picture shows."""


@dataclass(frozen=True)
class Surface:
    """Triangles with a colour at each corner."""

    vertices: Float[Tensor, "vertices 3"]
    """Positions in metres."""
    faces: Int[Tensor, "faces 3"]
    """Vertices of each triangle, counter-clockwise seen from outside."""
    colours: Float[Tensor, "vertices 3"]
    """RGB from 0 to 1 at each vertex."""


def canonical_surface(
    avatar: CanonicalAvatar, spacing: float | None = None, *, smoothing: float = 0.0, density: float = _SURFACE_DENSITY
) -> Surface:
    """Finds the surface where the avatar becomes opaque, in its canonical pose. Only the largest piece is kept.

    Marching cubes (Lewiner et al. 2003, scikit-image) over the band around the template, beyond which the method knows
    nothing. What lies deep inside counts as solid. The result is always the same.

    Args:
        avatar: a trained avatar.
        spacing: distance in metres between samples of the density; by default the edge of an occupancy cell.
        smoothing: standard deviation in metres of the Gaussian that the opacity is filtered with.
        density: density of the surface in 1/m.

    Raises:
        ValueError: if the avatar is opaque nowhere.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    spacing = spacing or avatar.volume.spacing / 2
    opacity = _opacity_grid(avatar, spacing)
    # A margin of nothing closes the surface where the grid ends.
    opacity = np.pad(opacity, 1)
    level = -math.expm1(-OPACITY_LENGTH * density)
    opacity[inside(opacity > level, spacing)] = 1
    if smoothing:
        opacity = gaussian_filter(opacity, smoothing / spacing)
    if not opacity.max() > level:
        raise ValueError("the avatar is opaque nowhere")
    # The opaque side is the inner one.
    vertices, faces, _, _ = marching_cubes(opacity, level, spacing=(spacing,) * 3, gradient_direction="ascent")
    vertices, faces = _largest_piece(vertices - spacing, faces)
    origin = avatar.volume.origin
    positions = torch.from_numpy(vertices.astype(np.float32)).to(origin.device) + origin
    colours = torch.cat([avatar.field.infer(part)[1] for part in positions.split(1 << 17)])
    return Surface(positions, torch.from_numpy(faces.astype(np.int64)).to(origin.device), colours)


def inside(solid: Bool[np.ndarray, "x y z"], spacing: float) -> Bool[np.ndarray, "x y z"]:
    """What lies deep in a body, though it may have caves and thin shafts to them: fingers have no such depth.

    Args:
        solid: samples that are opaque; those at the border of the grid are not.
        spacing: distance between samples, in metres.
    """
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    margin = math.ceil(_BRIDGED / spacing) + 1
    solid = np.pad(solid, margin)
    widened = distance_transform_edt(~solid) * spacing <= _BRIDGED
    closed = solid | (distance_transform_edt(widened) * spacing > _BRIDGED)
    deep = distance_transform_edt(binary_fill_holes(closed)) * spacing > _DEEPEST
    return deep[(slice(margin, -margin),) * 3]


def _opacity_grid(avatar: CanonicalAvatar, spacing: float) -> np.ndarray:
    """Opacity over `OPACITY_LENGTH` on a grid that begins at the volume's origin, 0 where nothing is known."""
    volume = avatar.volume
    shape = [math.floor((n - 1) * volume.spacing / spacing) + 1 for n in volume.shape]
    first, *others = (torch.arange(n, device=volume.origin.device) * spacing for n in shape)
    opacity = np.zeros(shape, np.float32)
    slabs = max(1, (1 << 21) // (shape[1] * shape[2]))
    for start in range(0, shape[0], slabs):
        axes = [first[start : start + slabs], *others]
        nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        points = nodes.flatten(0, 2) + volume.origin
        cell, _ = _cells_of(volume, points)
        known = ((cell >= 0) & (volume.distance_at(points) < volume.band)).nonzero()[:, 0]
        density = torch.zeros(len(points), device=points.device)
        if len(known):
            density[known] = torch.cat([avatar.density(part) for part in points[known].split(1 << 17)])
        opacity[start : start + slabs] = (-torch.expm1(-OPACITY_LENGTH * density)).view(nodes.shape[:3]).cpu().numpy()
    return opacity


def posed_surface(surface: Surface, posed: PosedAvatar, volume: SkinningVolume) -> Surface:
    """Poses a canonical surface: each vertex moves with the cell that it is in, as in pictures of the avatar."""
    corners, weights = corners_around(volume, surface.vertices)
    return replace(surface, vertices=(weights[..., None] * posed.nodes.detach()[corners]).sum(1))


def corners_around(
    volume: SkinningVolume, points: Float[Tensor, "points 3"]
) -> tuple[Int[Tensor, "points 8"], Float[Tensor, "points 8"]]:
    """Finds the nodes of the cell that each canonical point lies in, and their shares in a trilinear interpolation.

    A point outside of all cells goes on straight with the nearest one.
    """
    cell, place = _cells_of(volume, points)
    outside = (cell < 0).nonzero()[:, 0]
    if len(outside):
        near = torch.cdist(points[outside], _centres(volume)).argmin(1)
        cell[outside] = near
        place[outside] = (points[outside] - volume.origin) / volume.spacing - volume.cell_index[near]
    weights = torch.ones(len(cell), 8, device=cell.device)
    for axis in range(3):
        upper = torch.tensor([corner >> axis & 1 for corner in range(8)], device=cell.device, dtype=torch.bool)
        weights *= torch.where(upper, place[:, axis, None], 1 - place[:, axis, None])
    return volume.cells[cell].long(), weights


def _cells_of(volume: SkinningVolume, points: Float[Tensor, "points 3"]) -> tuple[Tensor, Tensor]:
    """The cell that each point is in, or -1, and its place in the cell, from 0 to 1 along each axis."""
    scaled = (points - volume.origin) / volume.spacing
    last = torch.tensor(volume.shape, device=points.device) - 2
    index = torch.minimum(scaled.floor().long().clamp(min=0), last)
    table = torch.full(tuple(n - 1 for n in volume.shape), -1, device=points.device)
    table[tuple(volume.cell_index.long().unbind(-1))] = torch.arange(len(volume.cell_index), device=points.device)
    return table[tuple(index.unbind(-1))], scaled - index


def _centres(volume: SkinningVolume) -> Float[Tensor, "cells 3"]:
    return volume.origin + (volume.cell_index + 0.5) * volume.spacing


def _largest_piece(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected piece with the most triangles."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    links = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices), len(vertices)))
    _, piece = connected_components(links, directed=False)
    kept = piece[faces[:, 0]] == np.bincount(piece[faces[:, 0]]).argmax()
    used, renumbered = np.unique(faces[kept], return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)
