"""Portable avatars."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.avatars.inspection.report import Fact, Report
from nerfstudio_avatars.export import PORTABLE

SUFFIXES = frozenset({PORTABLE})


def read_portable_file(path: Path) -> Report:
    """Reads what a portable avatar tells of itself, and checks all that it holds.

    Raises:
        DataError: the file is damaged, or no such file.
    """
    from nerfstudio_avatars.export.portable import read_portable

    avatar = read_portable(path)
    told, motion = avatar.provenance, avatar.scene.metadata["person"].motion
    facts = (
        Fact("method", told.method),
        Fact("steps done", told.step + 1),
        Fact("body", motion.body),
        Fact("frames of the video", len(motion)),
        Fact("maker", told.maker or "not stated"),
        Fact("licence", told.licence),
        Fact("written", f"{told.written}, by nerfstudio-avatars {told.package}"),
        Fact("size", path.stat().st_size / 1e6, "MB"),
    )
    return Report(path, "portable avatar", facts)
