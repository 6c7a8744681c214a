"""What makes a rigged mesh a VRM 1.0: which joint is which bone of a human, and what others may do with the likeness.

https://github.com/vrm-c/vrm-specification, VRMC_vrm-1.0. The rest pose has to be a T-pose that faces +z, as SMPL's is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES

EXTENSION = "VRMC_vrm"
_LICENCE = "https://vrm.dev/licenses/1.0/"
_MIDDLE = {
    "pelvis": "hips",
    "spine1": "spine",
    "spine2": "chest",
    "spine3": "upperChest",
    "neck": "neck",
    "head": "head",
}
_SIDED = {
    "collar": "Shoulder",
    "shoulder": "UpperArm",
    "elbow": "LowerArm",
    "wrist": "Hand",
    "hip": "UpperLeg",
    "knee": "LowerLeg",
    "ankle": "Foot",
    "foot": "Toes",
}
BONES = _MIDDLE | {f"{side}_{joint}": f"{side}{bone}" for side in ("left", "right") for joint, bone in _SIDED.items()}
"""SMPL's joints, and the bones that VRM knows them as. SMPL's hands, beyond the wrists, are none."""


@dataclass(frozen=True)
class VrmMeta:
    """What the file says of itself. What is not said is forbidden, as suits the likeness of a real person."""

    name: str
    author: str
    licence: str = ""
    """In the author's words."""


def vrm_extension(joints: list[int], mesh_node: int, meta: VrmMeta) -> dict[str, Any]:
    """The extension's JSON.

    Args:
        joints: the node of each of SMPL's joints.
        mesh_node: the node that the mesh hangs on.
        meta: what the file says of itself.
    """
    about = {
        "name": meta.name,
        "authors": [meta.author],
        "licenseUrl": _LICENCE,
        "avatarPermission": "onlyAuthor",
        "commercialUsage": "personalNonProfit",
        "creditNotation": "required",
        "allowRedistribution": False,
        "modification": "prohibited",
        "allowExcessivelyViolentUsage": False,
        "allowExcessivelySexualUsage": False,
        "allowPoliticalOrReligiousUsage": False,
        "allowAntisocialOrHateUsage": False,
    }
    if meta.licence:
        about["copyrightInformation"] = meta.licence
    bones = {BONES[name]: {"node": node} for name, node in zip(JOINT_NAMES, joints, strict=True) if name in BONES}
    return {
        "specVersion": "1.0",
        "meta": about,
        "humanoid": {"humanBones": bones},
        # Whoever looks out of its eyes does not see its head from within.
        "firstPerson": {"meshAnnotations": [{"node": mesh_node, "type": "auto"}]},
    }
