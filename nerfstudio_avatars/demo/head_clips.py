"""Clips of toy heads in VoxCeleb's layout, with ground truth: poses, depth, jaws, and any other view."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.demo.heads import JAW, HeadPose, ToyHead, wandering_poses
from nerfstudio_avatars.demo.toy_clips import Row, ToyKind, ToyTruth, draw_toy_clips
from nerfstudio_avatars.errors import DataError

_FPS = 25.0


@dataclass(frozen=True)
class HeadTruth(ToyTruth[HeadPose]):
    """The ground truth of a clip of a head, frame by frame."""

    jaw_mask: UInt8[np.ndarray, "frames size size"]
    """Share of each pixel that the jaw covers, from 0 to 255."""

    @cached_property
    def toy(self) -> ToyHead:
        """The head."""
        return ToyHead(self.seed)


def draw_head_clips(
    out: Path, identities: int = 12, frames: int = 48, size: int = 64, seed: int = 0, test_identities: int = 2
) -> Path:
    """Draws one clip for each of many heads, for the `voxceleb` dataparser and `read_truth`; see `draw_toy_clips`."""
    return draw_toy_clips(HEADS, out, identities, frames, size, seed, test_identities)


def read_truth(path: Path) -> HeadTruth:
    """Reads `truth/<split>/<clip>.npz`.

    Raises:
        DataError: it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = (file[name].tolist() for name in ("yaw", "pitch", "roll", "translation", "jaw"))
            poses = [
                HeadPose(yaw, pitch, roll, (x, y, z), jaw)
                for yaw, pitch, roll, (x, y, z), jaw in zip(*columns, strict=True)
            ]
            return HeadTruth(int(file["seed"]), poses, file["depth"], file["jaw_mask"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        found = f"{type(error).__name__}: {error}"
        raise DataError(path, found, "the truth about a clip of toy heads", "draw the clips again") from error


def _row(number: int, split: str, frames: int, size: int) -> Row:
    return {
        "video_id": f"toy{number:04d}", "start": 0, "end": frames, "bbox": f"0-0-{size}-{size}", "fps": _FPS,
        "width": size, "height": size, "partition": split, "person_id": f"id{10_000 + number}",
    }  # fmt: skip


def _name(row: Row) -> str:
    """The name of a clip in VoxCeleb."""
    return f"{row['person_id']}#{row['video_id']}#{row['start']:06d}#{row['end']:06d}"


def _truth(poses: list[HeadPose], parts: UInt8[np.ndarray, "frames size size parts"]) -> dict[str, np.ndarray]:
    angles = {name: np.array([getattr(pose, name) for pose in poses]) for name in ("yaw", "pitch", "roll", "jaw")}
    return angles | {
        "rotation": np.stack([pose.rotation for pose in poses]),
        "translation": np.array([pose.shift for pose in poses]),
        "jaw_mask": parts[..., JAW],
    }


HEADS = ToyKind(
    note="Toy heads, drawn by `ns-avatar demo-data --format voxceleb`. VoxCeleb's layout, and beside it: masks\n"
    "(masks) and poses, depth and jaws (truth).\n",
    table="vox-metadata.csv",
    row=_row,
    name=_name,
    make=ToyHead,
    poses=wandering_poses,
    truth=_truth,
)
"""Toy heads in VoxCeleb's layout."""
