"""Writes a video of one person as a subject in InstantAvatar's preprocessed layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import HELD_OUT_EVERY, held_out_split
from nerfstudio_avatars.media.picture_files import listed_pictures, read_picture, write_png
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES, VideoFile
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.process.body_fit import BodyFit, FittedBody
from nerfstudio_avatars.process.body_landmarks import BodyLandmarks, SeenBody
from nerfstudio_avatars.whole_files import whole_folder

_FEWEST = 8
"""Smallest number of frames with a person for a video of a turn."""
Progress = Callable[[str, int, int], None]
"""Called with the current task, how much of it is done, and its total."""


@dataclass(frozen=True)
class Footage:
    """The frames of a video that show a person."""

    numbers: list[int]
    """Numbers of the frames in the video."""
    pictures: list[UInt8[np.ndarray, "height width 3"]]
    seen: list[SeenBody]
    empty: list[int]
    """Numbers of frames in which nobody was found."""
    fps: float
    """Frame rate of the frames taken."""

    @property
    def cut_off(self) -> list[int]:
        """Numbers of frames in which the person reaches the border of the picture."""
        edges = [one.person[[0, -1]].any() or one.person[:, [0, -1]].any() for one in self.seen]
        return [number for number, edge in zip(self.numbers, edges, strict=True) if edge]


def look_at(
    video: Path, frames: int, seconds: tuple[float, float | None], size: int, progress: Progress | None = None
) -> Footage:
    """Takes evenly spaced frames from a video or a folder of pictures, and finds the person in each.

    Args:
        video: a video file, which is turned upright as its metadata say, or a folder of pictures.
        frames: the number of frames to take.
        seconds: start and end; None is the end of the video. Pictures in a folder count as 30 per second.
        size: the maximum length of the longer side, in pixels.

    Raises:
        DataError: it is not a video, is too short, or shows nobody.
        RuntimeMissing: without `ai-edge-litert`.
    """
    count, fps = length_of(video)
    first = round(seconds[0] * fps)
    last = count - 1 if seconds[1] is None else min(round(seconds[1] * fps), count - 1)
    if not 0 <= first < last:
        length = f"{count / fps:.1f} s; --start {seconds[0]:g} and --end {seconds[1] or count / fps:g} leave nothing"
        raise DataError(video, length, "moments within the video", "choose --start and --end within it")
    wanted = np.unique(np.linspace(first, last, frames).round().astype(int)).tolist()
    find = BodyLandmarks()
    found: list[tuple[int, np.ndarray, SeenBody]] = []
    empty = []
    for done, (number, picture) in enumerate(zip(wanted, pictures_of(video, wanted, size), strict=True)):
        seen = find.detect(picture)
        if seen is None:
            empty.append(number)
        else:
            found.append((number, picture, seen))
        if progress:
            progress("Detecting people", done + 1, len(wanted))
    if len(found) < _FEWEST:
        told = f"a person in {len(found)} of {len(wanted)} frames"
        fix = "film one person, from head to feet, who turns around slowly; or choose --start and --end"
        raise DataError(video, told, f"at least {_FEWEST}", fix)
    if len({picture.shape for _, picture, _ in found}) > 1:
        raise DataError(video, "pictures of several sizes", "one size", "keep pictures of one camera only")
    rate = fps * (len(wanted) - 1) / (last - first)
    return Footage([one[0] for one in found], [one[1] for one in found], [one[2] for one in found], empty, rate)


def camera_matrix(height: int, width: int, field_of_view: float) -> Float[np.ndarray, "3 3"]:
    """A camera matrix whose axis meets the middle of the picture; the centre of the first pixel is at one half.

    Args:
        field_of_view: along the longer side, in degrees.
    """
    focal = max(height, width) / 2 / np.tan(np.deg2rad(field_of_view) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def turned_by(fitted: FittedBody) -> float:
    """The turn that the person shows the camera, in degrees: 360 minus the largest gap between directions."""
    facing = axis_angle_to_matrix(fitted.motion.global_orient)[:, :, 2]
    angles = torch.atan2(facing[:, 0], facing[:, 2]).sort().values
    gaps = torch.cat([angles.diff(), angles[:1] + 2 * torch.pi - angles[-1:]])
    return float(360 - gaps.max().rad2deg())


def fit(footage: Footage, body: SmplBody, field_of_view: float, progress: Progress | None = None) -> FittedBody:
    """Fits the body in all frames, in camera axes."""
    height, width = footage.seen[0].mask.shape
    camera = camera_matrix(height, width, field_of_view)
    report = None if progress is None else lambda done, of: progress("Fitting the body", done, of)
    fitted = BodyFit(body, footage.seen, camera).run(report)
    return replace(fitted, motion=replace(fitted.motion, fps=footage.fps))


def write_subject(
    folder: Path, footage: Footage, fitted: FittedBody, field_of_view: float, beside: Callable[[Path], None]
) -> None:
    """Writes images/, masks/, cameras.npz, poses.npz and splits.json; the folder appears once it is complete.

    Args:
        folder: does not exist yet.
        footage: what is seen.
        fitted: the body in it, in camera axes.
        field_of_view: along the longer side, in degrees.
        beside: given the unfinished folder, writes what else belongs there.

    Raises:
        DataError: the folder exists already, or cannot be written.
    """
    if folder.exists():
        raise DataError(folder, "a folder or file", "a new name", "remove it, or choose another --output")
    with whole_folder(folder) as partial:
        for name in ("images", "masks"):
            (partial / name).mkdir(parents=True)
        for index, (picture, seen) in enumerate(zip(footage.pictures, footage.seen, strict=True)):
            write_png(partial / "images" / f"image_{index:04d}.png", picture)
            write_png(partial / "masks" / f"mask_{index:04d}.png", seen.mask)
        height, width = footage.seen[0].mask.shape
        camera = camera_matrix(height, width, field_of_view)
        camera[:2, 2] -= 0.5  # OpenCV's, whose first pixel's centre is at zero.
        write_npz(partial / "cameras.npz", intrinsic=camera, extrinsic=np.eye(4), height=height, width=width)
        fitted.motion.save(partial / "poses.npz")
        splits = held_out_split(len(footage.pictures), HELD_OUT_EVERY)
        notes = {**splits, "gender": fitted.motion.gender, "body": fitted.motion.body, "frames": footage.numbers}
        (partial / "splits.json").write_text(json.dumps(notes), "utf8")
        beside(partial)


def length_of(video: Path) -> tuple[int, float]:
    """Number of frames, and frames per second; pictures in a folder count as 30.

    Raises:
        DataError: it is neither a video nor a folder of pictures.
    """
    if video.is_dir():
        return len(listed_pictures(video)), 30.0
    if not video.is_file() or video.suffix.lower() not in VIDEO_SUFFIXES:
        found = "no such file or folder" if not video.exists() else f"a file of type {video.suffix or '(none)'}"
        expected = f"a video ({', '.join(sorted(VIDEO_SUFFIXES))}) or a folder of pictures"
        raise DataError(video, found, expected, "give the video itself, or convert it: ffmpeg -i IN out.mp4")
    facts = probe_video(video)
    return facts.frames, facts.fps


def pictures_of(video: Path, wanted: list[int], size: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Frames by their numbers, which rise, scaled down to at most `size` pixels along the longer side."""
    if video.is_dir():
        files = listed_pictures(video)
        yield from (_at_most(read_picture(files[number]).rgb, size) for number in wanted)
        return
    yield from (_at_most(picture.rgb, size) for picture in VideoFile(video).pictures(wanted))


def _at_most(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "height width 3"]:
    scale = size / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(round(side * scale), 1) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
