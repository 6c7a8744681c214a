"""Clips of toy upper bodies in TEDXPeople's layout, with ground truth: poses, depth, parts, and any other view."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_avatars.demo.toy_clips import Row, ToyKind, ToyTruth, draw_toy_clips
from nerfstudio_avatars.demo.upper_bodies import ArmPose, BodyPose, ToyBody, gesturing_poses
from nerfstudio_avatars.errors import DataError

_FPS = 10.0
_ARM = ("raised", "forward", "bent", "reaching")


@dataclass(frozen=True)
class BodyTruth(ToyTruth[BodyPose]):
    """The ground truth of a clip of a body, frame by frame."""

    part_masks: UInt8[np.ndarray, "frames size size parts"]
    """Share of each pixel that each of `upper_bodies.PARTS` covers, from 0 to 255."""

    @cached_property
    def toy(self) -> ToyBody:
        """The body."""
        return ToyBody(self.seed)

    @property
    def turns(self) -> Float[np.ndarray, "frames parts 3 3"]:
        """Rotation of each part within the body."""
        return np.stack([[motion.rotation for motion in self.toy.motions(pose)] for pose in self.poses])


def draw_body_clips(
    out: Path, identities: int = 12, frames: int = 48, size: int = 64, seed: int = 0, test_identities: int = 2
) -> Path:
    """Draws one clip for each of many bodies, for the `tedx-people` dataparser and `read_body_truth`.

    See `draw_toy_clips`.
    """
    return draw_toy_clips(BODIES, out, identities, frames, size, seed, test_identities)


def read_body_truth(path: Path) -> BodyTruth:
    """Reads `truth/<split>/<clip>.npz`.

    Raises:
        DataError: it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            whole = (file[name].tolist() for name in ("yaw", "roll", "translation", "head_yaw", "head_pitch"))
            arms = (file[name].tolist() for name in ("left", "right"))
            poses = [
                BodyPose(yaw, roll, (x, y, z), head_yaw, head_pitch, ArmPose(*left), ArmPose(*right))
                for yaw, roll, (x, y, z), head_yaw, head_pitch, left, right in zip(*whole, *arms, strict=True)
            ]
            return BodyTruth(int(file["seed"]), poses, file["depth"], file["part_masks"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        found = f"{type(error).__name__}: {error}"
        raise DataError(path, found, "the truth about a clip of toy bodies", "draw the clips again") from error


def _row(number: int, split: str, frames: int, size: int) -> Row:
    return {
        "video_id": f"toytalk{number:05d}", "start": 0, "end": frames, "bbox": f"0-0-{size}-{size}", "fps": _FPS,
        "width": size, "height": size, "partition": split,
    }  # fmt: skip


def _name(row: Row) -> str:
    """The name of a clip in TEDXPeople."""
    return f"{row['video_id']}#{row['start']:06d}#{row['end']:06d}"


def _truth(poses: list[BodyPose], parts: UInt8[np.ndarray, "frames size size parts"]) -> dict[str, np.ndarray]:
    angles = {name: np.array([getattr(pose, name) for pose in poses]) for name in ("yaw", "roll")}
    angles |= {name: np.array([getattr(pose, name) for pose in poses]) for name in ("head_yaw", "head_pitch")}
    for side in ("left", "right"):
        arms = [asdict(getattr(pose, side)) for pose in poses]
        angles[side] = np.array([[arm[name] for name in _ARM] for arm in arms])
    return angles | {
        "rotation": np.stack([pose.rotation for pose in poses]),
        "translation": np.array([pose.shift for pose in poses]),
        "part_masks": parts,
    }


BODIES = ToyKind(
    note="Toy upper bodies, drawn by `ns-avatar demo-data --format tedx-people`. TEDXPeople's layout, and beside it:\n"
    "masks (masks) and poses, depth and parts (truth).\n",
    table="ted384-metadata.csv",
    row=_row,
    name=_name,
    make=ToyBody,
    poses=gesturing_poses,
    truth=_truth,
)
"""Toy upper bodies in TEDXPeople's layout."""
