"""People in the frames of a video: chooses one of them, and fills frames in which they were not detected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import slerp_axis_angle
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionSource

_MOST_FRAMES = 1_000_000
"""Largest frame number, more than nine hours; larger ones count as damage."""


@dataclass(frozen=True)
class Track:
    """A person in the frames in which a tool detected them."""

    frames: Int[ndarray, " seen"]
    """Numbers of the frames, in any order."""
    poses: Float[ndarray, "seen 72"]
    """Axis-angle vectors in radians; rows with NaN count as undetected."""
    transl: Float[ndarray, "seen 3"]
    """SMPL's translation in metres."""
    betas: Float[ndarray, "10"]
    """SMPL's shape coefficients."""

    @property
    def seen(self) -> Bool[ndarray, " seen"]:
        """Which of the frames have a whole pose."""
        return np.isfinite(self.poses).all(1) & np.isfinite(self.transl).all(1)

    @property
    def first_frame(self) -> int:
        """Number of the first frame with a whole pose, which the sequence starts with; 0 without any."""
        return int(self.frames[self.seen].min()) if self.seen.any() else 0


def choose_person(source: MotionSource, lengths: Mapping[Any, int]) -> tuple[Any, tuple[str, ...]]:
    """The person asked for, or the one in most frames, and a note if there was a choice.

    Args:
        source: the source, which names the person to take.
        lengths: the number of frames of each person, by their name in the file.

    Raises:
        DataError: the file holds nobody, or not the person asked for.
    """
    names = ", ".join(f"{name} ({count} frames)" for name, count in lengths.items())
    if not any(lengths.values()):
        raise DataError(source.path, "no person in any frame", "at least one", "choose another video or file")
    if source.person is None:
        chosen = max(lengths, key=lambda name: lengths[name])
        return chosen, (f"person {chosen} of {names} is used: the one in most frames",) if len(lengths) > 1 else ()
    for name, count in lengths.items():
        if str(name) == str(source.person) and count:
            return name, ()
    raise DataError(source.path, f"no person {source.person}", f"one of {names}", "name one of them")


def only_person(source: MotionSource, frames: int) -> None:
    """Raises `DataError` if another person than 0 is asked for, in a file that holds one."""
    choose_person(source, {0: frames})


def track_sequence(
    source: MotionSource, track: Track, fps: float, gender: str = "neutral", body: str = "smpl"
) -> tuple[BodySequence, tuple[str, ...]]:
    """Turns a track into a sequence without gaps, and notes what was filled in.

    It starts and ends where the person is detected. In gaps, rotations go the shorter way, and the translation is
    linear.

    Raises:
        DataError: no frame can be used.
    """
    seen = track.seen
    known, order = np.unique(track.frames[seen], return_index=True)
    if not len(known):
        raise DataError(source.path, "a person without a single whole pose", "at least one", "choose another person")
    count = int(known[-1] - known[0]) + 1
    if count > _MOST_FRAMES:
        found = f"frames numbered {known[0]} to {known[-1]}"
        raise DataError(source.path, found, f"at most {_MOST_FRAMES} frames", "cut the file, or number them anew")
    frames = np.arange(count) + int(known[0])
    after = np.searchsorted(known, frames)
    before = np.maximum(after - (known[after] != frames), 0)
    share = (frames - known[before]) / np.maximum(known[after] - known[before], 1)
    poses = torch.from_numpy(track.poses[seen][order]).unflatten(1, (24, 3))
    transl = torch.from_numpy(track.transl[seen][order])
    weight = torch.from_numpy(share)[:, None]
    filled = slerp_axis_angle(poses[before], poses[after], weight[..., None]).flatten(1)
    # Rotations of detected frames stay as they are in the file, even those of more than half a turn.
    filled = torch.where(weight == 0, poses[before].flatten(1), filled)
    sequence = BodySequence(
        betas=torch.from_numpy(track.betas),
        global_orient=filled[:, :3],
        body_pose=filled[:, 3:],
        transl=torch.lerp(transl[before], transl[after], weight),
        fps=fps,
        gender=gender,
        body=body,
    )
    missing = count - len(known)
    return sequence, (f"{missing} of {count} frames without the person are filled in",) if missing else ()
