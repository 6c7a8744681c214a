"""SAM 3D Body: MHR's 70 keypoints of people in a picture or video, turned into SMPL poses by inverse kinematics.

Fields as returned by `process_one_image` in sam-3d-body's `sam_3d_body/sam_3d_body_estimator.py`, the keypoints' order
as in its `sam_3d_body/metadata/mhr70.py`. How a video's results are nested in a file is up to whoever saves them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.forward_kinematics import standin_joints
from nerfstudio_avatars.motion.joint_positions import from_positions
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has, rows
from nerfstudio_avatars.motion.tracks import choose_person

NAME = "SAM 3D Body"
_POINTS = "pred_keypoints_3d"
_RATE = "no frame rate in the file: 30 frames per second are assumed"
_ORDER = "persons are told apart by their order in each frame"
# MHR's keypoint for each of SMPL's joints.
_SAME = {1: 9, 2: 10, 4: 11, 5: 12, 7: 13, 8: 14, 12: 69, 16: 5, 17: 6, 18: 7, 19: 8, 20: 62, 21: 41}
_EARS, _TOES = (3, 4), {10: (15, 16), 11: (18, 19)}
_BALL = 0.7
"""Share of the way from the ankle to the tips of the toes at which SMPL has its foot joint."""


def can_read(data: Any) -> bool:
    """Whether the contents are people with MHR's keypoints, by frame or alone."""
    return next(_persons(data), None) is not None


def read(source: MotionSource) -> MotionFile:
    """Reads one person in the camera (y down), whose `focal_length` is in pixels; `pred_cam_t` places it there.

    Raises:
        DataError: its values cannot be used.
    """
    persons: dict[Any, list[tuple[int, dict]]] = defaultdict(list)
    for frame, name, person in _persons(source.data):
        persons[name].append((frame, person))
    chosen, notes = choose_person(source, {name: len(seen) for name, seen in persons.items()})
    numbers, joints = [], []
    for frame, person in persons[chosen]:
        points = np.asarray(person[_POINTS], np.float64)
        points = points if points.ndim == 3 else points[None]
        if points.shape[1:] != (70, 3):
            found = f"`{_POINTS}` of shape {points.shape}"
            raise DataError(source.path, found, "70 keypoints of three numbers", "run SAM 3D Body again")
        if has(person, "pred_cam_t"):
            points = points + rows(source, "pred_cam_t", person["pred_cam_t"], 3)[:, None]
        numbers.append(frame + np.arange(len(points)))
        joints.append(smpl_joints(points))
    notes = (*notes, _ORDER) if len(persons) > 1 else notes
    every = np.concatenate(numbers)
    lenses = [
        rows(source, "focal_length", one["focal_length"], 1) for _, one in persons[chosen] if "focal_length" in one
    ]
    motion = from_positions(source, _POINTS, np.concatenate(joints), NAME, 30.0, (*notes, _RATE), "-y", every)
    return replace(motion, focal=float(np.median(np.concatenate(lenses))) if lenses else None)


def smpl_joints(points: Float[ndarray, "frames 70 3"]) -> Float[ndarray, "frames 22 3"]:
    """SMPL's first 22 joints, estimated from MHR's keypoints. Spine and collars are divided as in the rest pose."""
    rest = standin_joints().double().numpy()
    joints = np.zeros((len(points), 22, 3))
    for joint, point in _SAME.items():
        joints[:, joint] = points[:, point]
    hips = (joints[:, 1] + joints[:, 2]) / 2
    trunk = joints[:, 12] - hips
    rest_hips, rest_trunk = (rest[1] + rest[2]) / 2, rest[12] - (rest[1] + rest[2]) / 2
    for joint in (0, 3, 6, 9):
        joints[:, joint] = hips + trunk * ((rest[joint] - rest_hips) @ rest_trunk / (rest_trunk @ rest_trunk))
    for collar, shoulder in ((13, 16), (14, 17)):
        share = np.linalg.norm(rest[collar] - rest[12]) / np.linalg.norm(rest[shoulder] - rest[12])
        joints[:, collar] = joints[:, 12] + share * (joints[:, shoulder] - joints[:, 12])
    joints[:, 15] = points[:, _EARS].mean(1)
    for foot, toes in _TOES.items():
        ankle = joints[:, foot - 3]
        joints[:, foot] = ankle + _BALL * (points[:, toes].mean(1) - ankle)
    return joints


def _persons(data: Any, frame: int = 0) -> Iterator[tuple[int, Any, dict]]:
    """Frame, name and fields of every person."""
    if has(data, _POINTS):
        yield frame, data.get("person_id", data.get("track_id", 0)), data
    elif isinstance(data, list):
        for index, entry in enumerate(data):
            if has(entry, _POINTS):
                yield frame, entry.get("person_id", entry.get("track_id", index)), entry
            elif isinstance(entry, list):
                yield from _persons(entry, index)
    elif isinstance(data, dict):
        for index, (name, entry) in enumerate(data.items()):
            digits = re.findall(r"\d+", str(name))
            if isinstance(entry, list | dict) and (has(entry, _POINTS) or isinstance(entry, list)):
                yield from _persons(entry, int(digits[-1]) if digits else index)
