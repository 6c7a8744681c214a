"""AIST++: dancers, one pickle per recording (`smpl_poses`, `smpl_trans`, `smpl_scaling`), at 60 fps, y up."""

from __future__ import annotations

from typing import Any

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has, rows, same_length, single_shape, smpl_poses
from nerfstudio_avatars.motion.tracks import Track, only_person, track_sequence

NAME = "AIST++"


def can_read(data: Any) -> bool:
    """Whether the contents have the fields of AIST++."""
    return has(data, "smpl_poses", "smpl_trans")


def read(source: MotionSource) -> MotionFile:
    """Reads a recording. Translations are in units of the dancer's `smpl_scaling`, and are divided by it to get metres.

    Raises:
        DataError: its values cannot be used.
    """
    poses, notes = smpl_poses(source, "smpl_poses", source.data["smpl_poses"])
    transl = rows(source, "smpl_trans", source.data["smpl_trans"], 3)
    same_length(source, smpl_poses=poses, smpl_trans=transl)
    only_person(source, len(poses))
    scaling = 1.0
    if "smpl_scaling" in source.data:
        scaling = float(rows(source, "smpl_scaling", source.data["smpl_scaling"], 1)[0, 0])
        if not (np.isfinite(scaling) and scaling > 0):
            raise DataError(source.path, f"`smpl_scaling` {scaling:g}", "a number above zero", "copy the file again")
    else:
        notes = (
            *notes,
            "no `smpl_scaling`: translations are read as metres (EDGE writes such files, at 30 frames per second)",
        )
    fps = float(rows(source, "fps", source.data["fps"], 1)[0, 0]) if "fps" in source.data else 60.0
    track = Track(np.arange(len(poses)), poses, transl / scaling, single_shape(source, source.data.get("smpl_betas")))
    sequence, filled = track_sequence(source, track, fps)
    return MotionFile(sequence, NAME, "y", (*notes, *filled))
