"""SLAHMR: `*_world_results.npz`, arrays whose first axis is the people, and whose second is the frames.

Names and shapes are those that `get_optim_result` in SLAHMR's `slahmr/optim/base_scene.py` collects. SLAHMR writes who
is visible when to `track_info.json`, which is not read; a `track_mask` among the arrays is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.rotation_fields import whole_body
from nerfstudio_avatars.motion.smpl_arrays import has, rows
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

NAME = "SLAHMR"
_RATE = "no frame rate in the file: 30 frames per second are assumed"
_SHAPE = "SMPL-H's betas and the hands are dropped"


def can_read(data: Any) -> bool:
    """Whether the contents have SLAHMR's fields."""
    if not has(data, "root_orient", "pose_body", "trans"):
        return False
    return np.ndim(data["trans"]) == 3 and np.shape(data["pose_body"])[2:] in ((63,), (21, 3))


def read(source: MotionSource) -> MotionFile:
    """Reads one person in SLAHMR's world, whose axes are those of the first camera (y down).

    Raises:
        DataError: its values cannot be used.
    """
    fields = {name: np.asarray(source.data[name], np.float64) for name in ("root_orient", "pose_body", "trans")}
    fields["pose_body"] = fields["pose_body"].reshape(*fields["pose_body"].shape[:2], -1)
    if len({field.shape[:2] for field in fields.values()}) > 1:
        found = ", ".join(f"`{name}` of shape {field.shape}" for name, field in fields.items())
        raise DataError(source.path, found, "the same number of persons and frames", "copy the file again")
    people, count = fields["trans"].shape[:2]
    mask = np.ones((people, count), bool)
    if "track_mask" in source.data and np.shape(source.data["track_mask"]) == mask.shape:
        mask = np.asarray(source.data["track_mask"]) > 0
    person, notes = choose_person(source, {number: int(mask[number].sum()) for number in range(people)})
    poses, _, _ = whole_body(
        source.path, "pose_body", fields["pose_body"][person], ("root_orient", fields["root_orient"][person])
    )
    transl = rows(source, "trans", fields["trans"][person], 3)
    seen = np.flatnonzero(mask[person])
    sequence, filled = track_sequence(source, Track(seen, poses[seen], transl[seen], np.zeros(10)), 30.0)
    return MotionFile(sequence, NAME, "-y", (*notes, *filled, _RATE, _SHAPE))
