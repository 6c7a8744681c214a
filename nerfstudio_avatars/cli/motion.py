"""Which motion a trained person performs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from nerfstudio_avatars.bodies.body_model import BodyModel
    from nerfstudio_avatars.data.body_sequence import BodySequence

Up = Literal["auto", "y", "z", "-y"]
"""Which axis of a motion file points up; "-y" is a camera's frame (y down, z forward)."""


def choose_motion(name: str, subject: BodySequence, body: BodyModel, up: Up = "auto") -> BodySequence:
    """A motion for a person, in the world frame (metres, z up).

    Args:
        name: a shipped motion, the path of an .npz file, `training` for the person's own video, or `still` for its
            first pose, held.
        subject: the person's own poses, already in the world frame.
        body: the person's body, whose shape places the pelvis.
        up: the file's up axis; "auto" takes the one along which the torso stands in most frames.

    Raises:
        DataError: if there is no such motion, or its file cannot be read.
    """
    if name in ("training", "still"):
        return subject if name == "training" else subject[0:1]

    from dataclasses import replace

    from nerfstudio_avatars.data.body_sequence import BodySequence
    from nerfstudio_avatars.data.motion import load_motion, shipped_motions

    path = Path(name)
    if up == "auto":
        stored = path.is_file() and name not in shipped_motions()
        axis = up_axis(BodySequence.load(path).global_orient) if stored else "y"
    else:
        axis = up
    motion = load_motion(name, body.rest(subject.betas)[1][0], axis)
    return replace(motion, betas=subject.betas, gender=subject.gender, body=subject.body)


def up_axis(global_orient: Float[Tensor, "frames 3"]) -> Literal["y", "z", "-y"]:
    """The axis along which the torso points in most frames."""
    from nerfstudio_avatars.deformations.linear_blend_skinning import axis_angle_to_matrix

    torso = axis_angle_to_matrix(global_orient)[..., 1].median(dim=0).values
    heights: dict[Literal["y", "z", "-y"], float] = {"y": torso[1].item(), "z": torso[2].item(), "-y": -torso[1].item()}
    return max(heights, key=lambda axis: heights[axis])
