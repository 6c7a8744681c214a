"""Portable avatars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.inspection.report import Fact, Report
from nerfstudio_avatars.export import PORTABLE

SUFFIXES = frozenset({PORTABLE})
_SHOWN = 6
"""Number of identities that are named."""


def read_portable_file(path: Path) -> Report:
    """Reads what a portable avatar tells of itself, and checks all that it holds.

    Raises:
        DataError: the file is damaged, or no such file.
    """
    from nerfstudio_avatars.export.portable import read_portable

    avatar = read_portable(path)
    told = avatar.provenance
    facts = (
        Fact("method", told.method),
        Fact("steps done", told.step + 1),
        *_content(avatar.scene.metadata),
        Fact("maker", told.maker or "not stated"),
        Fact("licence", told.licence),
        Fact("written", f"{told.written}, by nerfstudio-avatars {told.package}"),
        Fact("size", path.stat().st_size / 1e6, "MB"),
    )
    return Report(path, "portable avatar", facts)


def _content(scene: dict[str, Any]) -> tuple[Fact, ...]:
    """Of a person, or of a kind with its identities."""
    if "clips" in scene:
        clips = scene["clips"]
        shown = ", ".join(clips.identities[:_SHOWN]) + (", ..." if len(clips.identities) > _SHOWN else "")
        return (
            Fact("identities", len(clips.identities)),
            Fact("names", shown),
            Fact("pictures", clips.size, "pixels"),
        )
    motion = scene["person"].motion
    return Fact("body", motion.body), Fact("frames of the video", len(motion))
