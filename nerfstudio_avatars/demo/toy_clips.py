"""Clips of toys in the layout of a published data set: pictures, masks, a table, and the truth beside them."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Float16, UInt8

from nerfstudio_avatars.demo.on_disk import MARKER
from nerfstudio_avatars.demo.solids import ToyPicture
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.whole_files import whole_folder

Row = dict[str, "str | int | float"]
P = TypeVar("P", bound="ToyPose")
P_contra = TypeVar("P_contra", contravariant=True)
_FIRST_TEST = 10_000
"""Toys with higher numbers are held out."""
_SEEDS = 2 * _FIRST_TEST
"""Number of toys reserved for each seed, so that no two seeds share any."""
_SMALLEST = 8


class ToyPose(Protocol):
    """How a toy stands before the camera."""

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """From the toy to the camera."""
        ...

    @property
    def shift(self) -> tuple[float, float, float]:
        """Translation of its middle from its rest position, in half pictures."""
        ...

    def turned(self: P, yaw: float) -> P:
        """Turned further about the vertical of the camera, by an angle in radians."""
        ...


@runtime_checkable
class Toy(Protocol[P_contra]):
    """Something that can be drawn in a pose."""

    def render(self, pose: P_contra, size: int, samples: int = 2) -> ToyPicture:
        """Draws a picture."""
        ...


@dataclass(frozen=True)
class ToyTruth(Generic[P], ABC):
    """The ground truth of a clip, frame by frame."""

    seed: int
    """Seed of the toy."""
    poses: list[P]
    depth: Float16[np.ndarray, "frames size size"]
    """Depth of the toy in each pixel, relative to `DISTANCE`, in half pictures; NaN where there is none."""

    @property
    @abstractmethod
    def toy(self) -> Toy[P]:
        """The toy, which can be drawn in any pose."""

    @property
    def rotation(self) -> Float[np.ndarray, "frames 3 3"]:
        """Rotations from the toy to the camera."""
        return np.stack([pose.rotation for pose in self.poses])

    @property
    def translation(self) -> Float[np.ndarray, "frames 3"]:
        """Translations of the toy's middle from its rest position, in half pictures."""
        return np.array([pose.shift for pose in self.poses])

    def render(self, frame: int, yaw_offset: float = 0.0, size: int | None = None) -> ToyPicture:
        """Draws a frame with the toy turned further about the vertical of the camera, by an angle in radians."""
        return self.toy.render(self.poses[frame].turned(yaw_offset), size or self.depth.shape[-1])


@dataclass(frozen=True)
class ToyKind(Generic[P]):
    """A kind of toy, and the data set whose layout its clips have."""

    note: str
    """Says in the folder what is in it."""
    table: str
    """Name of the table of clips."""
    row: Callable[[int, str, int, int], Row]
    """The row of that table for a number, a split, a number of frames and a size in pixels."""
    name: Callable[[Row], str]
    """The name of the clip of a row."""
    make: Callable[[int], Toy[P]]
    """The toy of a seed."""
    poses: Callable[[int, int], list[P]]
    """The poses of a clip, from a seed and the number of frames."""
    truth: Callable[[list[P], UInt8[np.ndarray, "frames size size parts"]], dict[str, np.ndarray]]
    """Arrays to write beside depth and seed, from the poses, and shares of pixels that the parts cover (0 to 255)."""


def draw_toy_clips(
    kind: ToyKind[P], out: Path, identities: int, frames: int, size: int, seed: int, test_identities: int
) -> Path:
    """Draws one clip for each of many toys.

    Writes `<out>/train/<clip>/0000000.png`, ..., `<out>/test/...` for toys never in train, masks in
    `<out>/masks/<split>/<clip>/`, the table, and `<out>/truth/<split>/<clip>.npz`.

    Args:
        kind: what to draw.
        out: the folder of the data set. Earlier clips of ours in it are replaced as a whole; anything else is kept.
        identities: the number of toys to train on.
        frames: the number of frames in each clip.
        size: the side of the square pictures, in pixels.
        seed: the same seed draws the same toys in the same poses, whatever their number.
        test_identities: the number of further toys, for inversion.

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
                row = kind.row(number, split, frames, size)
                _write_clip(kind, folder, split, kind.name(row), seed * _SEEDS + number, frames, size)
                rows.append(row)
        with (folder / kind.table).open("w", newline="", encoding="utf8") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        (folder / MARKER).write_text(kind.note)
    return out


def _write_clip(kind: ToyKind[P], folder: Path, split: str, name: str, seed: int, frames: int, size: int) -> None:
    toy, poses = kind.make(seed), kind.poses(seed, frames)
    pictures, masks, truth = folder / split / name, folder / "masks" / split / name, folder / "truth" / split
    for new in (pictures, masks, truth):
        new.mkdir(parents=True, exist_ok=True)
    depth, parts = np.zeros((frames, size, size), np.float16), []
    for frame, pose in enumerate(poses):
        drawn = toy.render(pose, size)
        write_png(pictures / f"{frame:07d}.png", _bytes(drawn.rgb))
        write_png(masks / f"{frame:07d}.png", _bytes(drawn.mask))
        depth[frame] = drawn.depth
        parts.append(_bytes(drawn.parts))
    write_npz(truth / f"{name}.npz", depth=depth, seed=np.array(seed), **kind.truth(poses, np.stack(parts)))


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
