"""The poses of a sequence: stored values, learnt corrections, and the resulting transforms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.bodies.body_model import BodyModel, BodyState
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.bodies.rotations import compose_axis_angle, slerp_axis_angle
from nerfstudio_avatars.instant_avatar.poses.pose_smoothing import likeness_of_neighbours

if TYPE_CHECKING:
    from nerfstudio_avatars.bodies.body_sequence import BodySequence

CANONICAL_ANGLES = {2: 0.2, 5: -0.2, 47: -0.8, 50: 0.8}
"""The A-pose: angles of hips and shoulders about z in radians, by index of the 69 body angles."""

FAR = 0.5
"""Distance between neighbouring frames (radians, metres) above which it is not jitter."""


def canonical_state(betas: Float[Tensor, "10"]) -> BodyState:
    """The A-pose in which the avatar is stored (InstantAvatar's reference, `A_pose`)."""
    body_pose = torch.zeros(69, device=betas.device)
    for index, angle in CANONICAL_ANGLES.items():
        body_pose[index] = angle
    zero = torch.zeros(3, device=betas.device)
    return BodyState(betas=betas, global_orient=zero, body_pose=body_pose, transl=zero)


class BodyPoseTable(nn.Module):
    """Poses of all frames of a sequence, with small learnt corrections.

    There are three kinds of corrections: per frame (all angles and the translation), shared by all frames (systematic
    errors of the angles), and joints of bones (a body with other proportions than its template). The last two belong to
    the avatar, also in new motions; frames without a correction of their own take that of their neighbours.

    Args:
        sequence: poses as in the data.
        body: the body whose joints are posed.
        trained_frames: frames that get corrections of their own.
        start: initial corrections; by default none.
    """

    betas: Tensor
    rest_joints: Tensor
    canonical_inverse: Tensor
    global_orient: Tensor
    body_pose: Tensor
    transl: Tensor
    trained: Tensor
    _trained_frames: Tensor
    start: Tensor

    def __init__(
        self,
        sequence: BodySequence,
        body: BodyModel,
        trained_frames: Int[Tensor, " trained"],
        start: Float[Tensor, "frames 75"] | None = None,
    ) -> None:
        super().__init__()
        self.parents = tuple(body.parents)
        betas = sequence.betas
        state = canonical_state(betas)
        _, rest_joints = body.rest(betas)
        inverse = torch.linalg.inv(
            joint_transforms(rest_joints, state.global_orient, state.body_pose, state.transl, self.parents)
        )
        self.register_buffer("rest_joints", rest_joints.clone())
        self.register_buffer("canonical_inverse", inverse)
        self.register_buffer("betas", betas.clone())
        self.register_buffer("global_orient", sequence.global_orient.clone())
        self.register_buffer("body_pose", sequence.body_pose.clone())
        self.register_buffer("transl", sequence.transl.clone())
        trained = torch.zeros(len(sequence), dtype=torch.bool)
        trained[trained_frames] = True
        self.register_buffer("trained", trained)
        # The same as a list, which the device would have to be asked for.
        self.register_buffer("_trained_frames", trained.nonzero()[:, 0], persistent=False)
        self._alike = likeness_of_neighbours(sequence.global_orient[trained])
        self.register_load_state_dict_post_hook(lambda module, _: module._list_trained())
        self.register_buffer("start", torch.zeros(len(sequence), 75) if start is None else start.clone())
        self.frame_correction = nn.Parameter(self.start.clone())
        self.shared_correction = nn.Parameter(torch.zeros(69))
        self.joint_offsets = nn.Parameter(torch.zeros(24, 3))

    def __len__(self) -> int:
        return len(self.transl)

    def _list_trained(self) -> None:
        self._trained_frames = self.trained.nonzero()[:, 0]

    def stored(self, frames: Int[Tensor, "*k"]) -> Float[Tensor, "*k 75"]:
        """Orientation, body pose and translation of frames as in the data."""
        return torch.cat([self.global_orient[frames], self.body_pose[frames], self.transl[frames]], -1)

    def correction(self, frames: Int[Tensor, " k"]) -> Float[Tensor, "k 75"]:
        """Correction of each frame: its own if it was trained, otherwise its start plus what its trained neighbours
        have learnt, interpolated.

        Uses no pixel of a held-out frame. Frames before the first or after the last trained one get none.
        """
        trained = self._trained_frames
        if len(trained) == 0:
            return torch.zeros(len(frames), 75, device=frames.device)
        after = torch.searchsorted(trained, frames).clamp(max=len(trained) - 1)
        before = torch.where(trained[after] == frames, after, (after - 1).clamp(min=0))
        a, b = trained[before], trained[after]
        share = ((frames - a) / (b - a).clamp(min=1)).clamp(0, 1)[:, None]
        learnt = self.frame_correction - self.start
        blended = self.start[frames] + (1 - share) * learnt[a] + share * learnt[b]
        between = ((frames >= a) & (frames <= b))[:, None]
        return torch.where(between, blended, torch.zeros_like(blended))

    def state(self, frame: int, corrected: bool = True) -> BodyState:
        """The pose of a frame, by default with its correction; without gradient."""
        index = torch.tensor([frame], device=self.transl.device)
        pose = self.stored(index)
        pose = pose + self.correction(index).detach() if corrected else pose
        return BodyState.unpacked(self.betas, pose[0])

    @torch.no_grad()
    def refined(self, sequence: BodySequence) -> BodySequence:
        """The sequence that the table was made of, with all corrections of its angles and translations, on the CPU."""
        frames = torch.arange(len(self), device=self.transl.device)
        state = (self.stored(frames) + self.correction(frames)).cpu()
        body_pose = state[:, 3:72] + self.shared_correction.cpu()
        return replace(sequence, global_orient=state[:, :3], body_pose=body_pose, transl=state[:, 72:])

    @torch.no_grad()
    def joints(self) -> Float[Tensor, "24 3"]:
        """Joints of the T-pose, metres, y up, where the training has moved them to, on the CPU."""
        return (self.rest_joints + self.joint_offsets).cpu()

    def transforms_of(self, state: BodyState) -> Float[Tensor, "24 4 4"]:
        """Transforms from canonical to posed, in metres, for one pose with shared corrections."""
        return self.transforms(state.packed()[None])[0]

    def transforms(self, pose: Float[Tensor, "k 75"]) -> Float[Tensor, "k 24 4 4"]:
        """Transforms from canonical to posed, in metres, for poses with shared corrections."""
        joints = self.rest_joints + self.joint_offsets
        posed = joint_transforms(
            joints, pose[:, :3], pose[:, 3:72] + self.shared_correction, pose[:, 72:], self.parents
        )
        return posed @ self.rest_from_canonical()

    def rest_from_canonical(self) -> Float[Tensor, "24 4 4"]:
        """Transforms of each joint from canonical space to the T-pose, in metres."""
        # Moved joints take their flesh along: the canonical point keeps its place relative to its bone.
        shift = torch.eye(4, device=self.joint_offsets.device) + F.pad(self.joint_offsets[..., None], (3, 0, 0, 1))
        return shift @ self.canonical_inverse

    def smoothness(self, frames: Int[Tensor, " k"]) -> Float[Tensor, ""]:
        """Mean square distance of corrected poses from the middle of their neighbours in time (radians, metres).

        It is small for people, who move smoothly, and large for jitter of an estimator; smoothing only the corrections
        would keep the jitter. Distances far beyond `FAR` hardly count (Geman and McClure 1987), so that a flipped frame
        does not pull its neighbours along. Photographs between which the person turns far are no neighbours.
        """
        trained = self._trained_frames
        if len(trained) < 3:
            return self.frame_correction[frames].square().mean()
        at = torch.searchsorted(trained, frames).clamp(1, len(trained) - 2)
        index = trained[torch.stack([at - 1, at, at + 1])]
        share = ((index[1] - index[0]) / (index[2] - index[0]).clamp(min=1))[:, None]
        poses = self.stored(index) + self.frame_correction[index]
        before, here, after = poses[..., :72].unflatten(-1, (24, 3)).unbind()
        turn = compose_axis_angle(-slerp_axis_angle(before, after, share[..., None]), here)
        move = poses[1, :, 72:] - torch.lerp(poses[0, :, 72:], poses[2, :, 72:], share)
        square = torch.cat([turn, move[:, None]], 1).square().sum(-1)
        return self._alike * (square / (1 + square / FAR**2)).mean() / 3
