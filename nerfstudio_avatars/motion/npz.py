"""SMPL parameters as plain arrays: InstantAvatar's and GART's layouts, AMASS, MOYO and many tools' exports."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import regular_file
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.plain_contents import Unreadable, read_contents
from nerfstudio_avatars.motion.rotation_fields import whole_body
from nerfstudio_avatars.motion.smpl_arrays import has
from nerfstudio_avatars.motion.tracks import only_person

_LOG = logging.getLogger(__name__)
_LAYOUTS = "`global_orient` + `body_pose` + `transl`, `thetas` + `transl`, `poses` + `trans`, or an AMASS file"
PAIRS = (
    ("global_orient", "body_pose"),
    ("root_orient", "pose_body"),
    # ExAvatar (common/utils/smpl_x.py), OSX, SMPLer-X and SMPLest-X.
    ("root_pose", "body_pose"),
    ("smplx_root_pose", "smplx_body_pose"),
)
"""Pairs of names of the rotations of the root and of the body."""
_WHOLE = ("thetas", "poses", "fullpose", "full_pose", "smpl_pose", "pose")
"""Names of fields that hold both; `fullpose` is that of MoSh++ and MOYO."""
TRANSLATIONS = ("transl", "trans", "translation", "root_translation", "root_trans")
_FIX = "see docs/motion-files.md; convert the file with numpy"
_FPS_KEYS = ("fps", "mocap_framerate", "mocap_frame_rate", "frame_rate", "framerate")
_AMASS_KEYS = {"mocap_framerate", "mocap_frame_rate", "surface_model_type"}
_HANDS = {"pose_jaw", "pose_hand", "hand_pose", "jaw_pose", "lhand_pose", "left_hand_pose", "smplx_lhand_pose"}
_IN_PLACE = "no translation in the file: the person stays in place"
_RATE = "no frame rate in the file: 30 frames per second are assumed"


def can_read(data: Any) -> bool:
    """Whether the contents are a dict with poses in one of the layouts."""
    return any(has(data, *names) for names in PAIRS) or any(has(data, name) for name in _WHOLE)


def read(source: MotionSource) -> MotionFile:
    """Reads a dict of plain arrays; files with AMASS's names are z-up unless the body shows otherwise.

    Raises:
        DataError: its values cannot be used.
    """
    fields = _plain(source.data)
    sequence, notes = _sequence(fields, source.path, source.data)
    only_person(source, len(sequence))
    if _AMASS_KEYS & fields.keys():
        return MotionFile(sequence, "AMASS", "z", notes=notes)
    guess = () if any(key in fields for key in (*_FPS_KEYS, "dt")) else (_RATE,)
    return MotionFile(sequence, "SMPL arrays", "y", notes=(*notes, *guess))


def read_npz(path: str | Path) -> BodySequence:
    """Reads a sequence unchanged, in the frame of the file.

    Hands (in AMASS: SMPL-H, SMPL-X) are dropped with a warning: the 21 body joints are those of SMPL, whose own two
    hand joints stay straight. Betas of these models belong to another shape space, and are dropped too.

    Raises:
        DataError: the file is not an npz file of SMPL parameters, or its values cannot be used.
    """
    fields = _fields(Path(path))
    if not any(name in fields for name in TRANSLATIONS):
        raise DataError(path, f"the fields {', '.join(sorted(fields)) or '(none)'}", _LAYOUTS, _FIX)
    sequence, notes = _sequence(fields, path, {})
    for note in notes:
        _LOG.warning("%s: %s", path, note)
    return sequence


def _sequence(fields: Mapping[str, ndarray], path: str | Path, data: Any) -> tuple[BodySequence, tuple[str, ...]]:
    poses, notes, own = _poses(fields, path, data)
    name = next((name for name in TRANSLATIONS if name in fields), None)
    if name is None:
        unusable = [name for name in TRANSLATIONS if name in data]
        if unusable:
            found = f"`{unusable[0]}`, a {type(data[unusable[0]]).__name__} without an array of numbers"
            raise DataError(path, found, "translations of shape (frames, 3)", _FIX)
        transl, notes = np.zeros((len(poses), 3)), (*notes, _IN_PLACE)
    else:
        transl = _array(fields, path, name)
        transl = transl.reshape(-1, 3) if transl.shape[-1:] == (3,) and transl.size == 3 * len(poses) else transl
    if transl.shape != (len(poses), 3) or not len(poses):
        found = f"{len(poses)} poses and translations of shape {transl.shape}"
        raise DataError(path, found, f"translations of shape ({len(poses)}, 3), at least one frame", _FIX)
    for what, values in (("poses", poses), ("translations", transl)):
        bad = np.flatnonzero(~np.isfinite(values).all(1))
        if len(bad):
            found = f"{what} with NaN or infinity in {len(bad)} of {len(values)} frames, first in frame {bad[0]}"
            raise DataError(path, found, "finite numbers", "leave those frames out, or fill them from their neighbours")
    betas = _betas(fields, path)
    if not own:
        notes, betas = (*notes, "the betas belong to another body model than SMPL and are dropped"), np.zeros(10)
    sequence = BodySequence(
        betas=torch.from_numpy(betas).float(),
        global_orient=torch.from_numpy(poses[:, :3]).float(),
        body_pose=torch.from_numpy(poses[:, 3:]).float(),
        transl=torch.from_numpy(transl).float(),
        fps=_fps(fields, path),
        gender=_text(fields, "gender", "neutral"),
        body=_text(fields, "body", "standin"),
    )
    return sequence, notes


def _plain(data: Mapping[Any, Any]) -> dict[str, ndarray]:
    """The fields that are arrays of numbers or text; AMASS and others include pickled notes, which are not needed."""
    fields = {}
    for key, value in data.items():
        if isinstance(value, ndarray | list | float | int | str | bytes | np.generic):
            try:
                array = np.asarray(value)
            except ValueError:  # None of the fields that are needed is a ragged list.
                continue
            if array.dtype.kind in "fiubUS":
                fields[str(key)] = array
    return fields


def _fields(path: Path) -> dict[str, ndarray]:
    fix = "give an npz file; objects in it are never unpickled: save plain arrays with numpy.savez"
    expected = f"an npz with {_LAYOUTS}"
    if not path.exists():
        raise DataError(path, "no such file", expected, "check the path")
    regular_file(path, f"an npz with {_LAYOUTS}", _FIX)
    try:
        with path.open("rb") as file:
            if not file.read(4).startswith(b"PK"):
                raise DataError(path, "no npz file", expected, fix)
    except OSError as error:
        raise DataError(path, error.strerror or str(error), expected, fix) from error
    try:
        data = read_contents(path)
    except DataError as error:
        raise DataError(path, error.found, expected, fix) from error
    if not isinstance(data, dict):
        raise DataError(path, f"a {type(data).__name__}", expected, fix)
    return _plain({key: value for key, value in data.items() if not isinstance(value, Unreadable)})


def _array(fields: Mapping[str, ndarray], path: str | Path, name: str) -> ndarray:
    value = fields[name]
    if value.dtype.kind not in "fiu":
        raise DataError(path, f"{name} of type {value.dtype}", "numbers", _FIX)
    return value.astype(np.float64)


def _poses(fields: Mapping[str, ndarray], path: str | Path, data: Any) -> tuple[ndarray, tuple[str, ...], bool]:
    """Axis-angle vectors (frames, 72), notes, and whether the model is SMPL itself and not a sibling."""
    for root, body in PAIRS:
        if root in fields and body in fields and not ({"thetas", "poses"} & fields.keys() and root == "root_orient"):
            poses, notes, own = whole_body(path, body, fields[body], (root, fields[root]))
            hands = ("hands, jaw and eyes are dropped",) if _HANDS & fields.keys() else ()
            return poses, (*notes, *hands), own
    for name in _WHOLE:
        if name in fields:
            return whole_body(path, name, fields[name])
    for name in (*_WHOLE, *(name for pair in PAIRS for name in pair)):
        if isinstance(data, Mapping) and isinstance(data.get(name), Unreadable):
            raise data[name].error
    raise DataError(path, f"the fields {', '.join(sorted(fields)) or '(none)'}", _LAYOUTS, _FIX)


def _betas(fields: Mapping[str, ndarray], path: str | Path) -> ndarray:
    name = next((name for name in ("betas", "shape", "smplx_shape", "shapes") if name in fields), None)
    if name is None or not fields[name].size:
        return np.zeros(10)
    betas = _array(fields, path, name)
    # A person has one shape; files with one per frame repeat it, or estimated it again for each frame.
    betas = betas.reshape(-1, betas.shape[-1]).mean(0) if betas.ndim else np.zeros(10)
    if not np.isfinite(betas).all():
        raise DataError(path, "betas with NaN or infinity", "finite numbers", "set them to zero and refit the shape")
    return np.pad(betas[:10], (0, max(0, 10 - len(betas))))


def _fps(fields: Mapping[str, ndarray], path: str | Path) -> float:
    key = next((key for key in ("dt", *_FPS_KEYS) if key in fields and fields[key].size), None)
    if key is None:
        return 30.0
    value = float(np.median(_array(fields, path, key)))
    fps = (1 / value if value else np.inf) if key == "dt" else value
    if not 0 < fps < 10_000:
        raise DataError(path, f"{fps:g} frames per second", "a positive rate", _FIX)
    return fps


def _text(fields: Mapping[str, ndarray], key: str, default: str) -> str:
    if key not in fields or not fields[key].size:
        return default
    value = fields[key].flatten()[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
