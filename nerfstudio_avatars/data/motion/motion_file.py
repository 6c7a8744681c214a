"""A motion by name or path, upright in the world frame."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.data.body_sequence import BodySequence
from nerfstudio_avatars.data.errors import DataError
from nerfstudio_avatars.data.motion.npz import is_amass, read_npz

MOTIONS_FOLDER = Path(__file__).parents[2] / "assets" / "motions"

# Rows are the world's axes (y towards the viewer, z up) in the file's axes.
_TO_Z_UP = {
    "y": torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    "-y": torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]),
    "z": torch.tensor([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]),
}


def shipped_motions() -> dict[str, Path]:
    """Names and files of the motions that ship with the package (DeepMimic's clips, MIT licence)."""
    return {path.stem: path for path in sorted(MOTIONS_FOLDER.glob("*.npz"))}


def load_motion(
    name_or_path: str | Path,
    pelvis_rest: Float[Tensor, "3"] | None = None,
    up: Literal["y", "-y", "z"] | None = None,
) -> BodySequence:
    """A motion in the world frame: metres, z up, the median pelvis at the origin.

    A person who faces +z in a y-up file, as SMPL's rest pose does, faces +y here, where the cameras of a training
    video are.

    Args:
        name_or_path: `walk`, `run`, `dance_a`, `cartwheel`, `spinkick`, `crawl`, or an npz file (InstantAvatar, GART,
            AMASS).
        pelvis_rest: rest pelvis of the body that will move, `body.rest(betas)[1][0]`, metres; the stand-in's by
            default.
        up: the file's upward axis; by default z for AMASS and y for all others (`-y`: a camera's frame, as in fitted
            videos).

    Raises:
        DataError: neither a shipped motion nor a readable file.
    """
    shipped = shipped_motions()
    path = Path(name_or_path)
    if not path.exists() and str(name_or_path) in shipped:
        path, up = shipped[str(name_or_path)], "y"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(path, found, f"an npz file, or one of {', '.join(shipped)}", "check the name or the path")
    motion = read_npz(path)
    if pelvis_rest is None:
        pelvis_rest = load_standin().rest(torch.zeros(10))[1][0]
    pelvis_rest = pelvis_rest.detach().cpu()
    rotation = _TO_Z_UP[up or ("z" if is_amass(path) else "y")]
    upright = motion.in_frame(rotation, torch.zeros(3), pelvis_rest)
    median = upright.pelvis(pelvis_rest).median(0).values
    return upright.in_frame(torch.eye(3), -median, pelvis_rest)
