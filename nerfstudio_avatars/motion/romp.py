"""simple-ROMP, BEV and TRACE: npz files that wrap a pickled dict (`results`, `outputs`)."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np
from numpy import ndarray

from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.smpl_arrays import has, hips_at, rows, same_length, single_shape, smpl_poses
from nerfstudio_avatars.motion.tracks import Track, choose_person, track_sequence

_RATE = "no frame rate in the file: 30 frames per second are assumed"
_UNTRACKED = "no `track_ids`: persons are told apart by their order in each frame; run ROMP with -t to track them"


def can_read(data: Any) -> bool:
    """Whether the contents have ROMP's `results` or TRACE's `outputs`."""
    if has(data, "outputs"):
        return has(data["outputs"], "smpl_thetas", "reorganize_idx")
    results = data["results"] if has(data, "results") else None
    frames = [results] if has(results, "smpl_thetas") else list(results.values()) if isinstance(results, dict) else []
    return bool(frames) and all(frame is None or has(frame, "smpl_thetas") for frame in frames)


def read(source: MotionSource) -> MotionFile:
    """Reads one person; y points down, both in ROMP's camera and in TRACE's world (its first camera).

    Both give the position of the middle of the hips, not of SMPL's origin.

    Raises:
        DataError: its values cannot be used.
    """
    if has(source.data, "outputs"):
        return _trace(source, source.data["outputs"])
    return _romp(source, source.data["results"])


def _trace(source: MotionSource, outputs: dict[str, Any]) -> MotionFile:
    poses, dropped = smpl_poses(source, "smpl_thetas", outputs["smpl_thetas"])
    world = has(outputs, "world_trans", "world_global_rots") and not source.in_camera
    where = "world_trans" if world else "cam_trans"
    hips = rows(source, where, outputs.get(where, ()), 3)
    frames = rows(source, "reorganize_idx", outputs["reorganize_idx"], 1)[:, 0].astype(np.int64)
    persons = np.ravel(outputs.get("track_ids", np.zeros(len(poses), np.int64)))
    same_length(source, smpl_thetas=poses, reorganize_idx=frames, track_ids=persons, **{where: hips})
    if world:
        turns = rows(source, "world_global_rots", outputs["world_global_rots"], 3)
        same_length(source, smpl_thetas=poses, world_global_rots=turns)
        poses = np.concatenate([turns, poses[:, 3:]], 1)
    counts = {int(person): int((persons == person).sum()) for person in np.unique(persons)}
    person, notes = choose_person(source, counts)
    mine = persons == person
    betas = outputs.get("smpl_betas")
    betas = betas[mine] if isinstance(betas, ndarray) and len(betas) == len(mine) else betas
    return _finish(source, "TRACE", (frames[mine], poses[mine], hips[mine], betas), (*notes, *dropped))


def _romp(source: MotionSource, results: dict[str, Any]) -> MotionFile:
    named = {"0": results} if has(results, "smpl_thetas") else {str(name): frame for name, frame in results.items()}
    persons: dict[int, list[tuple[int, ndarray, ndarray, Any]]] = defaultdict(list)
    untracked = False
    for number, frame in zip(_numbers(list(named)), named.values(), strict=True):
        if not frame or not np.size(frame["smpl_thetas"]):
            continue
        poses, _ = smpl_poses(source, "smpl_thetas", np.reshape(frame["smpl_thetas"], (-1, 72)))
        hips = rows(source, "cam_trans", frame.get("cam_trans", ()), 3)
        same_length(source, smpl_thetas=poses, cam_trans=hips)
        ids = np.ravel(frame.get("track_ids", ()))
        if len(ids) != len(poses):
            untracked, ids = untracked or len(poses) > 1, np.arange(len(poses))
        betas = (
            np.reshape(frame["smpl_betas"], (len(poses), -1)) if "smpl_betas" in frame else np.zeros((len(poses), 10))
        )
        for row, person in enumerate(ids):
            persons[int(person)].append((number, poses[row], hips[row], betas[row]))
    person, notes = choose_person(source, {person: len(seen) for person, seen in persons.items()})
    frames, poses, hips, betas = (np.stack(part) for part in zip(*persons[person], strict=True))
    return _finish(source, "ROMP", (frames, poses, hips, betas), (*notes, *((_UNTRACKED,) if untracked else ())))


def _numbers(names: list[str]) -> list[int]:
    """Frame numbers: the last number in each name, which shows gaps; if names have none, their order."""
    digits = [re.findall(r"\d+", name.rsplit(".", 1)[0]) for name in names]
    if all(digits) and len({int(found[-1]) for found in digits}) == len(names):
        return [int(found[-1]) for found in digits]
    order = {name: index for index, name in enumerate(sorted(names))}
    return [order[name] for name in names]


def _finish(source: MotionSource, tool: str, parts: tuple[Any, Any, Any, Any], notes: tuple[str, ...]) -> MotionFile:
    frames, poses, hips, betas = parts
    transl = hips_at(hips, np.nan_to_num(poses[:, :3]), source.pelvis_rest)
    # BEV adds an eleventh coefficient: how much of a child the person is.
    if betas is not None and np.shape(betas)[-1] > 10 and np.any(np.asarray(betas)[..., 10] > 0.8):
        notes = (*notes, "BEV took the person for a child: its shape does not fit SMPL")
    track = Track(frames, poses, transl, single_shape(source, betas))
    sequence, filled = track_sequence(source, track, 30.0)
    return MotionFile(sequence, tool, "-y", (*notes, *filled, _RATE), first_frame=track.first_frame)
