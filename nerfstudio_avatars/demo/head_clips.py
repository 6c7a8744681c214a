"""Clips of toy heads in VoxCeleb's layout, with ground truth: poses, depth, jaws, and any other view."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, UInt8

from nerfstudio_avatars.demo.heads import HeadPicture, HeadPose, ToyHead, wandering_poses
from nerfstudio_avatars.demo.on_disk import MARKER
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.whole_files import whole_folder

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id")
"""Columns of VoxCeleb's table of clips."""
_FPS = 25.0
_FIRST_TEST = 10_000
"""People with higher numbers are held out."""
_SEEDS = 2 * _FIRST_TEST
"""Number of heads reserved for each seed, so that no two seeds share any."""
_SMALLEST = 8


@dataclass(frozen=True)
class HeadTruth:
    """The ground truth of a clip, frame by frame."""

    seed: int
    """Seed of the head."""
    poses: list[HeadPose]
    depth: Float16[np.ndarray, "frames size size"]
    """Depth of the head in each pixel, relative to `heads.DISTANCE`, in half pictures; NaN where there is no head."""
    jaw_mask: UInt8[np.ndarray, "frames size size"]
    """Share of each pixel that the jaw covers, from 0 to 255."""

    @cached_property
    def head(self) -> ToyHead:
        """The head, which can be drawn in any pose."""
        return ToyHead(self.seed)

    @property
    def rotation(self) -> Float[np.ndarray, "frames 3 3"]:
        """Rotations from head to camera."""
        return np.stack([pose.rotation for pose in self.poses])

    @property
    def translation(self) -> Float[np.ndarray, "frames 3"]:
        """Translations of the middle of the head from its rest position, in half pictures."""
        return np.array([pose.shift for pose in self.poses])

    def render(self, frame: int, yaw_offset: float = 0.0, size: int | None = None) -> HeadPicture:
        """Draws a frame with the head turned further about the vertical of the camera, by an angle in radians."""
        return self.head.render(self.poses[frame].turned(yaw_offset), size or self.depth.shape[-1])


def draw_head_clips(
    out: Path, identities: int = 12, frames: int = 48, size: int = 64, seed: int = 0, test_identities: int = 2
) -> Path:
    """Draws one clip for each of many heads, for the `voxceleb` dataparser.

    Writes `<out>/train/<clip>/0000000.png`, ..., `<out>/test/...` for heads never in train, masks in
    `<out>/masks/<split>/<clip>/`, VoxCeleb's table, and `<out>/truth/<split>/<clip>.npz` for `read_truth`.

    Args:
        out: the folder of the data set. Earlier clips of ours in it are replaced as a whole; anything else is kept.
        identities: the number of heads to train on.
        frames: the number of frames in each clip.
        size: the side of the square pictures, in pixels.
        seed: the same seed draws the same heads in the same poses, whatever their number.
        test_identities: the number of further heads, for inversion.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds something else, or the values are out of range.
    """
    out = Path(out)
    limits = (
        ("identities", identities, 1, _FIRST_TEST),
        ("test identities", test_identities, 0, _FIRST_TEST),
        ("frames", frames, 1, 999_999),
        ("pixels", size, _SMALLEST, 4096),
        ("as seed", seed, 0, 2**31),
    )
    for what, asked, least, most in limits:
        if not least <= asked <= most:
            raise DataError(out, f"{asked} {what} asked for", f"{least} to {most}", "ask for that many")
    with _appearing(out) as folder:
        rows = []
        for split, first, count in (("train", 1, identities), ("test", _FIRST_TEST + 1, test_identities)):
            for number in range(first, first + count):
                row = _table_row(number, split, frames, size)
                _write_clip(folder, split, _clip_name(row), seed * _SEEDS + number, frames, size)
                rows.append(row)
        with (folder / "vox-metadata.csv").open("w", newline="", encoding="utf8") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        (folder / MARKER).write_text(
            "Toy heads, drawn by `ns-avatar demo-data --format voxceleb`. VoxCeleb's layout, and beside it: masks\n"
            "(masks) and poses, depth and jaws (truth).\n"
        )
    return out


def _clip_name(row: dict[str, str | int | float]) -> str:
    """The name of a clip in VoxCeleb, from a row of its table."""
    return f"{row['person_id']}#{row['video_id']}#{row['start']:06d}#{row['end']:06d}"


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


def _table_row(number: int, split: str, frames: int, size: int) -> dict[str, str | int | float]:
    return {
        "video_id": f"toy{number:04d}", "start": 0, "end": frames, "bbox": f"0-0-{size}-{size}", "fps": _FPS,
        "width": size, "height": size, "partition": split, "person_id": f"id{10_000 + number}",
    }  # fmt: skip


def _write_clip(folder: Path, split: str, name: str, seed: int, frames: int, size: int) -> None:
    head, poses = ToyHead(seed), wandering_poses(seed, frames)
    pictures, masks, truth = folder / split / name, folder / "masks" / split / name, folder / "truth" / split
    for new in (pictures, masks, truth):
        new.mkdir(parents=True, exist_ok=True)
    depth = np.zeros((frames, size, size), np.float16)
    jaw_mask = np.zeros((frames, size, size), np.uint8)
    for frame, pose in enumerate(poses):
        drawn = head.render(pose, size)
        write_png(pictures / f"{frame:07d}.png", _bytes(drawn.rgb))
        write_png(masks / f"{frame:07d}.png", _bytes(drawn.mask))
        depth[frame], jaw_mask[frame] = drawn.depth, _bytes(drawn.jaw)
    angles = {name: np.array([getattr(pose, name) for pose in poses]) for name in ("yaw", "pitch", "roll", "jaw")}
    write_npz(
        truth / f"{name}.npz",
        rotation=np.stack([pose.rotation for pose in poses]),
        translation=np.array([pose.shift for pose in poses]),
        depth=depth,
        jaw_mask=jaw_mask,
        seed=seed,
        **angles,
    )


@contextmanager
def _appearing(final: Path) -> Iterator[Path]:
    """A folder to write to, which takes its name, and replaces an older one of ours, once it is complete."""
    ours = (final / MARKER).exists() or (final.is_dir() and not any(final.iterdir()))
    if final.exists() and not ours:
        raise DataError(final, "a folder without demo data", "a new name, or an earlier demo", "choose another folder")
    with whole_folder(final) as partial:
        yield partial


def _bytes(shares: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return np.rint(shares * 255).astype(np.uint8)
