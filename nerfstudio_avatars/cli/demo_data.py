"""`ns-avatar demo-data`: draws small data sets in the formats that the methods are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder

Format = Literal["people-snapshot", "surreal", "voxceleb"]


_LEAST_SIZE = 16
"""Smallest width in pixels at which pictures still show something."""


@dataclass
class DemoData:
    """Draws a small data set in the format of PeopleSnapshot, SURREAL or VoxCeleb.

    Nobody shown in it exists. Held-out pictures come with it.
    """

    output: Annotated[Path, tyro.conf.Positional] = Path("outputs/demo-data")
    """Folder to write the data to."""
    format: Format = "people-snapshot"
    """Data set whose format is written: `people-snapshot` shows a person turning in an A-pose.
    With `surreal`, the person strikes many poses while turning, and walks and dances in held-out clips.
    With `voxceleb`, clips show many toy heads, and their true poses and depth are written too."""
    size: int | None = None
    """Width of the pictures in pixels; by default 540 for people-snapshot, 320 for surreal and 64 for voxceleb.
    Pictures are square, except in surreal, where their sides have a ratio of 4:3."""
    seed: int = 0
    """Seed of the random numbers used in drawing; the same seed draws the same data."""

    def run(self) -> None:
        """Draws the data."""
        if self.size is not None and self.size < _LEAST_SIZE:
            raise UserError(f"--size {self.size}: expected at least {_LEAST_SIZE} pixels.")
        check_folder(self.output.parent, "name for the data")
        said = DRAWN[self.format](self.output, self.size, self.seed)
        print(f"Drew {said}, seed {self.seed}: {self.output}")


def _people_snapshot(output: Path, size: int | None, seed: int) -> str:
    from nerfstudio_avatars.demo import draw_demo_sequence

    size = 540 if size is None else size
    draw_demo_sequence(output, size=size, seed=seed)
    return f"the demo sequence ({size}x{size})"


def _surreal(output: Path, size: int | None, seed: int) -> str:
    from nerfstudio_avatars.demo import draw_surreal_demo

    width = 320 if size is None else size
    height = 2 * round(width * 3 / 8)
    draw_surreal_demo(output, seed=seed, width=width, height=height)
    return f"three clips in SURREAL's format ({width}x{height})"


def _voxceleb(output: Path, size: int | None, seed: int) -> str:
    from nerfstudio_avatars.demo.head_clips import draw_head_clips

    size = 64 if size is None else size
    draw_head_clips(output, size=size, seed=seed)
    return f"14 clips of toy heads in VoxCeleb's format ({size}x{size})"


DRAWN: dict[Format, Callable[[Path, int | None, int], str]] = {
    "people-snapshot": _people_snapshot,
    "surreal": _surreal,
    "voxceleb": _voxceleb,
}
"""Functions that draw each format into a folder, given the size (or None) and the seed, and describe the result."""
