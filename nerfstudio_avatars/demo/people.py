"""Many drawn people: each with a shape, clothes, colours and a gait of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nerfstudio_avatars.demo.gait import Gait, drawn_gait
from nerfstudio_avatars.demo.person import DemoPerson
from nerfstudio_avatars.demo.sequence import FRAMES, draw_demo_sequence
from nerfstudio_avatars.demo.wardrobe import drawn_wardrobe
from nerfstudio_avatars.errors import UserError

_MOST = 1000
"""Number of people reserved for each seed, so that no two seeds share any."""
_WIDEST = 1.8
"""Largest shape coefficient, in standard deviations."""


def draw_people(
    out: Path,
    count: int,
    *,
    seed: int = 0,
    size: int = 540,
    frames: int = FRAMES,
    report: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draws a sequence of each person, as `out/person-01` and so on, in PeopleSnapshot's format.

    Args:
        out: the folder for the folders of the people. Drawings of the same name there are replaced.
        count: the number of people, at most 1000.
        seed: the same seed draws the same people, whatever their number.
        size: the side of the square pictures, in pixels.
        frames: the number of frames in each video, at least 16.
        report: called with the number of people drawn so far, and of all.

    Returns:
        The folders of the people.

    Raises:
        UserError: a number of people that cannot be drawn, or a folder in the way that is no drawing.
    """
    if not 1 <= count <= _MOST:
        raise UserError(f"{count} people asked for. Expected 1 to {_MOST}.")
    folders = []
    for number in range(count):
        person, gait = drawn_person(seed, number)
        folders.append(
            draw_demo_sequence(
                out,
                seed=seed * _MOST + number,
                size=size,
                frames=frames,
                subject=f"person-{number + 1:02d}",
                person=person,
                gait=gait,
            )
        )
        if report:
            report(number + 1, count)
    return folders


def drawn_person(seed: int, number: int) -> tuple[DemoPerson, Gait]:
    """One of a seed's people, and how they move."""
    rng = np.random.default_rng([seed, number])
    betas = np.clip(rng.normal(0, 0.9, 10), -_WIDEST, _WIDEST)
    return DemoPerson(torch.from_numpy(betas).float(), drawn_wardrobe(rng)), drawn_gait(rng)
