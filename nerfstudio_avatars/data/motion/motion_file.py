"""A motion by name or path, upright in the world frame."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.data.body_sequence import BodySequence
from nerfstudio_avatars.data.errors import DataError
from nerfstudio_avatars.data.motion.contents import frame_files
from nerfstudio_avatars.data.motion.motion import MotionFile, Up
from nerfstudio_avatars.data.motion.readers import read_motion

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


def motion_path(name_or_path: str | Path) -> Path:
    """The file of a shipped motion, or the file or folder itself; what lies on disk comes before a name.

    Raises:
        DataError: neither a shipped motion nor something to read.
    """
    shipped, path = shipped_motions(), Path(name_or_path)
    if not path.exists() and str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if not path.is_file() and not (path.is_dir() and frame_files(path)):
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(path, found, f"a motion file, or one of {', '.join(shipped)}", "check the name or the path")
    return path


def load_motion(  # noqa: PLR0913
    name_or_path: str | Path,
    pelvis_rest: Float[Tensor, "3"] | None = None,
    up: Up | None = None,
    *,
    person: str | int | None = None,
    rest_joints: Float[Tensor, "24 3"] | None = None,
) -> BodySequence:
    """A motion in the world frame: metres, z up, the median pelvis at the origin.

    A person who faces +z in a y-up file, as SMPL's rest pose does, faces +y here, where the cameras of a training
    video are.

    Args:
        name_or_path: `walk`, `run`, `dance_a`, `cartwheel`, `spinkick`, `crawl`, or a file or folder that `read_motion`
            can read.
        pelvis_rest: rest pelvis of the body that will move, `body.rest(betas)[1][0]`, metres; the stand-in's by
            default.
        up: the file's upward axis, where its format's is not the right one: `y`, `z`, or `-y` for a camera's frame,
            as in fitted videos.
        person: which of several persons in the file; by default the one in most frames.
        rest_joints: all rest joints of the body that will move, which skeletons (BVH, glTF) are fitted to; the
            stand-in's by default.

    Raises:
        DataError: neither a shipped motion nor a readable file.
    """
    path = motion_path(name_or_path)
    if path.parent == MOTIONS_FOLDER:
        up = "y"
    if pelvis_rest is None:
        pelvis_rest = load_standin().rest(torch.zeros(10))[1][0] if rest_joints is None else rest_joints[0]
    return upright(read_motion(path, person, pelvis_rest, rest_joints=rest_joints), pelvis_rest, up)


def upright(motion: MotionFile, pelvis_rest: Float[Tensor, "3"], up: Up | None = None) -> BodySequence:
    """A motion that was read, in the world frame, as `load_motion` gives it.

    Args:
        motion: from `read_motion`.
        pelvis_rest: rest pelvis of the body that will move, metres.
        up: the file's upward axis, where its format's is not the right one.
    """
    pelvis_rest = pelvis_rest.detach().cpu()
    turned = motion.sequence.in_frame(_TO_Z_UP[up or motion.up], torch.zeros(3), pelvis_rest)
    median = turned.pelvis(pelvis_rest).median(0).values
    return turned.in_frame(torch.eye(3), -median, pelvis_rest)
