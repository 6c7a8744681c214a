"""A small articulated body with closed forms: a capsule along z whose upper half turns about x."""

import math

import torch
import trimesh

from nerfstudio_avatars.instant_avatar.articulation.binning import bin_all
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh

RADIUS, LENGTH = 0.1, 0.5


def capsule_mesh() -> Mesh:
    """Canonical capsule from z = 0 to z = LENGTH (axis), two joints, weights passing over smoothly at the middle."""
    mesh = trimesh.creation.capsule(LENGTH, RADIUS, count=[24, 24])
    mesh.apply_translation([0, 0, LENGTH / 2 - mesh.centroid[2]])
    # subdivide: long quads along the tube would bend badly
    mesh = mesh.subdivide_to_size(0.04)
    vertices = torch.from_numpy(mesh.vertices).float()
    upper = ((vertices[:, 2] - LENGTH / 2) / 0.15 + 0.5).clamp(0, 1)
    upper = upper * upper * (3 - 2 * upper)
    return Mesh(vertices, torch.from_numpy(mesh.faces), torch.stack([1 - upper, upper], -1))


def bend(angle: float) -> torch.Tensor:
    """Transforms (2, 4, 4): the upper half turned about x at the middle of the capsule."""
    c, s = math.cos(angle), math.sin(angle)
    transforms = torch.eye(4).repeat(2, 1, 1)
    pivot = torch.tensor([0.0, 0.0, LENGTH / 2])
    transforms[1, :3, :3] = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]])
    transforms[1, :3, 3] = pivot - transforms[1, :3, :3] @ pivot
    return transforms


def capsule_distance(points: torch.Tensor) -> torch.Tensor:
    """Exact signed distance to the canonical capsule."""
    on_axis = torch.zeros_like(points)
    on_axis[:, 2] = points[:, 2].clamp(0, LENGTH)
    return (points - on_axis).norm(dim=-1) - RADIUS


def bin_cells(nodes: torch.Tensor, cells: torch.Tensor, occupied: torch.Tensor) -> PosedCells:
    """The occupied cells of a single pose, in bins."""
    return bin_all(nodes[None], cells, occupied, 0.025)[0]
