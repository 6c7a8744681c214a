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
    """One undistorted frame at the full resolution."""

    rgb: UInt8[np.ndarray, "height width 3"]
    mask: UInt8[np.ndarray, "height width"]
    clean: bool = False
    """Colours hold no background: they come straight from an RGBA file."""


@dataclass(frozen=True)
class Recording:
    """A person before a camera, in the files' own OpenCV world (y down, z forward), metres and pixels."""

    folder: Path
    subject: str
    motion: BodySequence
    """Every frame, held-out and appended ones too; frame ids count its rows."""
    intrinsics: Float[np.ndarray, "frames 3 3"]
    """OpenCV's convention: the centre of the first pixel is (0, 0)."""
    extrinsics: Float[np.ndarray, "frames 4 4"]
    """World -> camera."""
    height: int
    width: int
    splits: Splits
    read: Callable[[Sequence[int]], Iterator[MaskedFrame]]
    """Pictures of frame ids given in rising order."""
    masks: Callable[[Sequence[int]], Iterator[UInt8[np.ndarray, "height width"]]]
    """Their masks alone, which is quicker where pictures come out of a video."""
    novel_poses: frozenset[int] = field(default_factory=frozenset)
    """Frames whose pose belongs to another motion than the video's."""
    notes: tuple[str, ...] = ()
    """What was dropped, guessed or is odd; users are told."""
