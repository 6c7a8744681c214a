"""EasyMocap and ZJU-MoCap: `Rh` and `Th` (a rotation about the origin) in JSON or npy files, one per frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy import ndarray

from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import (
    SMPL_ANGLES,
    has,
    rows,
    same_length,
    single_shape,
    smpl_poses,
    turned_about_origin,
)
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

NAME = "EasyMocap / ZJU-MoCap"
_NOTE = "no frame rate and no up axis in the file: 30 frames per second and z up are assumed"
_OTHER_PELVIS = "SMPL-X's rest pelvis is about 13 cm below SMPL's: people who bend far are off by up to that"
_SMPLX_ANGLES = 87
"""Number of values for the body, PCA of both hands, and the face; SMPL-H has 78."""
_WITHOUT_ROOT = (63, 69)
"""Widths of `poses` in newer versions, which omit the three zeros of the root."""


def can_read(data: Any) -> bool:
    """Whether the contents are frames (or one frame) with `Rh`, `Th` and `poses`."""
    return any(True for _ in _persons(data))


def read(source: MotionSource) -> MotionFile:
    """Reads one person. Points x of the body, without the rotation of the root, are at R(Rh) x + Th.

    Raises:
        DataError: its values cannot be used.
    """
    persons: dict[Any, list[tuple[int, dict]]] = defaultdict(list)
    for number, person in _persons(source.data):
        persons[person.get("id", 0)].append((number, person))
    chosen, notes = choose_person(source, {name: len(seen) for name, seen in persons.items()})
    tables = [(number, *_frames(source, person)) for number, person in persons[chosen]]
    # A single file may hold the whole motion; files of a folder hold a frame each.
    frames = np.concatenate([number + np.arange(len(poses)) for number, poses, _ in tables])
    poses, transl = (np.concatenate([table[part] for table in tables]) for part in (1, 2))
    dropped = _dropped(persons[chosen][0][1])
    shapes = [rows(source, "shapes", person["shapes"], np.shape(person["shapes"])[-1]) for _, person in persons[chosen]
              if np.size(person.get("shapes", ()))]  # fmt: skip
    betas = single_shape(source, np.concatenate(shapes) if shapes else None)
    sequence, filled = track_sequence(source, Track(frames, poses, transl, betas), 30.0)
    return MotionFile(sequence, NAME, "z", (*notes, *dropped, *filled, _NOTE))


def _persons(data: Any) -> Iterator[tuple[int, dict]]:
    """Every person in every frame, each with the number of the frame."""
    if has(data, "Rh", "Th", "poses"):
        yield 0, data
    elif has(data, "annots"):
        yield from _persons(data["annots"])
    elif isinstance(data, list):
        for entry in data:
            if has(entry, "Rh", "Th", "poses"):
                yield 0, entry
    elif isinstance(data, dict):
        for index, (name, frame) in enumerate(data.items()):
            number = int(name) if str(name).isdigit() else index
            if isinstance(frame, dict | list) and (has(frame, "annots") or has(frame, "Rh") or isinstance(frame, list)):
                yield from ((number, person) for _, person in _persons(frame))


def _frames(source: MotionSource, person: dict) -> tuple[ndarray, ndarray]:
    """Poses whose root has the whole orientation, and SMPL's translation."""
    # Imported here: scipy takes half a second, and few files need it.
    from scipy.spatial.transform import Rotation

    poses = _full_width(person["poses"])
    poses, _ = smpl_poses(source, "poses", poses)
    turns, shifts = (rows(source, name, person[name], 3) for name in ("Rh", "Th"))
    same_length(source, poses=poses, Rh=turns, Th=shifts)
    # Unknown rotations stay unknown here; the track fills them in.
    known = np.isfinite(turns).all(1) & np.isfinite(poses[:, :3]).all(1)
    outer = Rotation.from_rotvec(np.where(known[:, None], turns, 0))
    inner = Rotation.from_rotvec(np.where(known[:, None], poses[:, :3], 0))
    orient = np.where(known[:, None], (outer * inner).as_rotvec(), np.nan)
    transl = turned_about_origin(outer, shifts, source.pelvis_rest)
    return np.concatenate([orient, poses[:, 3:]], 1), transl


def _full_width(poses: Any) -> Any:
    array = np.atleast_2d(np.asarray(poses))
    return np.pad(array, ((0, 0), (3, 0))) if array.shape[-1] in _WITHOUT_ROOT else array


def _dropped(person: dict) -> tuple[str, ...]:
    width = np.atleast_2d(_full_width(person["poses"])).shape[-1]
    notes = ("hands, jaw and eyes are dropped",) if width > SMPL_ANGLES else ()
    return (*notes, _OTHER_PELVIS) if width >= _SMPLX_ANGLES else notes
