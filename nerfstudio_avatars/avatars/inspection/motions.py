"""Motion files: their length, upward axis, range and speed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nerfstudio_avatars.avatars.inspection.report import Fact, Report
from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.rotations import compose_axis_angle
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.media.contact_sheet import SheetRow
from nerfstudio_avatars.motion import MotionFile, in_world, read_motion, shipped_motions
from nerfstudio_avatars.motion.choices import UpOrAuto
from nerfstudio_avatars.motion.joint_map import read_joint_map
from nerfstudio_avatars.motion.up_axis import ALWAYS

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from nerfstudio_avatars.bodies.body_sequence import BodySequence

FASTEST = 3
"""Number of joints to name."""
_FLIP = 90.0
"""Angle in degrees that no joint turns by between two frames of a sound recording."""
LEAP = 20.0
"""Speed in metres per second that nobody reaches."""


def read_motion_report(
    path: Path, person: str | None = None, up: UpOrAuto = "auto", joint_map: Path | None = None
) -> Report:
    """Reads a motion and measures it.

    Raises:
        DataError: no reader recognises the contents, or they cannot be used.
    """
    with _quiet(logging.getLogger(read_motion.__module__)):
        motion = read_motion(path, person, joint_map=read_joint_map(joint_map) if joint_map else None)
    sequence = motion.sequence
    shipped = path.resolve() in shipped_motions().values()
    axis = motion.up if shipped or up == "auto" else up
    source = motion.up_from if shipped or up == "auto" else "option"
    persons = [note for note in motion.notes if note.startswith("person ")]
    speed, turns = _speeds(sequence)
    facts = [
        Fact("format", motion.format),
        Fact("frames", len(sequence)),
        Fact("rate", sequence.fps, "fps"),
        Fact("duration", (len(sequence) - 1) / sequence.fps, "s"),
        Fact("up axis", axis),
        Fact("up axis from", source),
        Fact("persons", persons[0] if persons else person or "one"),
        Fact("fitted to", f"{sequence.body}, {sequence.gender}"),
    ]
    for index, name in enumerate("xyz"):
        values = sequence.transl[:, index]
        facts.append(Fact(f"root {name}", [values.min().item(), values.max().item()], "m"))
    facts.append(Fact("fastest root", speed.max().item() if len(speed) else 0.0, "m/s"))
    facts.append(Fact("fastest joints", _fastest(turns), "deg/s"))
    if motion.joints:
        facts.append(Fact("joints", dict(motion.joints)))
    # The facts say the same.
    told = [*persons, f"{ALWAYS}{motion.up}, as the body stands and moves"]
    notes = [*(note for note in motion.notes if note not in told), *_oddities(sequence, speed, turns)]
    return Report(path, "motion", tuple(facts), tuple(notes), lambda: _rows(path, motion, axis))


def _speeds(sequence: BodySequence) -> tuple[Float[Tensor, " steps"], Float[Tensor, "steps 24"]]:
    """Speeds between frames: m/s of the root, and degrees per second of every joint relative to its parent."""
    poses = torch.cat([sequence.global_orient, sequence.body_pose], dim=1).unflatten(1, (24, 3))
    turns = compose_axis_angle(-poses[:-1], poses[1:]).norm(dim=-1).rad2deg() * sequence.fps
    return sequence.transl.diff(dim=0).norm(dim=-1) * sequence.fps, turns


def _fastest(turns: Float[Tensor, "steps 24"]) -> dict[str, float]:
    """The joints that turn fastest in any step, in descending order."""
    if not len(turns):
        return {}
    values, joints = turns.amax(dim=0).topk(FASTEST)
    return {JOINT_NAMES[joint]: value for joint, value in zip(joints.tolist(), values.tolist(), strict=True)}


def _oddities(
    sequence: BodySequence, speed: Float[Tensor, " steps"], turns: Float[Tensor, "steps 24"]
) -> Iterator[str]:
    flips = (turns / sequence.fps > _FLIP).nonzero().tolist()
    if flips:
        frame, joint = flips[0]
        angle = turns[frame, joint].item() / sequence.fps
        yield (
            f"{JOINT_NAMES[joint]} turns by {angle:.0f} degrees between frames {frame} and {frame + 1}"
            + (f", and {len(flips) - 1} more such steps" if len(flips) > 1 else "")
            + ": a flip, or a frame rate too low"
        )
    leaps = (speed > LEAP).nonzero().flatten().tolist()
    if leaps:
        yield (
            f"the root moves at {speed[leaps[0]].item():.0f} m/s after frame {leaps[0]}, and too fast in {len(leaps)} "
            "steps in all: another unit than metres, or a lost track"
        )
    if len(sequence) > 1 and not turns.any():
        yield "no joint ever turns"


def _rows(path: Path, motion: MotionFile, axis: UpOrAuto) -> list[SheetRow]:
    from nerfstudio_avatars.avatars.inspection.body_picture import motion_rows

    body = load_standin()
    pelvis = body.rest(torch.zeros(10))[1][0]
    standing = in_world(motion, pelvis, None if axis == "auto" else axis)
    # The file's betas may belong to another body's shape space.
    return motion_rows(path.name, replace(standing, betas=torch.zeros(10)), body)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Silences warnings that the report repeats."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
