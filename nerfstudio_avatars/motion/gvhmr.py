"""GVHMR: `hmr4d_results.pt`, which holds SMPL-X tensors in world and camera frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import BODY_ANGLES, SMPL_ANGLES, has, rows, same_length
from nerfstudio_avatars.motion.tracks import Track, only_person, track_sequence

NAME = "GVHMR"
_WORLD, _CAMERA = "smpl_params_global", "smpl_params_incam"
_NOTE = "SMPL-X's betas are dropped; its pelvis lies about 13 cm lower than SMPL's, so heights are off by that much"


def can_read(data: Any) -> bool:
    """Whether the contents have the groups of GVHMR."""
    return has(data, _WORLD) or has(data, _CAMERA)


def read(source: MotionSource) -> MotionFile:
    """Reads the motion in the world (y up) or, failing that or if asked for, in the camera (y down).

    GVHMR uses 30 frames per second; `K_fullimg` is the camera of each.

    Raises:
        DataError: its values cannot be used.
    """
    preferred = (_CAMERA, _WORLD) if source.in_camera else (_WORLD, _CAMERA)
    group = next(name for name in preferred if has(source.data, name))
    fields = source.data[group] if isinstance(source.data[group], dict) else {}
    parts = {
        name: rows(source, f"{group}.{name}", fields.get(name, ()), width)
        for name, width in (("global_orient", 3), ("body_pose", BODY_ANGLES - 3), ("transl", 3))
    }
    same_length(source, **parts)
    only_person(source, len(parts["transl"]))
    poses = np.concatenate([parts["global_orient"], parts["body_pose"]], 1)
    poses = np.pad(poses, ((0, 0), (0, SMPL_ANGLES - BODY_ANGLES)))
    track = Track(np.arange(len(poses)), poses, parts["transl"], np.zeros(10))
    sequence, filled = track_sequence(source, track, 30.0)
    focal = None
    if has(source.data, "K_fullimg"):
        focal = float(np.median(rows(source, "K_fullimg", source.data["K_fullimg"], 9)[:, 0]))
    told = MotionFile(sequence, NAME, "y" if group == _WORLD else "-y", (*filled, _NOTE), first_frame=track.first_frame)
    return replace(told, focal=focal)
