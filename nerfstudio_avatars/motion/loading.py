"""Loads a motion by name or path, upright in the world frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyModel
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.motion.choices import Root, Up, UpOrAuto
from nerfstudio_avatars.motion.joint_map import JointMap
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.plain_contents import frame_files
from nerfstudio_avatars.motion.readers import SHIPPED, read_motion
from nerfstudio_avatars.motion.staging import stage_motion

# Rows are the axes of the world (y towards the viewer, z up) in those of the file.
TO_Z_UP = {
    "y": torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
    "-y": torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]),
    "z": torch.tensor([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]),
}


def shipped_motions() -> dict[str, Path]:
    """Names and files of the motions that ship with the package (DeepMimic's clips, MIT licence).

    >>> list(shipped_motions())
    ['cartwheel', 'crawl', 'dance_a', 'run', 'spinkick', 'walk']
    """
    return {path.stem: path for path in sorted(SHIPPED.glob("*.npz"))}


def motion_path(name_or_path: str | Path) -> Path:
    """The file of a shipped motion, or the file or folder itself, which takes precedence over a name.

    Raises:
        DataError: it is neither a shipped motion nor a readable file or folder.
    """
    shipped, path = shipped_motions(), Path(name_or_path)
    if not path.exists() and str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    if not path.is_file() and not (path.is_dir() and frame_files(path)):
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(path, found, f"a motion file, or one of {', '.join(shipped)}", "check the name or the path")
    return path


def _ships(path: Path) -> bool:
    """The upward axis: shipped motions are y-up, whatever the option says."""
    return path.parent == SHIPPED


def load_motion(
    name_or_path: str | Path,
    pelvis_rest: Float[Tensor, "3"] | None = None,
    up: Up | None = None,
    *,
    person: str | int | None = None,
    rest_joints: Float[Tensor, "24 3"] | None = None,
) -> BodySequence:
    """Loads a motion in the world frame: metres, z up, the median pelvis at the origin.

    A person who faces +z in a y-up file, as in SMPL's rest pose, faces +y here, towards the cameras of a training
    video.

    Args:
        name_or_path: `walk`, `run`, `dance_a`, `cartwheel`, `spinkick`, `crawl`, or a file or folder that `read_motion`
            can read.
        pelvis_rest: rest pelvis of the body that will move, `body.rest(betas)[1][0]`, in metres; by default that of
            the stand-in.
        up: the upward axis of the file, if the one that was found is wrong: `y`, `z`, or `-y` for the frame of a
            camera, as in fitted videos.
        person: the person to take if the file holds several; by default the one in most frames.
        rest_joints: all rest joints of the body that will move, which skeletons (BVH, glTF) are fitted to; by default
            those of the stand-in.

    Raises:
        DataError: it is neither a shipped motion nor a readable file.
    """
    path = motion_path(name_or_path)
    if pelvis_rest is None:
        pelvis_rest = load_standin().rest(torch.zeros(10))[1][0] if rest_joints is None else rest_joints[0]
    motion = read_motion(path, person, pelvis_rest, rest_joints=rest_joints)
    return in_world(motion, pelvis_rest, None if _ships(path) else up)


def in_world(motion: MotionFile, pelvis_rest: Float[Tensor, "3"], up: Up | None = None) -> BodySequence:
    """Moves a motion that was read into the world frame, as `load_motion` does.

    Args:
        motion: the result of `read_motion`.
        pelvis_rest: rest pelvis of the body that will move, in metres.
        up: the upward axis of the file, if the one that was found is wrong.
    """
    pelvis_rest = pelvis_rest.detach().cpu()
    turned = motion.sequence.in_frame(TO_Z_UP[up or motion.up], torch.zeros(3), pelvis_rest)
    median = turned.pelvis(pelvis_rest).median(0).values
    return turned.in_frame(torch.eye(3), -median, pelvis_rest)


def out_of_world(motion: BodySequence, up: Up, pelvis_rest: Float[Tensor, "3"]) -> BodySequence:
    """A motion of the world frame in the axes of a file, of which `in_world` makes the same motion again.

    Args:
        motion: metres, z up.
        up: the file's upward axis.
        pelvis_rest: rest pelvis of the body that moves, metres.
    """
    return motion.in_frame(TO_Z_UP[up].T, torch.zeros(3), pelvis_rest)


def choose_motion(
    name: str,
    subject: BodySequence,
    body: BodyModel,
    up: UpOrAuto = "auto",
    person: str | None = None,
    *,
    joint_map: JointMap | None = None,
) -> BodySequence:
    """Loads a motion for a person, in the world frame (metres, z up).

    Args:
        name: a shipped motion, the path of anything that `read_motion` reads, `training` for the person's own video, or
            `still` for its first pose, held.
        subject: the person's own poses, already in the world frame.
        body: the person's body, whose joints other skeletons are fitted to.
        up: the upward axis of the file; "auto" finds it by the body or, failing that, takes that of the format.
        person: the person to take if the file holds several; by default the one in most frames.

    Raises:
        DataError: if there is no such motion, or its file cannot be read.
    """
    if name in ("training", "still"):
        return subject if name == "training" else subject[0:1]

    path = motion_path(name)
    joints = body.rest(subject.betas.to(body.weights.device))[1].detach().cpu()
    motion = read_motion(path, person, joints[0], rest_joints=joints, joint_map=joint_map)
    sequence = in_world(motion, joints[0], None if up == "auto" or _ships(path) else up)
    return replace(sequence, betas=subject.betas, gender=subject.gender, body=subject.body)


def stage(
    motion: BodySequence, body: BodyModel, fps: float, root: Root = "as_is", loop: int = 0, blend_from_rest: int = 0
) -> BodySequence:
    """Prepares a motion for playing; see `stage_motion`.

    Args:
        motion: a motion with the betas of the person who will move.
        body: the body that will move.
        fps: the frame rate to play it at, which both numbers of frames refer to.
        root: where the motion takes place.
        loop: the number of frames over which the end blends into the start.
        blend_from_rest: the number of frames to add before the motion, leading from the rest pose into it.

    Raises:
        UserError: if the motion is too short for that.
    """
    try:
        return stage_motion(motion, body, root=root, loop_frames=loop, blend_frames=blend_from_rest, fps=fps)
    except ValueError as error:
        raise UserError(
            f"--root {root} --loop {loop} --blend-from-rest {blend_from_rest}: {error}. "
            f"Ask for fewer frames, or raise --fps: the motion lasts {(len(motion) - 1) / motion.fps:.2f} s, which "
            f"are {round((len(motion) - 1) / motion.fps * fps) + 1} frames."
        ) from error
