"""Which motion a trained person performs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from nerfstudio_avatars.cli.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from nerfstudio_avatars.bodies.body_model import BodyModel
    from nerfstudio_avatars.data.body_sequence import BodySequence
    from nerfstudio_avatars.data.motion import MotionFile

Up = Literal["auto", "y", "z", "-y"]
"""Which axis of a motion file points up; "-y" is a camera's frame (y down, z forward)."""

Root = Literal["as_is", "in_place", "on_ground"]
"""What happens to the place of the whole body."""


def choose_motion(
    name: str, subject: BodySequence, body: BodyModel, up: Up = "auto", person: str | None = None
) -> BodySequence:
    """A motion for a person, in the world frame (metres, z up).

    Args:
        name: a shipped motion, the path of anything that `read_motion` reads, `training` for the person's own video, or
            `still` for its first pose, held.
        subject: the person's own poses, already in the world frame.
        body: the person's body: its joints are what other skeletons are fitted to.
        up: the file's up axis; "auto" takes the format's, and where that is none, guesses it from the torso.
        person: which of several persons in the file; by default the one in most frames.

    Raises:
        DataError: if there is no such motion, or its file cannot be read.
    """
    if name in ("training", "still"):
        return subject if name == "training" else subject[0:1]

    from nerfstudio_avatars.data.motion import read_motion, shipped_motions, upright
    from nerfstudio_avatars.data.motion.motion_file import motion_path

    path = motion_path(name)
    joints = body.rest(subject.betas.to(body.weights.device))[1].detach().cpu()
    motion = read_motion(path, person, joints[0], rest_joints=joints)
    # Who tumbles or crawls may point anywhere: the shipped files are known to be y-up.
    shipped = path in shipped_motions().values()
    axis = "y" if shipped else file_axis(motion) if up == "auto" else up
    sequence = upright(motion, joints[0], axis)
    return replace(sequence, betas=subject.betas, gender=subject.gender, body=subject.body)


def stage(  # noqa: PLR0913
    motion: BodySequence, body: BodyModel, fps: float, root: Root = "as_is", loop: int = 0, blend_from_rest: int = 0
) -> BodySequence:
    """A motion made ready to play; see `stage_motion`.

    Args:
        motion: with the betas of the person who will move.
        body: who moves.
        fps: frames per second to play it at; the two numbers of frames count these.
        root: what happens to the place of the whole body.
        loop: frames over which the end turns into the beginning.
        blend_from_rest: frames, put before the motion, that lead from the rest pose into it.

    Raises:
        UserError: if the motion is too short for that.
    """
    from nerfstudio_avatars.data.motion.staging import stage_motion

    try:
        return stage_motion(motion, body, root=root, loop_frames=loop, blend_frames=blend_from_rest, fps=fps)
    except ValueError as error:
        raise UserError(
            f"--root {root} --loop {loop} --blend-from-rest {blend_from_rest}: {error}. "
            f"Ask for fewer frames, or raise --fps: the motion lasts {(len(motion) - 1) / motion.fps:.2f} s, which "
            f"are {round((len(motion) - 1) / motion.fps * fps) + 1} frames."
        ) from error


def file_axis(motion: MotionFile) -> Literal["y", "z", "-y"]:
    """The up axis of a motion's file: the format's, or for plain SMPL arrays, which have none, the torso's."""
    return up_axis(motion.sequence.global_orient) if motion.format == "SMPL arrays" else motion.up


def up_axis(global_orient: Float[Tensor, "frames 3"]) -> Literal["y", "z", "-y"]:
    """The axis along which the torso points in most frames."""
    from nerfstudio_avatars.deformations.linear_blend_skinning import axis_angle_to_matrix

    torso = axis_angle_to_matrix(global_orient)[..., 1].median(dim=0).values
    heights: dict[Literal["y", "z", "-y"], float] = {"y": torso[1].item(), "z": torso[2].item(), "-y": -torso[1].item()}
    return max(heights, key=lambda axis: heights[axis])
