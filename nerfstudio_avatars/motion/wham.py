"""WHAM: `wham_output.pkl`, a joblib file with one dict per person."""

from __future__ import annotations

from typing import Any

import numpy as np

from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has, hips_at, rows, same_length, single_shape, smpl_poses
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

NAME = "WHAM"
_RATE = "no frame rate in it: 30 a second assumed"


def can_read(data: Any) -> bool:
    """Whether the contents are a dict of people with the fields of WHAM."""
    return isinstance(data, dict) and bool(data) and all(_is_person(person) for person in data.values())


def read(source: MotionSource) -> MotionFile:
    """Reads one person, in the world (y up) if WHAM gives that, otherwise in the camera (y down).

    `trans` is SMPL's translation, but `trans_world` is the position of the middle of the hips.

    Raises:
        DataError: its values cannot be used.
    """
    lengths = {name: len(np.atleast_1d(_first(person, "pose_world", "pose"))) for name, person in source.data.items()}
    chosen, notes = choose_person(source, lengths)
    person = source.data[chosen]
    world = has(person, "pose_world", "trans_world")
    names = ("pose_world", "trans_world") if world else ("pose", "trans")
    poses, dropped = smpl_poses(source, names[0], person[names[0]])
    transl = rows(source, names[1], person[names[1]], 3)
    if world and len(poses) == len(transl):
        transl = hips_at(transl, np.nan_to_num(poses[:, :3]), source.pelvis_rest)
    numbers = _first(person, "frame_ids", "frame_id")
    frames = np.arange(len(poses)) if numbers is None else rows(source, "frame_ids", numbers, 1)[:, 0].astype(np.int64)
    same_length(source, **{names[0]: poses, names[1]: transl, "frame_ids": frames})
    track = Track(frames, poses, transl, single_shape(source, person.get("betas")))
    sequence, filled = track_sequence(source, track, 30.0)
    return MotionFile(sequence, NAME, "y" if world else "-y", (*notes, *dropped, *filled, _RATE))


def _is_person(person: Any) -> bool:
    return has(person, "pose_world", "trans_world") or has(person, "pose", "trans", "betas")


def _first(person: dict, *names: str) -> Any:
    return next((person[name] for name in names if person.get(name) is not None), None)
