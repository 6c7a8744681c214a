"""Writes the mesh of an object whose parts are its bones, with driving clips as animations, as GLB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.export.mesh_glb import finished, noticed_writer, skinned
from nerfstudio_avatars.export.part_mesh import in_gltf, points_in_gltf
from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.motion.gltf_writer import GltfWriter, add_tracks, continuous_turns
from nerfstudio_avatars.unsup_volanim.root_pose import PartPlaces
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

_NAME = "object"


@dataclass(frozen=True)
class PartMotion:
    """What moves the parts."""

    poses: PartPoses
    """(frames, parts)."""
    fps: float
    """Frames per second."""


def part_glb(
    mesh: RiggedMesh, texture: bytes, places: PartPlaces, motions: dict[str, PartMotion], notice: str = ""
) -> bytes:
    """A mesh with a bone for the whole object and, hanging on it, one for each part, at the part's middle.

    The object stands on the ground at rest. In an animation, the first bone moves as the parts do on average.

    Args:
        mesh: of `part_mesh`.
        texture: of `texture_bytes`.
        places: of the parts.
        motions: by the names that viewers show.
        notice: what the file says of its licence.
    """
    writer = noticed_writer(notice)
    lift = torch.tensor([0.0, -float(mesh.vertices[:, 1].min()), 0.0])
    middles, middle = points_in_gltf(places.middles), points_in_gltf(places.middle)
    nodes = _skeleton(writer, middle + lift, middles - middle)
    inverse_bind = torch.eye(4).repeat(len(nodes), 1, 1)
    inverse_bind[:, :3, 3] = -torch.cat([middle[None], middles])
    drawn = skinned(writer, mesh, texture, nodes, inverse_bind, _NAME)
    for name, motion in motions.items():
        root = _moved(in_gltf(places.root(motion.poses)), middle)
        parts = _moved(in_gltf(motion.poses), middles)
        local = torch.cat([root, torch.linalg.inv(root) @ parts], 1)
        turns = continuous_turns(matrix_to_axis_angle(local[..., :3, :3]))
        shifts = local[..., :3, 3].clone()
        shifts[:, 0] += lift
        tracks: list[tuple[int, str, np.ndarray]] = []
        for bone, node in enumerate(nodes):
            tracks += [(node, "rotation", turns[:, bone]), (node, "translation", shifts[:, bone].float().numpy())]
        add_tracks(writer, name, tracks, motion.fps)
    return finished(writer, [nodes[0], drawn])


def _skeleton(writer: GltfWriter, root: Float[Tensor, "3"], parts: Float[Tensor, "parts 3"]) -> list[int]:
    children = list(range(1, 1 + len(parts)))
    writer.add("nodes", {"name": "whole", "translation": root.tolist(), "children": children})
    for part, place in enumerate(parts.tolist()):
        writer.add("nodes", {"name": f"part_{part}", "translation": place})
    return [0, *children]


def _moved(
    motions: Float[Tensor, "frames bones 4 4"], places: Float[Tensor, "*bones 3"]
) -> Float[Tensor, "frames bones 4 4"]:
    """Frames of bones that rest at places, after their motions."""
    rest = torch.eye(4).repeat(motions.shape[1], 1, 1)
    rest[:, :3, 3] = places
    return motions @ rest
