"""4D-Humans and PHALP: a joblib file with one dict per frame, holding lists over the people in it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import angles, has, rows, single_shape
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

NAME = "4D-Humans / PHALP"
_NOTES = (
    "no frame rate in the file: 30 frames per second are assumed",
    "depth follows from the size in the picture, for a very long lens: ways towards the camera are too long",
)


def can_read(data: Any) -> bool:
    """Whether the contents are a dict of frames with the fields of PHALP."""
    return isinstance(data, dict) and bool(data) and all(has(frame, "tid", "smpl", "camera") for frame in data.values())


def read(source: MotionSource) -> MotionFile:
    """Reads one person, in the camera frame (y down).

    `smpl` and `camera` go with `tid`, not with the shorter `tracked_ids`. While a person is out of sight PHALP repeats
    the last pose (`tracked_time` above zero); those frames are filled in from their neighbours instead.

    Raises:
        DataError: its values cannot be used.
    """
    persons: dict[int, list[tuple[int, Any, Any]]] = defaultdict(list)
    for index, name in enumerate(sorted(source.data, key=str)):
        frame = source.data[name]
        parts = [frame["tid"], frame["smpl"], frame["camera"], frame.get("tracked_time", [0] * len(frame["tid"]))]
        if len({len(part) for part in parts}) > 1:
            found = f"frame {name} with {len(parts[0])} `tid`, {len(parts[1])} `smpl`, {len(parts[2])} `camera`"
            raise DataError(source.path, found, "lists of the same length", "copy the file again")
        number = int(frame["time"]) if "time" in frame else index
        for person, smpl, camera, unseen in zip(*parts, strict=True):
            if unseen <= 0 and has(smpl, "global_orient", "body_pose"):
                persons[int(person)].append((number, smpl, camera))
    person, notes = choose_person(source, {person: len(seen) for person, seen in persons.items()})
    numbers, smpls, cameras = zip(*persons[person], strict=True)
    orient = angles(source, "global_orient", [smpl["global_orient"] for smpl in smpls], 1)
    body = angles(source, "body_pose", [smpl["body_pose"] for smpl in smpls], 23)
    betas = single_shape(source, [np.ravel(smpl.get("betas", np.zeros(10))) for smpl in smpls])
    transl = rows(source, "camera", [np.ravel(camera) for camera in cameras], 3)
    track = Track(np.array(numbers), np.concatenate([orient, body], 1), transl, betas)
    sequence, filled = track_sequence(source, track, 30.0)
    return MotionFile(sequence, NAME, "-y", (*notes, *filled, *_NOTES), first_frame=track.first_frame)
