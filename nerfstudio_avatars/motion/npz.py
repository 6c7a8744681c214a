"""SMPL parameters as plain arrays: InstantAvatar's and GART's layouts, and AMASS."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has
from nerfstudio_avatars.motion.tracks import only_person

_LOG = logging.getLogger(__name__)
_LAYOUTS = "`global_orient` + `body_pose` + `transl`, `thetas` + `transl`, `poses` + `trans`, or an AMASS file"
_POSES = (("global_orient", "body_pose"), ("thetas",), ("poses",), ("root_orient", "pose_body"))
_FIX = "see the README, section on motion files; convert the file with numpy"
_FPS_KEYS = ("fps", "mocap_framerate", "mocap_frame_rate")
_SMPL_ANGLES, _BODY_ANGLES_OF_SIBLINGS = 72, 66
_AMASS_KEYS = {"mocap_framerate", "mocap_frame_rate", "surface_model_type"}


def can_read(data: Any) -> bool:
    """Whether contents are a dict with poses in one of the layouts."""
    return any(has(data, *names) for names in _POSES)


def read(source: MotionSource) -> MotionFile:
    """A dict of plain arrays as a motion; AMASS's world is z-up.

    Raises:
        DataError: its values cannot be used.
    """
    fields = {}
    for key, value in source.data.items():
        if isinstance(value, ndarray | list | float | int | str | bytes):
            try:
                fields[str(key)] = np.asarray(value)
            except ValueError:  # A ragged list is no field of ours.
                continue
    sequence, notes = _sequence({key: value for key, value in fields.items() if value.dtype != object}, source.path)
    only_person(source, len(sequence))
    if _AMASS_KEYS & fields.keys():
        return MotionFile(sequence, "AMASS", "z", notes)
    guess = () if any(key in fields for key in (*_FPS_KEYS, "dt")) else ("no frame rate in it: 30 a second assumed",)
    return MotionFile(sequence, "SMPL arrays", "y", (*notes, *guess))


def read_npz(path: str | Path) -> BodySequence:
    """Reads a sequence as it stands, in the file's own frame.

    Files with hands (AMASS: SMPL-H, SMPL-X) lose them, with a warning: their 21 body joints are SMPL's, SMPL's own
    two hand joints stay straight. Their betas belong to another shape space and are dropped too.

    Raises:
        DataError: the file is not an npz of SMPL parameters, or its values cannot be used.
    """
    sequence, notes = _sequence(_fields(Path(path)), path)
    for note in notes:
        _LOG.warning("%s: %s", path, note)
    return sequence


def _sequence(fields: Mapping[str, ndarray], path: str | Path) -> tuple[BodySequence, tuple[str, ...]]:
    poses, transl = _poses(fields, path), _array(fields, path, "transl", "trans")
    if transl.ndim == 1:
        transl = transl[None]
    if poses.ndim == 3:
        poses = poses.reshape(len(poses), -1)
    width = poses.shape[-1]
    if poses.ndim != 2 or width < _BODY_ANGLES_OF_SIBLINGS:
        raise DataError(path, f"poses of shape {poses.shape}", f"(frames, {_SMPL_ANGLES}) or AMASS's", _FIX)
    if transl.shape != (len(poses), 3) or not len(poses):
        found = f"{len(poses)} poses and translations of shape {transl.shape}"
        raise DataError(path, found, f"translations of shape ({len(poses)}, 3), at least one frame", _FIX)
    for name, values in (("poses", poses), ("translations", transl)):
        bad = np.flatnonzero(~np.isfinite(values).all(1))
        if len(bad):
            found = f"{name} with NaN or infinity in {len(bad)} of {len(values)} frames, first in frame {bad[0]}"
            raise DataError(path, found, "finite numbers", "leave those frames out, or fill them from their neighbours")
    betas = _betas(fields, path)
    notes: tuple[str, ...] = ()
    if width != _SMPL_ANGLES:
        notes = (f"poses of {width // 3} joints: hands, jaw and eyes are dropped, betas are not SMPL's",)
        hands = np.zeros((len(poses), _SMPL_ANGLES - _BODY_ANGLES_OF_SIBLINGS), poses.dtype)
        poses = np.concatenate([poses[:, :_BODY_ANGLES_OF_SIBLINGS], hands], 1)
        betas = np.zeros(10)
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


def _fields(path: Path) -> dict[str, ndarray]:
    fix = "give an npz file; objects in it are never unpickled: save plain arrays with numpy.savez"
    try:
        with np.load(path, allow_pickle=False) as file:
            if isinstance(file, ndarray):
                raise DataError(path, "one npy array", f"an npz with {_LAYOUTS}", fix)
            return {key: file[key] for key in file.files if _readable(file, key)}
    except FileNotFoundError as error:
        raise DataError(path, "no such file", f"an npz with {_LAYOUTS}", "check the path") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", f"an npz with {_LAYOUTS}", fix) from error


def _readable(file: np.lib.npyio.NpzFile, key: str) -> bool:
    """Plain arrays only: AMASS and others carry notes as pickled objects, which nobody here needs."""
    try:
        return file[key].dtype.kind in "fiubUS"
    except ValueError:
        return False


def _array(fields: Mapping[str, ndarray], path: str | Path, *names: str) -> ndarray:
    for name in names:
        if name in fields:
            value = fields[name]
            if value.dtype.kind not in "fiu":
                raise DataError(path, f"{name} of type {value.dtype}", "numbers", _FIX)
            return value.astype(np.float64)
    raise DataError(path, f"the fields {', '.join(sorted(fields)) or '(none)'}", _LAYOUTS, _FIX)


def _poses(fields: Mapping[str, ndarray], path: str | Path) -> ndarray:
    if {"global_orient", "body_pose"} <= fields.keys():
        parts = [_array(fields, path, name) for name in ("global_orient", "body_pose")]
        parts = [
            part.reshape(-1, width) if part.size % width == 0 else part
            for part, width in zip(parts, (3, 69), strict=True)
        ]
        if len(parts[0]) != len(parts[1]) or parts[0].ndim != 2 or parts[1].ndim != 2:  # noqa: PLR2004
            found = f"global_orient {fields['global_orient'].shape}, body_pose {fields['body_pose'].shape}"
            raise DataError(path, found, "shapes (frames, 3) and (frames, 69)", _FIX)
        return np.concatenate(parts, 1)
    if {"root_orient", "pose_body"} <= fields.keys() and not {"thetas", "poses"} & fields.keys():
        names = ("root_orient", "pose_body", *(name for name in ("pose_jaw", "pose_hand") if name in fields))
        parts = [_array(fields, path, name) for name in names]
        if any(part.ndim != 2 or len(part) != len(parts[0]) for part in parts):  # noqa: PLR2004
            found = ", ".join(f"{name} {fields[name].shape}" for name in names)
            raise DataError(path, found, "shapes (frames, 3) and (frames, 63)", _FIX)
        return np.concatenate(parts, 1)
    return _array(fields, path, "thetas", "poses")


def _betas(fields: Mapping[str, ndarray], path: str | Path) -> ndarray:
    if "betas" not in fields:
        return np.zeros(10)
    betas = _array(fields, path, "betas")
    # One person has one shape: files that give it per frame repeat it, or estimated it anew.
    betas = betas.reshape(-1, betas.shape[-1]).mean(0) if betas.ndim else np.zeros(10)
    if not np.isfinite(betas).all():
        raise DataError(path, "betas with NaN or infinity", "finite numbers", "set them to zero and refit the shape")
    return np.pad(betas[:10], (0, max(0, 10 - len(betas))))


def _fps(fields: Mapping[str, ndarray], path: str | Path) -> float:
    if "dt" in fields:
        fps = 1 / float(np.median(_array(fields, path, "dt")))
    else:
        fps = next((float(np.median(_array(fields, path, key))) for key in _FPS_KEYS if key in fields), 30.0)
    if not 0 < fps < 10_000:  # noqa: PLR2004
        raise DataError(path, f"{fps:g} frames per second", "a positive rate", _FIX)
    return fps


def _text(fields: Mapping[str, ndarray], key: str, default: str) -> str:
    if key not in fields or not fields[key].size:
        return default
    value = fields[key].flatten()[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
