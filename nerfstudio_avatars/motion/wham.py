"""WHAM: `wham_output.pkl`, a joblib file with a dict by person, and what `wham_api.py` returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.rotation_fields import whole_body
from nerfstudio_avatars.motion.smpl_arrays import has, hips_at, rows, same_length, single_shape, smpl_poses
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

NAME = "WHAM"
_NO_TRANSLATION = "no translation in the camera in it: the person stays in place"
_RATE = "no frame rate in the file: 30 frames per second are assumed"


def can_read(data: Any) -> bool:
    """Whether the contents are a dict of people with the fields of WHAM."""
    people = _people(data)
    return bool(people) and all(_is_person(person) for person in people.values())


def read(source: MotionSource) -> MotionFile:
    """Reads one person, in the world (y up) if WHAM gives that and the camera is not asked for, otherwise in the camera
    (y down).

    `trans` is SMPL's translation, but `trans_world` is the position of the middle of the hips.

    Raises:
        DataError: its values cannot be used.
    """
    people = _people(source.data)
    lengths = {
        name: len(np.atleast_1d(_first(person, "pose_world", "pose", "poses_body"))) for name, person in people.items()
    }
    chosen, notes = choose_person(source, lengths)
    person = people[chosen]
    world = has(person, "trans_world") and (has(person, "pose_world") or has(person, "poses_root_world"))
    if source.in_camera and (has(person, "pose", "trans") or has(person, "poses_root_cam")):
        world = False
    names = ("pose_world", "trans_world") if world else ("pose", "trans")
    if has(person, "poses_body"):
        root = "poses_root_world" if world else "poses_root_cam"
        poses, dropped, _ = whole_body(source.path, "poses_body", person["poses_body"], (root, person[root]))
        if not world:
            notes, person = (*notes, _NO_TRANSLATION), person | {"trans": np.zeros((len(poses), 3))}
    else:
        poses, dropped = smpl_poses(source, names[0], person[names[0]])
    transl = rows(source, names[1], person[names[1]], 3)
    if world and len(poses) == len(transl):
        transl = hips_at(transl, np.nan_to_num(poses[:, :3]), source.pelvis_rest)
    numbers = _first(person, "frame_ids", "frame_id")
    frames = np.arange(len(poses)) if numbers is None else rows(source, "frame_ids", numbers, 1)[:, 0].astype(np.int64)
    same_length(source, **{names[0]: poses, names[1]: transl, "frame_ids": frames})
    track = Track(frames, poses, transl, single_shape(source, person.get("betas")))
    sequence, filled = track_sequence(source, track, 30.0)
    notes = (*notes, *dropped, *filled, _RATE)
    return MotionFile(sequence, NAME, "y" if world else "-y", notes, first_frame=track.first_frame)


def _is_person(person: Any) -> bool:
    if has(person, "poses_body"):
        return has(person, "poses_root_world", "trans_world") or has(person, "poses_root_cam")
    return has(person, "pose_world", "trans_world") or has(person, "pose", "trans", "betas")


def _people(data: Any) -> dict[Any, Any]:
    """The people by name. WHAM's API returns three values, of which they are the first."""
    if isinstance(data, list) and data and isinstance(data[0], dict):
        data = data[0]
    return data if isinstance(data, dict) else {}


def _first(person: dict, *names: str) -> Any:
    return next((person[name] for name in names if person.get(name) is not None), None)
