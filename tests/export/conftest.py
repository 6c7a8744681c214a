"""A mesh of the stand-in's own skin, as avatars are exported: simplified, with charts and a skeleton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.export.mesh_glb import Skeleton, skeleton_of
from nerfstudio_avatars.export.rigged_mesh import RiggedMesh, simplified, strongest, unwrapped
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state
from nerfstudio_avatars.media.vertex_normals import vertex_normals


@dataclass(frozen=True)
class SkinnedBody:
    mesh: RiggedMesh
    texture: np.ndarray
    """A chequered one, 0 to 1."""
    skeleton: Skeleton
    canonical: torch.Tensor
    """Transforms from the T-pose to the canonical pose."""


@pytest.fixture(scope="session")
def skinned_body(standin) -> SkinnedBody:
    state = canonical_state(torch.zeros(10))
    posed, (_, joints) = standin.pose(state), standin.rest(torch.zeros(10))
    vertices, faces = simplified(posed.vertices.numpy(), standin.faces.numpy(), 6000)
    near = cKDTree(posed.vertices.numpy()).query(vertices)[1]
    joint, weight = strongest(standin.weights.numpy()[near])
    normals = vertex_normals(vertices, faces)
    origin, faces, uv = unwrapped(vertices, faces)
    mesh = RiggedMesh(vertices[origin], normals[origin], faces, uv, joint[origin], weight[origin])
    row, column = np.mgrid[:256, :256]
    texture = np.stack([row / 255, column / 255, (row // 16 + column // 16) % 2], -1).astype(np.float32)
    rest_from_canonical = torch.linalg.inv(posed.joint_transforms)
    return SkinnedBody(mesh, texture, skeleton_of(joints, rest_from_canonical), posed.joint_transforms)


@pytest.fixture(scope="session")
def kick(standin) -> BodySequence:
    """A motion with y up, as files have it."""
    from nerfstudio_avatars.motion.loading import load_motion, out_of_world

    return out_of_world(load_motion("spinkick")[:30], "y", standin.rest(torch.zeros(10))[1][0])
