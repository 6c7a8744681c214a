"""3DPW: people outdoors, with one Python 2 pickle per recording that holds lists over the people."""

from __future__ import annotations

from typing import Any

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has, rows, same_length, single_shape, smpl_poses
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

NAME = "3DPW"
_GENDERS = {"m": "male", "f": "female"}


def can_read(data: Any) -> bool:
    """Whether the contents have the lists of 3DPW."""
    return has(data, "poses", "trans", "cam_poses") and isinstance(data["poses"], list)


def read(source: MotionSource) -> MotionFile:
    """Reads the poses of one person at 30 frames per second, in the world (y up), not in the moving camera.

    Raises:
        DataError: its values cannot be used.
    """
    persons = source.data["poses"]
    fields = {name: source.data.get(name) or [] for name in ("trans", "betas", "genders", "campose_valid")}
    if not isinstance(fields["trans"], list) or len(fields["trans"]) != len(persons):
        found = f"`poses` of {len(persons)} persons, `trans` of {len(fields['trans'])}"
        raise DataError(source.path, found, "lists of the same length", "copy the file again")
    person, notes = choose_person(source, {number: len(poses) for number, poses in enumerate(persons)})

    def of_person(name: str) -> Any:
        return fields[name][person] if person < len(fields[name]) else None

    poses, dropped = smpl_poses(source, "poses", persons[person])
    transl = rows(source, "trans", fields["trans"][person], 3)
    same_length(source, poses=poses, trans=transl)
    valid = of_person("campose_valid")
    if valid is not None and not np.all(valid):
        unsure = int(np.size(valid) - np.count_nonzero(valid))
        notes = (*notes, f"the camera is uncertain in {unsure} frames, which does not touch the poses in the world")
    track = Track(np.arange(len(poses)), poses, transl, single_shape(source, of_person("betas")))
    gender = _GENDERS.get(str(of_person("genders") or "")[:1].lower(), "neutral")
    sequence, filled = track_sequence(source, track, 30.0, gender)
    return MotionFile(sequence, NAME, "y", (*notes, *dropped, *filled))
