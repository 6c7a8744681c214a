"""Options for reading and playing a motion. Nothing is imported here, because command lines and viewers offer them."""

from __future__ import annotations

from typing import Literal

Up = Literal["y", "-y", "z"]
"""The axis that points up in a motion file; with `-y`, the file is in the frame of a camera (y down, z forward)."""

UpOrAuto = Literal["auto", "y", "z", "-y"]
"""The axis that points up in a motion file, or `auto` to find it."""

Root = Literal["as_is", "in_place", "on_ground"]
"""Where a motion takes place: as recorded, above the origin as on a treadmill, or standing on the ground."""
