"""PeopleSnapshot as distributed: <subject>.mp4, camera.pkl, masks.hdf5, reconstructed_poses.hdf5."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.safe_pickle import load_pickle_safely
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.preprocessed import read_cameras, rgba_picture
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import SPLITS, Splits, check_split
from nerfstudio_avatars.media.video_file import VideoFile
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.motion.npz import read_npz

COPY_AGAIN = "copy the subject's folder again from the distribution"


def is_raw(folder: Path) -> bool:
    """Whether a folder is one subject as distributed."""
    return (folder / "camera.pkl").is_file() or (folder / "reconstructed_poses.hdf5").is_file()


def read_poses(folder: Path) -> BodySequence:
    """The fitted poses of all frames of the video."""
    path = folder / "reconstructed_poses.hdf5"
    fields = _read_hdf5(path, ("pose", "trans", "betas"))
    pose, transl, betas = (np.asarray(fields[name], np.float32) for name in ("pose", "trans", "betas"))
    shapes = (pose.shape, transl.shape, betas.shape)
    if pose.shape[1:] != (72,) or transl.shape != (len(pose), 3) or betas.shape[-1:] != (10,) or len(pose) == 0:
        expected = "pose (F,72), trans (F,3), betas (10)"
        raise DataError(path, "pose {}, trans {}, betas {}".format(*shapes), expected, COPY_AGAIN)
    for name, value in (("pose", pose), ("trans", transl), ("betas", betas)):
        if not np.isfinite(value).all():
            bad = np.flatnonzero(~np.isfinite(value).reshape(len(value), -1).all(1))
            found = f"NaN or infinity in {name}, first at row {bad[0]}, {len(bad)} rows in all"
            raise DataError(path, found, "finite numbers", "fill those frames from their neighbours, or leave them out")
    poses = torch.from_numpy(pose)
    return BodySequence(
        betas=torch.from_numpy(betas.reshape(10)),
        global_orient=poses[:, :3],
        body_pose=poses[:, 3:],
        transl=torch.from_numpy(transl),
    )


def count_frames(folder: Path) -> int:
    """Frames of the video that have a pose."""
    return len(read_poses(folder))


def read_splits(folder: Path) -> dict[str, Any]:
    """`splits.json`: frame ids of the splits, gender and body; empty where there is none."""
    path = folder / "splits.json"
    if not path.is_file():
        return {}
    fix = 'write {"train": [0, ...], "val": [...], "test": [...], "gender": "neutral", "body": "standin"}'
    try:
        notes = json.loads(path.read_text("utf8"))
        for name in SPLITS:
            if not all(isinstance(frame, int) for frame in notes[name]):
                raise TypeError(f"{name} holds something else than whole numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "frame ids of train, val and test", fix) from error
    return notes


def read_raw(folder: Path, splits: Splits) -> Recording:
    """Reads everything but the pictures.

    Args:
        folder: of one subject.
        splits: frame ids of each split.
    """
    video, masks = _video(folder), folder / "masks.hdf5"
    motion = read_poses(folder)
    count = len(motion)
    intrinsic, extrinsic, distortion, height, width = _camera(folder / "camera.pkl")
    _check_masks(masks, count, height, width)
    frames, fps = _check_video(video, count, height, width)
    motion = replace(motion, fps=fps)
    exact = folder / "ground_truth"
    read = SnapshotPictures(video, masks, intrinsic, distortion, _exact_pictures(exact, splits), height, width, frames)
    recording = Recording(
        folder=folder,
        subject=folder.name,
        motion=motion,
        intrinsics=np.broadcast_to(intrinsic, (count, 3, 3)),
        extrinsics=np.broadcast_to(extrinsic, (count, 4, 4)),
        height=height,
        width=width,
        splits=splits,
        read=read,
    )
    check_split(splits, count, folder)
    novel = folder / "novel_poses"
    return _with_novel_poses(recording, read, novel) if novel.is_dir() else recording


def _with_novel_poses(recording: Recording, read: SnapshotPictures, folder: Path) -> Recording:
    motion, extra = recording.motion, read_npz(folder / "poses.npz")
    first, count = len(motion), len(extra)
    paths = [folder / "images" / f"image_{i:04d}.png" for i in range(count)]
    intrinsics, extrinsics, _, _ = read_cameras(folder / "cameras.npz", count, paths[0])
    ids = range(first, first + count)
    return replace(
        recording,
        motion=replace(
            motion,
            global_orient=torch.cat([motion.global_orient, extra.global_orient]),
            body_pose=torch.cat([motion.body_pose, extra.body_pose]),
            transl=torch.cat([motion.transl, extra.transl]),
        ),
        intrinsics=np.concatenate([recording.intrinsics, intrinsics]),
        extrinsics=np.concatenate([recording.extrinsics, extrinsics]),
        splits=recording.splits | {"test": [*recording.splits["test"], *ids]},
        novel_poses=frozenset(ids),
        read=replace(read, exact=read.exact | dict(zip(ids, paths, strict=True))),
    )


def _exact_pictures(folder: Path, splits: Splits) -> dict[int, Path]:
    """RGBA pictures of held-out frames, where the lossy video need not serve."""
    held_out = (set(splits["val"]) | set(splits["test"])) - set(splits["train"])
    paths = {frame: folder / f"image_{frame:04d}.png" for frame in held_out}
    return {frame: path for frame, path in paths.items() if path.is_file()}


def _video(folder: Path) -> Path:
    named = folder / f"{folder.name}.mp4"
    videos = [named] if named.is_file() else sorted(folder.glob("*.mp4"))
    if len(videos) != 1:
        found = f"{len(videos)} .mp4 files, none of them {named.name}" if videos else "no .mp4 file"
        raise DataError(folder, found, f"the subject's video, {named.name}", COPY_AGAIN)
    return videos[0]


def _camera(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    expected = "camera_t, camera_rt (3), camera_f, camera_c (2), camera_k (5), width, height"
    try:
        camera = load_pickle_safely(path)
        focal, centre, rotation, shift, distortion = (
            np.asarray(camera[f"camera_{name}"], np.float64).reshape(size)
            for name, size in (("f", 2), ("c", 2), ("rt", 3), ("t", 3), ("k", 5))
        )
        height, width = int(camera["height"]), int(camera["width"])
    except DataError as error:
        raise DataError(path, error.found, error.expected, error.fix) from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", expected, COPY_AGAIN) from error
    if not all(np.isfinite(value).all() for value in (focal, centre, rotation, shift, distortion)) or focal.min() <= 0:
        raise DataError(path, f"focal length {focal}, centre {centre}", "finite, positive pixels", COPY_AGAIN)
    extrinsic = np.eye(4)
    extrinsic[:3, :3], extrinsic[:3, 3] = cv2.Rodrigues(rotation)[0], shift
    intrinsic = np.diag([*focal, 1.0])
    intrinsic[:2, 2] = centre
    return intrinsic, extrinsic, distortion, height, width


def _read_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return {name: file[name][()] for name in names}
    except (OSError, KeyError) as error:
        found = "no such file" if not path.is_file() else f"{type(error).__name__}: {error}"
        raise DataError(path, found, f"an HDF5 file with {', '.join(names)}", COPY_AGAIN) from error


def _check_masks(path: Path, count: int, height: int, width: int) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            shape = file["soft_masks" if "soft_masks" in file else "masks"].shape
    except (OSError, KeyError) as error:
        found = "no such file" if not path.is_file() else f"{type(error).__name__}: {error}"
        raise DataError(path, found, "an HDF5 file with masks (F,H,W)", COPY_AGAIN) from error
    if shape != (count, height, width):
        found = f"masks of shape {shape}"
        expected = f"({count}, {height}, {width}): a pose per frame in reconstructed_poses.hdf5, camera.pkl's size"
        raise DataError(path, found, expected, "write one mask per pose, at the size of the video")


def _check_video(path: Path, count: int, height: int, width: int) -> tuple[int, float]:
    video, size = probe_video(path, COPY_AGAIN), VideoFile(path, COPY_AGAIN).size()
    if size != (height, width):
        found, expected = f"{size[1]}x{size[0]} pixels", f"{width}x{height}, as camera.pkl has it"
        raise DataError(path, found, expected, "calibrate at the size of the video, or scale the video")
    if video.frames < count:
        raise DataError(
            path, f"{video.frames} frames", f"{count}, one per pose in reconstructed_poses.hdf5", COPY_AGAIN
        )
    return video.frames, video.fps


@dataclass(frozen=True)
class SnapshotPictures:
    """Decodes the video once, as far as frames are wanted."""

    video: Path
    masks: Path
    intrinsic: np.ndarray
    distortion: np.ndarray
    exact: dict[int, Path]
    """RGBA files that stand for frames of the video, or come after it."""
    height: int
    width: int
    frames: int

    def __call__(self, frames: Sequence[int]) -> Iterator[MaskedFrame]:
        """One at a time, in rising order."""
        import h5py

        wanted = [frame for frame in frames if frame not in self.exact]
        from_video = VideoFile(self.video, COPY_AGAIN).pictures(wanted)
        with h5py.File(self.masks, "r") as file:
            soft = "soft_masks" in file
            masks = file["soft_masks" if soft else "masks"]
            for frame in frames:
                if frame in self.exact:
                    yield rgba_picture(self.exact[frame], self.height, self.width)
                    continue
                mask = masks[frame]
                mask = mask.astype(np.uint8) if soft else (mask > 0).astype(np.uint8) * 255
                yield MaskedFrame(self._straight(next(from_video).rgb), self._straight(mask))

    def _straight(self, picture: np.ndarray) -> np.ndarray:
        return cv2.undistort(picture, self.intrinsic, self.distortion) if self.distortion.any() else picture
