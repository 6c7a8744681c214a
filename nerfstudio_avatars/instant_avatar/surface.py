"""The avatar's surface as triangles, canonical and posed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar, PosedAvatar
from nerfstudio_avatars.instant_avatar.rendering.occupancy import OPACITY_LENGTH

_SURFACE_DENSITY = 25.0
"""Density in 1/m at the surface: it absorbs half of the light within three centimetres."""


@dataclass(frozen=True)
class Surface:
    """Triangles with a colour at each corner."""

    vertices: Float[Tensor, "vertices 3"]
    """Positions in metres."""
    faces: Int[Tensor, "faces 3"]
    """Vertices of each triangle, counter-clockwise seen from outside."""
    colours: Float[Tensor, "vertices 3"]
    """RGB from 0 to 1 at each vertex."""


def canonical_surface(avatar: CanonicalAvatar, spacing: float | None = None) -> Surface:
    """Finds the surface where the avatar becomes opaque, in its canonical pose. Only the largest piece is kept.

    Marching cubes (Lewiner et al. 2003, scikit-image) over the band around the template, beyond which the method knows
    nothing. The result is always the same.

    Args:
        avatar: a trained avatar.
        spacing: distance in metres between samples of the density; by default the edge of an occupancy cell.

    Raises:
        ValueError: if the avatar is opaque nowhere.
    """
    from skimage.measure import marching_cubes

    volume = avatar.volume
    spacing = spacing or volume.spacing / 2
    shape = [math.floor((n - 1) * volume.spacing / spacing) + 1 for n in volume.shape]
    axes = [torch.arange(n, device=volume.origin.device) * spacing for n in shape]
    nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2) + volume.origin
    cell, _ = _cells_of(volume, nodes)
    known = ((cell >= 0) & (volume.distance_at(nodes) < volume.band)).nonzero()[:, 0]
    density = torch.zeros(len(nodes), device=nodes.device)
    density[known] = torch.cat([avatar.density(part) for part in nodes[known].split(1 << 17)])
    opacity = -torch.expm1(-OPACITY_LENGTH * density).reshape(shape).cpu().numpy()
    level = -math.expm1(-OPACITY_LENGTH * _SURFACE_DENSITY)
    if not opacity.max() > level:
        raise ValueError("the avatar is opaque nowhere")
    # An empty margin closes the surface where the grid ends. The opaque side is the inner one.
    padded = np.pad(opacity, 1)
    vertices, faces, _, _ = marching_cubes(padded, level, spacing=(spacing,) * 3, gradient_direction="ascent")
    vertices = vertices - spacing
    vertices, faces = _largest_piece(vertices, faces)
    positions = torch.from_numpy(vertices.astype(np.float32)).to(nodes.device) + volume.origin
    colours = torch.cat([avatar.field.infer(part)[1] for part in positions.split(1 << 17)])
    return Surface(positions, torch.from_numpy(faces.astype(np.int64)).to(nodes.device), colours)


def posed_surface(surface: Surface, posed: PosedAvatar, volume: SkinningVolume) -> Surface:
    """Poses a canonical surface: each vertex moves with the cell that it is in, as in pictures of the avatar."""
    cell, place = _cells_of(volume, surface.vertices)
    outside = (cell < 0).nonzero()[:, 0]
    if len(outside):
        # Between a sample in the band and one beyond it. The cell around the former goes on straight.
        near = torch.cdist(surface.vertices[outside], _centres(volume)).argmin(1)
        cell[outside] = near
        place[outside] = (surface.vertices[outside] - volume.origin) / volume.spacing - volume.cell_index[near]
    corners = posed.nodes.detach()[volume.cells[cell].long()]
    weights = torch.ones(len(cell), 8, device=cell.device)
    for axis in range(3):
        upper = torch.tensor([corner >> axis & 1 for corner in range(8)], device=cell.device, dtype=torch.bool)
        weights *= torch.where(upper, place[:, axis, None], 1 - place[:, axis, None])
    return replace(surface, vertices=(weights[..., None] * corners).sum(1))


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
