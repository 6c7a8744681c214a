"""`ns-avatar demo-data`: draws small data sets in the formats that the methods are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder

Format = Literal["people-snapshot", "surreal", "voxceleb", "tedx-people"]


_LEAST_SIZE = 16
"""Smallest width in pixels at which pictures still show something."""
_HELD_OUT = 2
"""Number of toys that are never trained on."""


@dataclass
class DemoData:
    """Draws a small data set in the format of PeopleSnapshot, SURREAL, VoxCeleb or TEDXPeople.

    Nobody shown in it exists. Held-out pictures come with it.
    """

    output: Annotated[Path, tyro.conf.Positional] = Path("outputs/demo-data")
    """Folder to write the data to."""
    format: Format = "people-snapshot"
    """Data set whose format is written: `people-snapshot` shows a person turning in an A-pose.
    With `surreal`, the person strikes many poses while turning, and walks and dances in held-out clips.
    With `voxceleb`, clips show many toy heads, and with `tedx-people`, many upper bodies that gesture.
    Their true poses, parts and depth are written too."""
    size: int | None = None
    """Width of the pictures in pixels; by default 540 for people-snapshot, 320 for surreal and 64 for the others.
    Pictures are square, except in surreal, where their sides have a ratio of 4:3."""
    seed: int = 0
    """Seed of the random numbers used in drawing; the same seed draws the same data."""
    people: int | None = None
    """Number of different people to draw, each with a shape, clothes, colours and a gait of their own.
    In people-snapshot, each has a folder, and without this option one person is drawn.
    In voxceleb and tedx-people, this many are for training, by default 12; two more are held out."""

    def run(self) -> None:
        """Draws the data."""
        if self.size is not None and self.size < _LEAST_SIZE:
            raise UserError(f"--size {self.size}: expected at least {_LEAST_SIZE} pixels.")
        if self.people is not None and self.people < 1:
            raise UserError(f"--people {self.people}: expected at least 1.")
        check_folder(self.output.parent, "name for the data")
        said = DRAWN[self.format](self.output, self.size, self.seed, self.people)
        print(f"Drew {said}, seed {self.seed}: {self.output}")


def _people_snapshot(output: Path, size: int | None, seed: int, people: int | None) -> str:
    from nerfstudio_avatars.demo import draw_demo_sequence
    from nerfstudio_avatars.demo.people import draw_people
    from nerfstudio_avatars.progress import progress_bar

    size = 540 if size is None else size
    if people is None:
        draw_demo_sequence(output, size=size, seed=seed)
        return f"the demo sequence ({size}x{size})"
    with progress_bar("Drawing people") as bar:
        draw_people(output, people, size=size, seed=seed, report=bar)
    return f"{people} people ({size}x{size})"


def _surreal(output: Path, size: int | None, seed: int, people: int | None) -> str:
    from nerfstudio_avatars.demo import draw_surreal_demo

    if people is not None:
        raise UserError(
            f"--people {people}: with --format surreal, one person is drawn in three clips. "
            "Leave --people out, or choose another format."
        )
    width = 320 if size is None else size
    height = 2 * round(width * 3 / 8)
    draw_surreal_demo(output, seed=seed, width=width, height=height)
    return f"three clips in SURREAL's format ({width}x{height})"


def _voxceleb(output: Path, size: int | None, seed: int, people: int | None) -> str:
    from nerfstudio_avatars.demo.head_clips import draw_head_clips

    size, people = 64 if size is None else size, 12 if people is None else people
    draw_head_clips(output, identities=people, size=size, seed=seed, test_identities=_HELD_OUT)
    return f"{people + _HELD_OUT} clips of toy heads in VoxCeleb's format ({size}x{size})"


def _tedx_people(output: Path, size: int | None, seed: int, people: int | None) -> str:
    from nerfstudio_avatars.demo.body_clips import draw_body_clips

    size, people = 64 if size is None else size, 12 if people is None else people
    draw_body_clips(output, identities=people, size=size, seed=seed, test_identities=_HELD_OUT)
    return f"{people + _HELD_OUT} clips of toy upper bodies in TEDXPeople's format ({size}x{size})"


DRAWN: dict[Format, Callable[[Path, int | None, int, int | None], str]] = {
    "people-snapshot": _people_snapshot,
    "surreal": _surreal,
    "voxceleb": _voxceleb,
    "tedx-people": _tedx_people,
}
"""Functions that draw each format into a folder and describe the result, given the size and the number of people (each
may be None) and the seed."""
