"""Reads SMPL or SMPL-X parameters with one dict per frame: files of ExAvatar, SMPLest-X, SMPLer-X and X-Avatar.

Layouts as written by ExAvatar's `fitting/tools/smooth_smplx_params.py` (`smplx_params_smoothed/FRAME.json`) and
SMPLer-X's `main/inference.py` (`smplx/FRAME_PERSON.npz`), and as X-Avatar's `data_process/README.md` describes
`SMPLX/*.pkl`. The layout of SMPLest-X was not checked against its source.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import npz
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.tracks import choose_person

NAME = "ExAvatar, SMPLest-X, X-Avatar"
_BY_BOX = "persons are told apart by the order of their boxes in each frame"
_FIELDS = {name for names in (*npz.PAIRS, npz.TRANSLATIONS) for name in names} - {"pose"}


def can_read(data: Any) -> bool:
    """Whether the contents are frames, by name or in a list, each with the parameters of one person."""
    frames = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    return bool(frames) and all(isinstance(frame, dict) and npz.can_read(frame) for frame in frames)


def read(source: MotionSource) -> MotionFile:
    """Reads the frames in the order of the numbers in their names; y points down, as in a camera, unless the body
    says otherwise.

    Raises:
        DataError: its values cannot be used.
    """
    data = source.data
    named = data if isinstance(data, dict) else dict(enumerate(data))
    named, notes = _one_person(source, named)
    order = sorted(named, key=lambda name: [int(digits) for digits in re.findall(r"\d+", str(name))])
    merged: dict[str, Any] = {}
    first = named[order[0]]
    for field in first:
        if field not in _FIELDS:
            continue
        missing = [name for name in order if field not in named[name]]
        if missing:
            raise DataError(source.path, f"no `{field}` in frame {missing[0]}", "it in every frame", "write it again")
        merged[field] = np.concatenate([np.asarray(named[name][field], np.float64).reshape(1, -1) for name in order])
    for field in ("betas", "gender", "fps"):
        if field in first:
            merged[field] = first[field]
    whole = npz.read(MotionSource(source.path, merged, source.pelvis_rest, None if notes else source.person))
    return MotionFile(whole.sequence, NAME, "-y", (*notes, *whole.notes))


def _one_person(source: MotionSource, named: dict[Any, dict]) -> tuple[dict[Any, dict], tuple[str, ...]]:
    """The frames of one person, and a note if SMPLer-X's names (`FRAME_PERSON`) show that there are several."""
    numbers = {name: re.fullmatch(r"\d+_(\d+)", str(name)) for name in named}
    persons = Counter(int(found[1]) for found in numbers.values() if found)
    if len(persons) < 2 or persons.total() < len(named):
        return named, ()
    chosen, notes = choose_person(source, dict(sorted(persons.items())))
    own = {name: named[name] for name, found in numbers.items() if found and int(found[1]) == chosen}
    return own, (*notes, _BY_BOX)
