"""Prepares a motion for a scene: its frame rate, its place, and how it starts and ends."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import (
    axis_angle_to_matrix,
    compose_axis_angle,
    matrix_to_axis_angle,
    slerp_axis_angle,
)
from nerfstudio_avatars.motion.choices import Root

# Columns are the axes of the rest pose (x to its left, y up, z ahead) in the world: upright, facing +y.
_UPRIGHT = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def stage_motion(
    sequence: BodySequence,
    body: BodyModel,
    *,
    root: Root = "as_is",
    loop_frames: int = 0,
    blend_frames: int = 0,
    fps: float | None = None,
) -> BodySequence:
    """Prepares a motion for playing, in the world frame (metres, z up), for a body with the betas of the motion.

    Steps are applied in this order: frame rate, place, loop, start. Numbers of frames refer to the new rate.

    Args:
        sequence: a motion from `load_motion`, with the betas of the person who will move.
        body: the body that will move, whose skin decides where the ground is.
        root: `in_place` keeps the pelvis above the origin, `on_ground` lifts or lowers the whole clip so that the
            lowest point of the skin in all frames is at z = 0.
        loop_frames: the number of frames over which the end cross-fades into the start. The clip gets shorter by as
            many, and its last frame equals its first. A person who walks away slides back: combine it with `in_place`.
        blend_frames: the number of frames to add before the clip, leading from the rest pose into it.
        fps: frames per second; by default the motion's own.

    Raises:
        ValueError: an option does not suit the clip.
    """
    if fps is not None:
        if not fps > 0:
            raise ValueError(f"fps is {fps:g}, expected a number above zero")
        sequence = sequence.resampled(fps)
    if root == "in_place":
        sequence = in_place(sequence, body)
    elif root == "on_ground":
        sequence = on_ground(sequence, body)
    elif root != "as_is":
        raise ValueError(f"root is {root!r}, expected as_is, in_place or on_ground")
    if loop_frames:
        sequence = _looped(sequence, loop_frames)
    return _blended_from_rest(sequence, body, blend_frames) if blend_frames else sequence


def in_place(sequence: BodySequence, body: BodyModel) -> BodySequence:
    """Removes the distance covered: the pelvis stays above the origin, and still moves up and down.

    >>> from nerfstudio_avatars.bodies.standin import load_standin
    >>> from nerfstudio_avatars.motion import load_motion
    >>> walk, body = load_motion("walk"), load_standin()
    >>> covered = lambda motion: (motion.transl[-1] - motion.transl[0])[:2].norm().item()
    >>> round(covered(walk), 1), round(covered(in_place(walk, body)), 1)
    (1.2, 0.0)
    """
    pelvis_rest = _pelvis_rest(sequence, body)
    horizontal = torch.tensor([1.0, 1.0, 0.0], device=sequence.transl.device)
    return replace(sequence, transl=sequence.transl - sequence.pelvis(pelvis_rest) * horizontal)


def on_ground(sequence: BodySequence, body: BodyModel) -> BodySequence:
    """Shifts the whole motion along z, so that the lowest vertex over all frames is at z = 0."""
    lowest = min(_lowest(body, sequence.state(frame)) for frame in range(len(sequence)))
    return replace(sequence, transl=sequence.transl - sequence.transl.new_tensor([0.0, 0.0, lowest]))


def _looped(sequence: BodySequence, frames: int) -> BodySequence:
    """Closes the motion to a loop: the last `frames` frames blend into the first ones.

    The clip then starts where these first frames end, so it is shorter by `frames`; its last frame equals its first.

    Raises:
        ValueError: the clip has fewer than 2 `frames` + 1 frames.
    """
    if not 0 < frames <= (len(sequence) - 1) // 2:
        raise ValueError(f"a cross-fade over {frames} frames needs a clip of {2 * max(frames, 1) + 1}: {len(sequence)}")
    share = torch.linspace(0, 1, frames + 1, device=sequence.transl.device)[:, None]
    faded = _mixed(sequence[len(sequence) - frames - 1 :], sequence[: frames + 1], share)
    return _joined(sequence[frames : len(sequence) - frames - 1], faded)


def _blended_from_rest(sequence: BodySequence, body: BodyModel, frames: int) -> BodySequence:
    """Adds `frames` frames before the motion, from the rest pose to its first frame.

    The rest pose is upright, faces the same way as the first frame, and stands at its lowest point.

    Raises:
        ValueError: the number of frames is negative.
    """
    if frames < 0:
        raise ValueError(f"a blend over {frames} frames")
    if not frames:
        return sequence
    first = sequence[0:1]
    orient = upright_facing(first.global_orient[0])
    rest = replace(first, global_orient=orient[None], body_pose=torch.zeros_like(first.body_pose))
    drop = _lowest(body, first.state(0)) - _lowest(body, rest.state(0))
    rest = replace(rest, transl=rest.transl + rest.transl.new_tensor([0.0, 0.0, drop]))
    share = (torch.arange(frames, device=first.transl.device) / frames)[:, None]
    return _joined(_mixed(_repeated(rest, frames), _repeated(first, frames), share), sequence)


def upright_facing(global_orient: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """The upright orientation that faces the same way as this one."""
    axes = axis_angle_to_matrix(global_orient)
    ahead = axes[:, 2]
    # A person who lies down faces nowhere. Whoever rises from their back then faces their feet, from their belly the
    # other way.
    if ahead[:2].norm() < 0.3:
        ahead = -axes[:, 1] * torch.sign(ahead[2])
    turn = torch.atan2(-ahead[0], ahead[1])
    about_z = torch.stack([torch.zeros_like(turn), torch.zeros_like(turn), turn])
    return compose_axis_angle(about_z, matrix_to_axis_angle(_UPRIGHT.to(global_orient)))


def _mixed(first: BodySequence, last: BodySequence, share: Float[Tensor, "frames 1"]) -> BodySequence:
    """Blends two sequences of the same length by a share per frame."""
    pose = slerp_axis_angle(
        first.body_pose.unflatten(1, (23, 3)), last.body_pose.unflatten(1, (23, 3)), share[..., None]
    )
    return replace(
        first,
        global_orient=slerp_axis_angle(first.global_orient, last.global_orient, share),
        body_pose=pose.flatten(1),
        transl=torch.lerp(first.transl, last.transl, share),
    )


def _joined(first: BodySequence, last: BodySequence) -> BodySequence:
    return replace(
        first,
        global_orient=torch.cat([first.global_orient, last.global_orient]),
        body_pose=torch.cat([first.body_pose, last.body_pose]),
        transl=torch.cat([first.transl, last.transl]),
    )


def _repeated(sequence: BodySequence, frames: int) -> BodySequence:
    return replace(
        sequence,
        global_orient=sequence.global_orient.expand(frames, -1),
        body_pose=sequence.body_pose.expand(frames, -1),
        transl=sequence.transl.expand(frames, -1),
    )


def _pelvis_rest(sequence: BodySequence, body: BodyModel) -> Float[Tensor, "3"]:
    return body.rest(sequence.betas.to(body.weights.device))[1][0].to(sequence.transl.device)


@torch.no_grad()
def _lowest(body: BodyModel, state: BodyState) -> float:
    """Height of the lowest point of the skin, in metres."""
    device = body.weights.device
    parts = (part.to(device) for part in (state.betas, state.global_orient, state.body_pose, state.transl))
    return body.pose(BodyState(*parts)).vertices[:, 2].min().item()
