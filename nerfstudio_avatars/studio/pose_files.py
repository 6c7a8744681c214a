"""Poses on disk: motions of one frame, which every command reads as such, and the studio exactly as they were."""

from __future__ import annotations

import io
from pathlib import Path, PureWindowsPath

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.npz_file import open_npz
from nerfstudio_avatars.motion.loading import TO_Z_UP, choose_motion, out_of_world
from nerfstudio_avatars.motion.npz import read_npz
from nerfstudio_avatars.whole_files import whole_file

_MADE_BY = "nerfstudio_avatars studio"
"""What a file says that holds a pose in its place, which need not be looked for."""


def pose_bytes(state: BodyState, motion: BodySequence, body: BodyModel) -> bytes:
    """A pose as an npz file: y up, as motion files are, whoever looks along -z in front.

    Args:
        state: in the world frame, metres, z up.
        motion: of the person, which names the body.
        body: of the person.
    """
    one = out_of_world(_sequence(state, motion), "y", _pelvis(motion, body))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        betas=one.betas.numpy()[None],
        global_orient=one.global_orient.numpy(),
        body_pose=one.body_pose.numpy(),
        transl=one.transl.numpy(),
        fps=np.float64(30.0),
        gender=np.str_(one.gender),
        body=np.str_(one.body),
        made_by=np.str_(_MADE_BY),
    )
    return file.getvalue()


def save_pose(folder: Path, name: str, content: bytes) -> Path:
    """Writes a pose in one step, and never over another one.

    Args:
        folder: made if it is not there.
        name: of the file, with or without `.npz`.
        content: from `pose_bytes`.

    Returns:
        The file's path; of names that are taken, with a number.

    Raises:
        UserError: the name leads out of the folder, or the file cannot be written.
    """
    stem = name.strip().removesuffix(".npz")
    if PureWindowsPath(stem).name != stem or stem in ("", ".", "..") or "\0" in stem or ":" in stem:
        raise UserError(f"{name!r:.100} is no plain name for a file. Expected one without / and \\, such as `sitting`.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, number = folder / f"{stem}.npz", 2
        while path.exists():
            path, number = folder / f"{stem}-{number}.npz", number + 1
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}. Expected a folder that can be written to.") from error
    return path


def read_pose(path: Path, motion: BodySequence, body: BodyModel) -> BodyState:
    """A pose in the world frame: one that was saved, exactly; of any other motion file, the first.

    Args:
        path: of the file.
        motion: of the person who will take the pose.
        body: theirs.

    Raises:
        DataError: it is no motion file.
    """
    if not _is_ours(path):
        return choose_motion(str(path), motion, body).state(0)
    turned = read_npz(path).in_frame(TO_Z_UP["y"], torch.zeros(3), _pelvis(motion, body))
    state = turned.state(0)
    return BodyState(motion.betas, state.global_orient, state.body_pose, state.transl)


def _is_ours(path: Path) -> bool:
    try:
        with open_npz(path) as arrays:
            return "made_by" in arrays and str(arrays["made_by"]) == _MADE_BY
    except (ValueError, UserError, OSError):
        return False


def _pelvis(motion: BodySequence, body: BodyModel) -> Float[Tensor, "3"]:
    return body.rest(motion.betas.to(body.weights.device))[1][0].detach().cpu()


def _sequence(state: BodyState, motion: BodySequence) -> BodySequence:
    return BodySequence(
        betas=motion.betas,
        global_orient=state.global_orient[None],
        body_pose=state.body_pose[None],
        transl=state.transl[None],
        gender=motion.gender,
        body=motion.body,
    )
