"""One subject as stored on disk, independent of the layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import Splits


@dataclass(frozen=True)
class MaskedFrame:
    """An undistorted frame at full resolution."""

    rgb: UInt8[np.ndarray, "height width 3"]
    mask: UInt8[np.ndarray, "height width"]
    clean: bool = False
    """Whether colours are free of background, because they come from an RGBA file."""


@dataclass(frozen=True)
class Recording:
    """A person in front of a camera, in the OpenCV world of the files (y down, z forward), in metres and pixels."""

    folder: Path
    subject: str
    motion: BodySequence
    """Motion of all frames, including held-out and appended ones; frame ids count its rows."""
    intrinsics: Float[np.ndarray, "frames 3 3"]
    """Camera matrices in OpenCV's convention: the centre of the first pixel is (0, 0)."""
    extrinsics: Float[np.ndarray, "frames 4 4"]
    """Transforms from world to camera."""
    height: int
    width: int
    splits: Splits
    read: Callable[[Sequence[int]], Iterator[MaskedFrame]]
    """Reads pictures of frame ids, which are given in rising order."""
    masks: Callable[[Sequence[int]], Iterator[UInt8[np.ndarray, "height width"]]]
    """Reads only the masks, which is faster if pictures come from a video."""
    novel_poses: frozenset[int] = field(default_factory=frozenset)
    """Frames whose pose is not part of the motion in the video."""
    notes: tuple[str, ...] = ()
    """Notes for the user on what was dropped or guessed, or is odd."""
