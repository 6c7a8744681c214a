"""Writes a rigged, textured mesh with its motions as GLB."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.export.vrm import EXTENSION, VrmMeta, vrm_extension
from nerfstudio_avatars.media.vertex_normals import vertex_normals
from nerfstudio_avatars.motion.gltf_writer import CORNERS, TRIANGLES, GltfWriter, add_animation, add_skeleton

_JPEG_QUALITY = 92
_REPEAT, _LINEAR, _MIPMAPS = 33071, 9729, 9987
"""glTF's numbers for clamping to the edge, and for filters."""


@dataclass(frozen=True)
class Skeleton:
    """The joints that move a mesh."""

    rest_joints: Float[Tensor, "24 3"]
    """In the T-pose, metres, y up."""
    inverse_bind: Float[Tensor, "24 4 4"]
    """From the mesh's canonical pose to the frame of each joint."""

    @property
    def rest_from_canonical(self) -> Float[Tensor, "24 4 4"]:
        """From the canonical pose to the T-pose."""
        from_joint = torch.eye(4).repeat(24, 1, 1)
        from_joint[:, :3, 3] = self.rest_joints
        return from_joint @ self.inverse_bind


def skeleton_of(rest_joints: Float[Tensor, "24 3"], rest_from_canonical: Float[Tensor, "24 4 4"]) -> Skeleton:
    """The skeleton of an avatar.

    Args:
        rest_joints: where training has moved the joints of the T-pose, metres.
        rest_from_canonical: what moves canonical points with each joint into the T-pose.
    """
    to_joint = torch.eye(4).repeat(24, 1, 1)
    to_joint[:, :3, 3] = -rest_joints
    return Skeleton(rest_joints, to_joint @ rest_from_canonical)


def texture_bytes(texture: UInt8[np.ndarray, "size size 3"]) -> bytes:
    """A texture as JPEG, without the coarser colours that are usual there."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(texture).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return file.getvalue()


def rigged_glb(
    mesh: RiggedMesh,
    texture: bytes,
    skeleton: Skeleton,
    motions: dict[str, BodySequence],
    copyright_notice: str = "",
    vrm: VrmMeta | None = None,
) -> bytes:
    """A mesh with a skeleton, and its motions as animations. Without a motion it stands on the ground in the T-pose.

    Args:
        mesh: in the canonical pose.
        texture: of `texture_bytes`.
        skeleton: of the mesh.
        motions: by the names that viewers show; metres, y up.
        copyright_notice: what the file says of its licence.
        vrm: makes the file a VRM, and is what that says of itself.
    """
    writer = noticed_writer(copyright_notice)
    nodes = add_skeleton(writer, skeleton.rest_joints)
    lowest = float(mesh.posed(skeleton.rest_from_canonical)[:, 1].min())
    writer.json["nodes"][nodes[0]]["translation"][1] -= lowest
    person = skinned(writer, mesh, texture, nodes, skeleton.inverse_bind, "person")
    for name, motion in motions.items():
        add_animation(writer, name, motion, skeleton.rest_joints, nodes)
    if vrm is not None:
        writer.json["extensions"] = {EXTENSION: vrm_extension(nodes, person, vrm)}
        writer.json["extensionsUsed"].append(EXTENSION)
    return finished(writer, [nodes[0], person])


def static_glb(
    mesh: RiggedMesh, vertices: Float[np.ndarray, "vertices 3"], texture: bytes, copyright_notice: str = ""
) -> bytes:
    """A mesh that stands still.

    Args:
        mesh: whose triangles and texture.
        vertices: in the pose, metres, y up.
        texture: of `texture_bytes`.
        copyright_notice: what the file says of its licence.
    """
    writer = noticed_writer(copyright_notice)
    drawn = textured(writer, attributes(writer, mesh, vertices), mesh, texture, "person")
    return finished(writer, [writer.add("nodes", {"name": "person", "mesh": drawn})])


def noticed_writer(copyright_notice: str) -> GltfWriter:
    """A glTF that says so of its licence."""
    writer = GltfWriter()
    if copyright_notice:
        writer.json["asset"]["copyright"] = copyright_notice
    return writer


def skinned(
    writer: GltfWriter, mesh: RiggedMesh, texture: bytes, joints: list[int], inverse_bind: Tensor, name: str
) -> int:
    """Adds a mesh that a skeleton moves, and returns its node.

    Args:
        writer: where the skeleton is.
        mesh: in the canonical pose.
        texture: of `texture_bytes`.
        joints: nodes of the skeleton; the first is the root.
        inverse_bind: (joints, 4, 4), from the canonical pose to the frame of each joint.
        name: what viewers show.
    """
    corners = attributes(writer, mesh, mesh.vertices) | {
        "JOINTS_0": writer.array(mesh.joints, CORNERS),
        "WEIGHTS_0": writer.array(mesh.weights, CORNERS),
    }
    # glTF stores matrices by columns.
    binding = writer.array(inverse_bind.mT.reshape(-1, 16).contiguous().numpy())
    skin = writer.add("skins", {"joints": joints, "inverseBindMatrices": binding, "skeleton": joints[0]})
    drawn = textured(writer, corners, mesh, texture, name)
    return writer.add("nodes", {"name": name, "mesh": drawn, "skin": skin})


def attributes(writer: GltfWriter, mesh: RiggedMesh, vertices: np.ndarray) -> dict[str, int]:
    """Adds what every vertex has, and says where it is."""
    normals = mesh.normals if vertices is mesh.vertices else vertex_normals(vertices, mesh.faces)
    return {
        "POSITION": writer.array(vertices, CORNERS, bounds=True),
        "NORMAL": writer.array(normals, CORNERS),
        "TEXCOORD_0": writer.array(mesh.uv, CORNERS),
    }


def textured(writer: GltfWriter, attributes: dict[str, int], mesh: RiggedMesh, texture: bytes, name: str) -> int:
    """Adds the triangles with their texture, unlit, and returns the mesh."""
    image = writer.add("images", {"bufferView": writer.bytes_view(texture), "mimeType": "image/jpeg"})
    sampler = writer.add("samplers", {"wrapS": _REPEAT, "wrapT": _REPEAT, "magFilter": _LINEAR, "minFilter": _MIPMAPS})
    base = {"index": writer.add("textures", {"source": image, "sampler": sampler})}
    # Its light is in the texture. Viewers that do not know this extension show a dull surface.
    material = {
        "name": name,
        "pbrMetallicRoughness": {"baseColorTexture": base, "metallicFactor": 0.0, "roughnessFactor": 1.0},
        "extensions": {"KHR_materials_unlit": {}},
    }
    writer.json["extensionsUsed"] = ["KHR_materials_unlit"]
    kind = np.uint16 if len(mesh.vertices) < 1 << 16 else np.uint32
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": writer.array(mesh.faces.reshape(-1).astype(kind), TRIANGLES),
        "material": writer.add("materials", material),
    }
    return writer.add("meshes", {"name": name, "primitives": [primitive]})


def finished(writer: GltfWriter, nodes: list[int]) -> bytes:
    """The file, whose scene has these nodes."""
    writer.json["scene"] = writer.add("scenes", {"nodes": nodes})
    return writer.glb()
