"""Splats that a VRM moves, in one file (.gvrm): https://github.com/naruya/gaussian-vrm, arXiv 2510.13978.

A ZIP of a VRM, of a PLY with the splats where they lie in the T-pose, and of JSON that says which vertex each follows.
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from nerfstudio_avatars.export.mesh_glb import Skeleton
from nerfstudio_avatars.export.rigged_mesh import RiggedMesh
from nerfstudio_avatars.export.splat_files import ply_bytes
from nerfstudio_avatars.export.splats import SkinnedSplats

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP knows: the same avatar gives the same file."""


def gvrm_bytes(splats: SkinnedSplats, mesh: RiggedMesh, skeleton: Skeleton, vrm: bytes) -> bytes:
    """The whole file.

    Args:
        splats: bound to the mesh.
        mesh: in the canonical pose.
        skeleton: of the mesh.
        vrm: the mesh as VRM, in a T-pose on the ground, of `rigged_glb`.
    """
    moved = mesh.moved(skeleton.rest_from_canonical)
    vertices = mesh.posed(skeleton.rest_from_canonical)
    lowest, highest = float(vertices[:, 1].min()), float(vertices[:, 1].max())
    moved[:, 1, 3] -= lowest
    standing = splats.posed(moved)
    relative = standing.centres.numpy() - (vertices - [0, lowest, 0])[splats.vertices]
    told = {
        "modelScale": 1,
        "boneOperations": [],
        # Readers put the middle of the VRM at the origin, and do not move the splats.
        "gsPosition": [0, round((lowest - highest) / 2, 6), 0],
        "gsQuaternion": [0, 0, 0, 1],
        "splatVertexIndices": splats.vertices.tolist(),
        "splatBoneIndices": mesh.joints[splats.vertices, 0].tolist(),
        "splatRelativePoses": np.round(relative.astype(float), 6).reshape(-1).tolist(),
    }
    parts = {
        "model.vrm": vrm,
        "model.ply": ply_bytes(standing),
        "data.json": json.dumps(told, separators=(",", ":")).encode(),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()
