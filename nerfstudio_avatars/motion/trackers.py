"""TRAM, VIBE and PyMAF: people in the frame of the camera, as predicted by networks.

Layouts as written by TRAM's `scripts/estimate_humans.py` (`hps/hps_track_*.npy`), and by VIBE's `demo.py`
(`vibe_output.pkl`) and, derived from it, PyMAF's (`_output.pkl`). PyMAF-X's rows of all people (`person_ids`) were not
checked against its source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has, rows, same_length, single_shape, smpl_poses
from nerfstudio_avatars.motion.tracks import Track, choose_person, only_person, track_sequence

TRAM, VIBE = "TRAM", "VIBE / PyMAF"
_RATE = "no frame rate in the file: 30 frames per second are assumed"
_NO_DEPTH = "a weak-perspective camera: the person keeps their distance"


def can_read_tram(data: Any) -> bool:
    """Whether the contents are one of TRAM's tracks."""
    return has(data, "pred_rotmat", "pred_trans")


def read_tram(source: MotionSource) -> MotionFile:
    """Reads a track in the camera (y down). TRAM's own scripts compute the motion in the world, but do not save it.

    Raises:
        DataError: its values cannot be used.
    """
    data = source.data
    poses, notes = smpl_poses(source, "pred_rotmat", data["pred_rotmat"])
    transl = rows(source, "pred_trans", data["pred_trans"], 3)
    numbers = _numbers(source, data, ("frame", "frames"), len(poses))
    same_length(source, pred_rotmat=poses, pred_trans=transl, frame=numbers)
    only_person(source, len(poses))
    track = Track(numbers, poses, transl, single_shape(source, data.get("pred_shape")))
    sequence, filled = track_sequence(source, track, 30.0)
    return MotionFile(sequence, TRAM, "-y", (*notes, *filled, _RATE), first_frame=track.first_frame)


def can_read_vibe(data: Any) -> bool:
    """Whether the contents are a dict of people with VIBE's fields, or one such person."""
    persons = data.values() if isinstance(data, dict) and not _is_person(data) else [data]
    return bool(persons) and all(_is_person(person) for person in persons)


def read_vibe(source: MotionSource) -> MotionFile:
    """Reads one person in the camera (y down). `orig_cam` (or `pred_cam`) gives the place in the picture.

    Raises:
        DataError: its values cannot be used.
    """
    persons = _by_person(source.data) if _is_person(source.data) else source.data
    chosen, notes = choose_person(source, {name: len(np.atleast_1d(one["pose"])) for name, one in persons.items()})
    person = persons[chosen]
    poses, dropped = smpl_poses(source, "pose", person["pose"])
    numbers = _numbers(source, person, ("frame_ids", "frame_id"), len(poses))
    name = next(name for name in ("orig_cam", "pred_cam") if has(person, name))
    camera = rows(source, name, person[name], 4 if name == "orig_cam" else 3)
    same_length(source, pose=poses, frame_ids=numbers, **{name: camera})
    # The projection is s (x + t): the shift is in metres, and the depth is lost.
    transl = np.concatenate([camera[:, -2:], np.zeros((len(camera), 1))], 1)
    lost: tuple[str, ...] = (_NO_DEPTH,)
    if has(person, "orig_cam_t"):
        transl, lost = rows(source, "orig_cam_t", person["orig_cam_t"], 3), ()
        same_length(source, pose=poses, orig_cam_t=transl)
    track = Track(numbers, poses, transl, single_shape(source, person.get("betas")))
    sequence, filled = track_sequence(source, track, 30.0)
    notes = (*notes, *dropped, *filled, _RATE, *lost)
    return MotionFile(sequence, VIBE, "-y", notes, first_frame=track.first_frame)


def _is_person(person: Any) -> bool:
    return has(person, "pose") and (has(person, "orig_cam") or has(person, "pred_cam"))


def _by_person(data: dict) -> dict[Any, dict]:
    """Splits rows of several people by person."""
    ids, count = np.ravel(data.get("person_ids", ())), len(np.atleast_1d(data["pose"]))
    if len(ids) != count:
        return {0: data}
    rows_of = {
        name: np.asarray(value)
        for name, value in data.items()
        if isinstance(value, ndarray | list) and len(value) == count and name != "smplx_params"
    }
    return {person: {name: value[ids == person] for name, value in rows_of.items()} for person in np.unique(ids)}


def _numbers(source: MotionSource, person: dict, names: tuple[str, ...], count: int) -> ndarray:
    name = next((name for name in names if person.get(name) is not None), None)
    return np.arange(count) if name is None else rows(source, name, person[name], 1)[:, 0].astype(np.int64)
