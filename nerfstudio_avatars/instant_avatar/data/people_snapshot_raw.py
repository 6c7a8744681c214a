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
from jaxtyping import UInt8

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.safe_pickle import load_pickle_safely
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes, regular_file
from nerfstudio_avatars.instant_avatar.data.masked_pictures import rgba_picture
from nerfstudio_avatars.instant_avatar.data.recorded_cameras import check_cameras, read_cameras
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import MOST_FRAMES, SPLITS, Splits, check_split
from nerfstudio_avatars.media.hdf5_file import own_dataset
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES, VideoFile
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.motion.npz import read_npz

_MOST_NOTES = 1 << 26
"""Largest size of `splits.json` in bytes."""
_MOST_BYTES_OF_POSES = 1 << 28
"""Of each array of `reconstructed_poses.hdf5`: those of half a million frames."""
SOFT = "soft_masks"
"""Name of the soft masks that `ns-avatar demo-data` writes besides `masks`."""
COPY_AGAIN = "copy the subject's folder again from the distribution"


def is_raw(folder: Path) -> bool:
    """Whether a folder holds one subject as distributed."""
    return (folder / "camera.pkl").is_file() or (folder / "reconstructed_poses.hdf5").is_file()


def read_poses(folder: Path) -> BodySequence:
    """Reads the fitted poses. As distributed, there is one more than the video has frames.

    Raises:
        DataError: if they are missing, have other shapes, or are not finite.
    """
    path = folder / "reconstructed_poses.hdf5"
    fields = _read_hdf5(path, ("pose", "trans", "betas"))
    for name, value in fields.items():
        if value.dtype.kind not in "fiu":
            raise DataError(path, f"{name} of type {value.dtype}", "numbers", COPY_AGAIN)
    pose, transl, betas = (np.asarray(fields[name], np.float32) for name in ("pose", "trans", "betas"))
    shapes = (pose.shape, transl.shape, betas.shape)
    fits = pose.shape[1:] == (72,) and transl.shape[1:] == (3,) and betas.size == 10
    count = min(len(pose), len(transl)) if fits else 0
    if not count:
        expected = "pose (F,72), trans (F,3), betas (10)"
        raise DataError(path, "pose {}, trans {}, betas {}".format(*shapes), expected, COPY_AGAIN)
    for name, value in (("pose", pose[:count]), ("trans", transl[:count]), ("betas", betas)):
        if not np.isfinite(value).all():
            bad = np.flatnonzero(~np.isfinite(value).reshape(len(value), -1).all(1))
            found = f"NaN or infinity in {name}, first at row {bad[0]}, {len(bad)} rows in all"
            raise DataError(path, found, "finite numbers", "fill those frames from their neighbours, or leave them out")
    poses = torch.from_numpy(pose[:count])
    return BodySequence(
        betas=torch.from_numpy(betas.reshape(10)),
        global_orient=poses[:, :3],
        body_pose=poses[:, 3:],
        transl=torch.from_numpy(transl[:count]),
    )


def count_raw_frames(folder: Path) -> int:
    """Number of frames that have a picture, a mask and a pose, all counted from the first."""
    return min(_counts(folder).values())


def _counts(folder: Path) -> dict[str, int]:
    poses, masks = len(read_poses(folder)), _masks_shape(folder / "masks.hdf5")[0]
    return {"frames in the video": probe_video(_video(folder)).frames, "masks": masks, "poses": poses}


def _told(counts: dict[str, int]) -> tuple[str, ...]:
    """A note if some have no partner and are left out; as distributed, this is the last pose."""
    used = min(counts.values())
    if set(counts.values()) == {used}:
        return ()
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    return (f"{told}: they belong together one by one from the first, so the first {used} are used",)


def read_splits(folder: Path) -> dict[str, Any]:
    """Reads `splits.json` (frame ids of the splits, gender and body); empty if there is none."""
    path = folder / "splits.json"
    if not path.exists():
        return {}
    fix = 'write {"train": [0, ...], "val": [...], "test": [...], "gender": "neutral", "body": "standin"}'
    try:
        notes = json.loads(read_bytes(path, "frame ids of train, val and test", fix, _MOST_NOTES))
        for name in SPLITS:
            if not all(type(frame) is int and 0 <= frame <= MOST_FRAMES for frame in notes[name]):
                raise TypeError(f"{name} holds values that are not whole numbers from 0 to {MOST_FRAMES}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "frame ids of train, val and test", fix) from error
    return notes


def read_raw(folder: Path, splits: Splits) -> Recording:
    """Reads everything but the pictures.

    Args:
        folder: the folder of one subject.
        splits: frame ids of each split.
    """
    video, masks = _video(folder), folder / "masks.hdf5"
    counts = _counts(folder)
    count = min(counts.values())
    intrinsic, extrinsic, distortion, height, width = _camera(folder / "camera.pkl")
    if _masks_shape(masks)[1:] != (height, width):
        found, expected = f"masks of shape {_masks_shape(masks)}", f"({count}, {height}, {width}): camera.pkl's size"
        raise DataError(masks, found, expected, "write the masks at the size of the video")
    motion = replace(read_poses(folder)[:count], fps=_check_video(video, height, width))
    exact = _exact_pictures(folder / "ground_truth", splits)
    read = SnapshotPictures(video, masks, intrinsic, distortion, exact, height, width)
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
        masks=read.masks_of,
        notes=_told(counts),
    )
    check_split(splits, count, folder)
    novel = folder / "novel_poses"
    return _with_novel_poses(recording, read, novel) if novel.is_dir() else recording


def _with_novel_poses(recording: Recording, read: SnapshotPictures, folder: Path) -> Recording:
    motion, extra = recording.motion, read_npz(folder / "poses.npz")
    first, count = len(motion), len(extra)
    paths = [folder / "images" / f"image_{i:04d}.png" for i in range(count)]
    size = recording.height, recording.width
    intrinsics, extrinsics, *size_there = read_cameras(folder / "cameras.npz", count, size)
    if tuple(size_there) != size:
        found, expected = f"pictures of {size_there[1]}x{size_there[0]} pixels", f"{size[1]}x{size[0]}, as the video"
        raise DataError(folder / "cameras.npz", found, expected, "write the pictures at the size of the video")
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
        read=(whole := replace(read, exact=read.exact | dict(zip(ids, paths, strict=True)))),
        masks=whole.masks_of,
    )


def _exact_pictures(folder: Path, splits: Splits) -> dict[int, Path]:
    """RGBA pictures of held-out frames, which replace those of the lossy video."""
    held_out = (set(splits["val"]) | set(splits["test"])) - set(splits["train"])
    paths = {frame: folder / f"image_{frame:04d}.png" for frame in held_out}
    return {frame: path for frame, path in paths.items() if path.is_file()}


def _video(folder: Path) -> Path:
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.name[0] != ".")
    named = [path for path in videos if path.stem == folder.name]
    if len(videos) != 1 and len(named) != 1:
        found = f"{len(videos)} videos, not one of them named {folder.name}" if videos else "no video"
        raise DataError(folder, found, f"the subject's video, {folder.name}.mp4", COPY_AGAIN)
    return regular_file((named or videos)[0], "the subject's video", COPY_AGAIN)


def _camera(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    expected = "camera_t, camera_rt (3), camera_f, camera_c (2), camera_k (5), width, height"
    try:
        camera = load_pickle_safely(path)
        focal, centre, rotation, shift, distortion = (
            _real(camera[f"camera_{name}"]).reshape(size)
            for name, size in (("f", 2), ("c", 2), ("rt", 3), ("t", 3), ("k", 5))
        )
        height, width = int(camera["height"]), int(camera["width"])
    except DataError as error:
        raise DataError(path, error.found, error.expected, error.fix) from error
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", expected, COPY_AGAIN) from error
    if not all(np.isfinite(value).all() for value in (focal, centre, rotation, shift, distortion)):
        found = f"NaN or infinity: focal length {focal}, centre {centre}, distortion {distortion}"
        raise DataError(path, found, "finite numbers", COPY_AGAIN)
    extrinsic = np.eye(4)
    extrinsic[:3, :3], extrinsic[:3, 3] = cv2.Rodrigues(rotation)[0], shift
    intrinsic = np.diag([*focal, 1.0])
    intrinsic[:2, 2] = centre
    check_cameras(path, intrinsic[None], extrinsic[None], height, width, COPY_AGAIN)
    return intrinsic, extrinsic, distortion, height, width


def _real(value: Any) -> np.ndarray:
    """Numbers as float64."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"numbers of type {numbers.dtype}")
    return numbers.astype(np.float64)


def _read_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import h5py

    expected = f"an HDF5 file with {', '.join(names)}"
    regular_file(path, expected, COPY_AGAIN)
    try:
        with h5py.File(path, "r") as file:
            return {name: np.asarray(own_dataset(file, name, _MOST_BYTES_OF_POSES)[()]) for name in names}
    except (OSError, KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", expected, COPY_AGAIN) from error


def _masks_shape(path: Path) -> tuple[int, int, int]:
    """Frames, height and width."""
    import h5py

    expected = "an HDF5 file with masks (F,H,W), whole numbers"
    regular_file(path, expected, COPY_AGAIN)
    try:
        with h5py.File(path, "r") as file:
            masks = own_dataset(file, SOFT if file.get(SOFT, getlink=True) is not None else "masks")
            shape, kind = masks.shape, masks.dtype.kind
    except (OSError, KeyError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", expected, COPY_AGAIN) from error
    if len(shape) != 3 or 0 in shape or kind not in "iub":
        raise DataError(path, f"masks of shape {shape} and type {kind}", expected, COPY_AGAIN)
    return shape


def _check_video(path: Path, height: int, width: int) -> float:
    size = VideoFile(path, COPY_AGAIN).size()
    if size != (height, width):
        found, expected = f"{size[1]}x{size[0]} pixels", f"{width}x{height}, as camera.pkl has it"
        raise DataError(path, found, expected, "calibrate at the size of the video, or scale the video")
    return probe_video(path, COPY_AGAIN).fps


@dataclass(frozen=True)
class SnapshotPictures:
    """Decodes the video once, up to the last frame that is needed."""

    video: Path
    masks: Path
    intrinsic: np.ndarray
    distortion: np.ndarray
    exact: dict[int, Path]
    """RGBA files that replace frames of the video, or follow it."""
    height: int
    width: int

    def __call__(self, frames: Sequence[int]) -> Iterator[MaskedFrame]:
        """Yields frames one at a time, in rising order."""
        wanted = [frame for frame in frames if frame not in self.exact]
        from_video, of_video = VideoFile(self.video, COPY_AGAIN).pictures(wanted), self._masks_of_video(wanted)
        for frame in frames:
            if frame in self.exact:
                yield rgba_picture(self.exact[frame], self.height, self.width)
            else:
                yield MaskedFrame(self._straight(next(from_video).rgb), next(of_video))

    def masks_of(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """Yields only the masks, without decoding the video."""
        of_video = self._masks_of_video([frame for frame in frames if frame not in self.exact])
        for frame in frames:
            exact = self.exact.get(frame)
            yield next(of_video) if exact is None else rgba_picture(exact, self.height, self.width).mask

    def _masks_of_video(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width"]]:
        import h5py

        try:
            with h5py.File(self.masks, "r") as file:
                soft = file.get(SOFT, getlink=True) is not None
                masks = own_dataset(file, SOFT if soft else "masks")
                for frame in frames:
                    mask = masks[frame]
                    yield self._straight(mask.astype(np.uint8) if soft else (mask > 0).astype(np.uint8) * 255)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise DataError(self.masks, f"damaged: {error}", "a whole HDF5 file", COPY_AGAIN) from error

    def _straight(self, picture: np.ndarray) -> np.ndarray:
        return cv2.undistort(picture, self.intrinsic, self.distortion) if self.distortion.any() else picture
