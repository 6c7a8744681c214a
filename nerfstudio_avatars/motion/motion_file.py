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
    """A motion as stored in a file, with information about the file."""

    sequence: BodySequence
    """The motion, in the frame of the file."""
    format: str
    """The tool or data set that the layout of the file belongs to."""
    up: Up = "y"
    """The upward axis in the frame of the file."""
    notes: tuple[str, ...] = ()
    """What was guessed, dropped or filled in, as one clause each."""
    up_from: UpFrom = "format"
    """What the upward axis was found by: the `body`, the `rest pose` of a skeleton or, failing these, the `format`."""
    joints: tuple[tuple[str, str], ...] = ()
    """SMPL's joints with the file's names for them, if the file holds a skeleton."""
    first_frame: int = 0
    """Number of the sequence's first frame in the video that a tool found it in, counted from 0."""
    focal: float | None = None
    """Focal length in pixels of the filmed picture, if the file tells the camera."""


@dataclass(frozen=True)
class MotionSource:
    """The input of a reader."""

    path: Path
    """The path, for messages."""
    data: Any
    """The contents of the file as plain data: dicts, lists, numbers, text, numpy arrays."""
    pelvis_rest: Float[ndarray, "3"]
    """Rest pelvis in metres of the body that the motion was fitted to, for formats that do not rotate about it."""
    person: str | None = None
    """The person to take if there are several; None for the one in most frames."""
    in_camera: bool = False
    """Whether to take the motion in the camera's axes, if the file has it in the world's too."""
