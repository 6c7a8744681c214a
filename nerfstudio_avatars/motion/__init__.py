"""Motions for an avatar: those that ship with the package, and motion files of many formats.

Names are imported when they are first used, so that a command line which only needs `motion.choices` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfstudio_avatars.motion.loading import in_world, load_motion, shipped_motions
    from nerfstudio_avatars.motion.motion_file import MotionFile
    from nerfstudio_avatars.motion.readers import read_motion

__all__ = ["MotionFile", "load_motion", "read_motion", "shipped_motions", "in_world"]

_MODULES = {
    "MotionFile": "motion_file",
    "load_motion": "loading",
    "read_motion": "readers",
    "shipped_motions": "loading",
    "in_world": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
