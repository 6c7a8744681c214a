"""Joint maps: JSON files, written or corrected by hand, that say which joint of a file is which of SMPL's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes

JointMap = Mapping[str, str]
"""The file's name for each of SMPL's joints."""
REQUIRED = (
    "pelvis",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "shoulder", "elbow")),
)
"""Joints that must be found to move a body."""
_MAPPED = tuple(name for name in JOINT_NAMES if "spine" not in name)
_MOST_BYTES = 1 << 20
_FIX = "let `ns-avatar inspect FILE --write-joint-map map.json` write one and correct that"


def read_joint_map(path: Path) -> dict[str, str]:
    """Reads a joint map: a JSON object, `{"pelvis": "Hips", "left_hip": "LeftUpLeg", ...}`.

    Joints that it leaves out, or sets to null, are found as if there were no map.

    Raises:
        DataError: if it is not such a file.
    """
    expected = f"a JSON object from SMPL's joints ({', '.join(_MAPPED[:4])}, ...) to the file's names"
    try:
        content = json.loads(read_bytes(path, expected, _FIX, _MOST_BYTES).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", expected, _FIX) from error
    if not isinstance(content, dict) or not all(isinstance(name, str | None) for name in content.values()):
        raise DataError(path, f"a {type(content).__name__} of other values than text", expected, _FIX)
    unknown = [name for name in content if name not in _MAPPED]
    if unknown:
        raise DataError(path, f"`{unknown[0]}`", f"names among {', '.join(_MAPPED)}", _FIX)
    return {joint: name for joint, name in content.items() if name}


def joint_map_of(joints: JointMap) -> dict[str, str | None]:
    """A joint map to be written: the names that were matched, and None for the other joints."""
    return {name: joints.get(name) for name in _MAPPED}
