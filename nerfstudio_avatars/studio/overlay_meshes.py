"""What can be laid over the picture: the body model, the mesh that leaves as a file, or the cells that rays visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.export.rigged_mesh import simplified, skinned_surface, strongest
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state

Overlay = Literal["nothing", "body", "mesh", "occupied cells"]
OVERLAYS: tuple[Overlay, ...] = ("nothing", "body", "mesh", "occupied cells")
_TRIANGLES = 6_000
"""Of the body and the mesh. A browser without a graphics card skins each of them anew with every frame."""
_SIDES = (
    (0, -1, (0, 4, 6, 2)),
    (0, 1, (1, 3, 7, 5)),
    (1, -1, (0, 1, 5, 4)),
    (1, 1, (2, 6, 7, 3)),
    (2, -1, (0, 2, 3, 1)),
    (2, 1, (4, 5, 7, 6)),
)
"""Sides of a cell: axis, direction, and its corners, counter-clockwise from outside. Bits of a corner are x, y, z."""


@dataclass(frozen=True)
class SkinnedMesh:
    """Triangles that the skeleton moves, in the avatar's canonical pose."""

    vertices: Float[np.ndarray, "vertices 3"]
    """Metres."""
    faces: Int[np.ndarray, "faces 3"]
    weights: Float[np.ndarray, "vertices 24"]
    """At most four of each vertex are above zero, because browsers know no more."""


def overlay_mesh(model: InstantAvatarModel, overlay: Overlay) -> SkinnedMesh:
    """What is laid over the picture.

    Args:
        model: the person.
        overlay: any but `nothing`.

    Raises:
        UserError: if there is no such thing yet, because the run was hardly trained.
    """
    makers: dict[str, Callable[[InstantAvatarModel], SkinnedMesh]] = {
        "body": _body,
        "mesh": _mesh,
        "occupied cells": _cells,
    }
    with torch.no_grad():
        return makers[overlay](model)


def _body(model: InstantAvatarModel) -> SkinnedMesh:
    body = model.person.body
    whole = body.pose(canonical_state(model.person.motion.betas)).vertices.numpy()
    vertices, faces = simplified(whole, body.faces.numpy(), _TRIANGLES)
    _, nearest = cKDTree(whole).query(vertices)
    return _skinned(vertices, faces, body.weights.numpy()[nearest])


def _mesh(model: InstantAvatarModel) -> SkinnedMesh:
    try:
        return _skinned(*skinned_surface(model.avatar, _TRIANGLES))
    except ValueError as error:
        raise UserError(f"{error}. Expected a run that was trained for longer.") from error


def _cells(model: InstantAvatarModel) -> SkinnedMesh:
    volume = model.avatar.volume
    sides = outer_sides(volume, model.avatar.occupied_cells).cpu()
    nodes, corners = sides.unique(return_inverse=True)
    faces = torch.cat([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    places, weights = volume.node_positions.cpu()[nodes], volume.node_weights.cpu()[nodes]
    return _skinned(places.numpy(), faces.numpy(), weights.numpy())


def outer_sides(volume: SkinningVolume, occupied: Bool[Tensor, " cells"]) -> Int[Tensor, "sides 4"]:
    """Corners of the sides between an occupied cell and one that is not, as nodes of the volume.

    Args:
        volume: has the cells.
        occupied: which of them are.
    """
    filled = torch.zeros([n + 1 for n in volume.shape], dtype=torch.bool, device=occupied.device)
    index, cells = volume.cell_index[occupied].long() + 1, volume.cells[occupied].long()
    filled[tuple(index.unbind(-1))] = True
    found = []
    for axis, direction, corners in _SIDES:
        beside = index.clone()
        beside[:, axis] += direction
        found.append(cells[~filled[tuple(beside.unbind(-1))]][:, list(corners)])
    return torch.cat(found)


def _skinned(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> SkinnedMesh:
    joints, shares = strongest(weights)
    kept = np.zeros(weights.shape, np.float32)
    # Joints without weight are given as 0 too: what counts is added.
    np.add.at(kept, (np.arange(len(kept))[:, None], joints), shares)
    return SkinnedMesh(vertices.astype(np.float32), faces.astype(np.int32), kept)
