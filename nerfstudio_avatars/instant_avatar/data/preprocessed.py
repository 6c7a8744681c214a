"""InstantAvatar's preprocessed layout: cameras.npz, images/, masks/, poses.npz, poses/{anim_nerf_,}{split}.npz."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import slerp_axis_angle
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.masked_pictures import (
    PictureFiles,
    find_masked_pictures,
    numberings,
    read_bgr,
    recording_of,
)
from nerfstudio_avatars.instant_avatar.data.recorded_cameras import read_cameras
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import SPLITS, Splits
from nerfstudio_avatars.motion.npz import read_npz

POSES = ("poses_optimized.npz", "poses.npz")
"""Files of the poses of all frames. InstantAvatar's fit writes the first one beside the estimate it started from."""


def is_preprocessed(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / "cameras.npz").exists()


def count_preprocessed_frames(folder: Path) -> int:
    """Number of pictures of the sequence that have a pose."""
    images, _, _ = find_masked_pictures(folder)
    poses = _whole(folder)
    refined = any(_first_file(folder / "poses", name) for name in SPLITS)
    return len(images) if refined or not poses.is_file() else min(len(images), len(read_npz(poses)))


def read_preprocessed(folder: Path, splits: Splits) -> Recording:
    """Reads everything but the pictures.

    Args:
        folder: the folder of one subject.
        splits: frame ids of each split, in the order of rows in its pose file.
    """
    images, masks, notes = find_masked_pictures(folder)
    motion, told = _motion(folder, splits, images)
    images = images[: len(motion)]
    size = read_bgr(images[0]).shape[:2]
    intrinsics, extrinsics, height, width = read_cameras(folder / "cameras.npz", len(images), (size[0], size[1]))
    masks = None if masks is None else {frame: path for frame, path in masks.items() if frame < len(images)}
    files = PictureFiles(images, masks, height, width)
    return recording_of(files, folder, motion, intrinsics, extrinsics, splits, (*notes, *told))


def _whole(folder: Path) -> Path:
    return next((folder / name for name in POSES if (folder / name).is_file()), folder / POSES[-1])


def _motion(folder: Path, splits: Splits, images: list[Path]) -> tuple[BodySequence, tuple[str, ...]]:
    # A person has one shape, that of the training file. Other betas in the test file are not used.
    whole, count = _whole(folder), len(images)
    parts = {name: _first_file(folder / "poses", name) for name in SPLITS}
    refined = {name: read_npz(path) for name, path in parts.items() if path is not None}
    if list(refined) == ["train"] and len(refined["train"]) == count != len(splits["train"]):
        return refined["train"], ()
    for name, sequence in refined.items():
        if len(sequence) != len(splits[name]):
            fix = f"give the frames that the file belongs to, --{name} start:end:step"
            raise DataError(str(parts[name]), f"{len(sequence)} poses", f"{len(splits[name])}, the {name} frames", fix)
    if "train" not in refined:
        motion = read_npz(whole)
        if len(motion) == count:
            return motion, ()
        for numbers in numberings(images):
            if numbers[-1] - numbers[0] + 1 == len(motion):
                told = f"{count} pictures, {len(motion)} poses in {whole.name}: the pictures' numbers tell whose"
                return _at(motion, [number - numbers[0] for number in numbers]), (told,)
        used = min(len(motion), count)
        told = f"{count} pictures, {len(motion)} poses in {whole.name}: the first {used} of each are used"
        return motion[:used], (told,)
    motion = read_npz(whole) if whole.is_file() else refined["train"]
    rows: dict[int, torch.Tensor] = {}
    for name in ("test", "val", "train"):
        if name in refined:
            rows.update(zip(splits[name], _rows(refined[name]), strict=True))
    frames = _filled(rows, count)
    return replace(
        motion,
        betas=refined["train"].betas,
        global_orient=frames[:, :3],
        body_pose=frames[:, 3:72],
        transl=frames[:, 72:],
    ), ()


def _at(motion: BodySequence, frames: list[int]) -> BodySequence:
    return replace(
        motion,
        global_orient=motion.global_orient[frames],
        body_pose=motion.body_pose[frames],
        transl=motion.transl[frames],
    )


def _first_file(folder: Path, split: str) -> Path | None:
    return next((path for prefix in ("anim_nerf_", "") if (path := folder / f"{prefix}{split}.npz").is_file()), None)


def _rows(sequence: BodySequence) -> torch.Tensor:
    return torch.cat([sequence.global_orient, sequence.body_pose, sequence.transl], 1)


def _filled(rows: dict[int, torch.Tensor], count: int) -> torch.Tensor:
    """Poses of all frames: refined ones, and interpolated ones in between, because raw poses beside them would jump."""
    known = sorted(rows)
    filled = []
    for frame in range(count):
        after = next((other for other in known if other >= frame), known[-1])
        before = next((other for other in reversed(known) if other <= frame), known[0])
        share = (frame - before) / (after - before) if after > before else 0.0
        a, b = rows[before], rows[after]
        pose = slerp_axis_angle(a[:72].view(-1, 3), b[:72].view(-1, 3), share).flatten()
        filled.append(torch.cat([pose, torch.lerp(a[72:], b[72:], share)]))
    return torch.stack(filled)
