"""The contents of a motion file, and the input of its readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float
from numpy import ndarray

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.motion.choices import Up

UpFrom = Literal["format", "body", "rest pose"]


@dataclass(frozen=True)
class MotionFile:
    """A motion as a file has it, and what there is to know about the file."""

    sequence: BodySequence
    """In the file's own frame."""
    format: str
    """The tool or data set that the file's layout belongs to."""
    up: Up = "y"
    """The upward axis of the file's frame."""
    notes: tuple[str, ...] = ()
    """What was guessed, dropped or filled in, one clause each."""
    up_from: UpFrom = "format"
    """What told the upward axis: `body`, a skeleton's `rest pose`, or the `format` where the body does not tell."""
    joints: tuple[tuple[str, str], ...] = ()
    """Of a skeleton: SMPL's joints, and the file's names for them."""


@dataclass(frozen=True)
class MotionSource:
    """What a reader is given."""

    path: Path
    """For messages."""
    data: Any
    """The file's contents as plain data: dicts, lists, numbers, text, numpy arrays."""
    pelvis_rest: Float[ndarray, "3"]
    """Rest pelvis of the body that the motion was fitted to, metres; for formats that do not turn about it."""
    person: str | None = None
    """Which of several persons; None for the one in most frames."""
