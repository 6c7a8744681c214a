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
_NEAR = 2.0
"""How far frames learn from one another (a standard deviation), in steps from one trained frame to the next."""
_FEWEST_FRAMES = 8
"""Smallest number of trained frames that tell how good estimates are."""


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
        self._together: Tensor | None = None
        self.shared_correction = nn.Parameter(torch.zeros(69))
        self.joint_offsets = nn.Parameter(torch.zeros(24, 3))
        self._share: tuple[object, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.transl)

    def _list_trained(self) -> None:
        self._trained_frames = self.trained.nonzero()[:, 0]
        self._together = None

    def learnt_together(self) -> Float[Tensor, "frames 75"]:
        """Corrections of all frames, whose gradients also move the frames near each: errors of estimates change slowly
        in time, and noise of gradients does not. A gradient of zero stays one: the matrix is positive definite."""
        at, own = self._trained_frames, self.frame_correction
        if len(at) < 3:
            return own
        if self._together is None or self._together.device != at.device:
            apart = (at[:, None] - at).abs() / at.diff().float().median()
            near = (-(apart / _NEAR).square() / 2).exp()
            self._together = torch.eye(len(at), device=at.device) + self._alike * near * (apart < 3 * _NEAR)
        spread = self._together @ own[at]
        return own.index_copy(0, at, own[at].detach() + spread - spread.detach())

    def stored(self, frames: Int[Tensor, "*k"]) -> Float[Tensor, "*k 75"]:
        """Orientation, body pose and translation of frames as in the data."""
        return torch.cat([self.global_orient[frames], self.body_pose[frames], self.transl[frames]], -1)

    def correction(self, frames: Int[Tensor, " k"]) -> Float[Tensor, "k 75"]:
        """Correction of each frame: its own if it was trained, otherwise what its trained neighbours tell.

        They tell it in two ways: how far estimates nearby were wrong, and where the body was before and after. The two
        are mixed, for each joint, as either would have served the trained frames themselves: exact poses stay as they
        are, and a pose that jitters is led through between its neighbours. Uses no pixel of a held-out frame. Frames
        before the first or after the last trained one get none.
        """
        trained, own = self._trained_frames, self.frame_correction[frames]
        if self.trained[frames].all():
            return own
        if len(trained) == 0:
            return torch.zeros_like(own)
        after = torch.searchsorted(trained, frames).clamp(1, max(len(trained) - 1, 1))
        if len(trained) > 1:
            like_errors, on_the_way = self._told_by_neighbours(frames, after - 1, after)
            share = self._share_of_estimates()
            estimate = self.stored(frames) + self.start[frames]
            told = _turned(estimate, share * like_errors + (1 - share) * on_the_way) - self.stored(frames)
        else:
            told = own
        between = (frames >= trained[0]) & (frames <= trained[-1])
        told = torch.where(between[:, None], told, torch.zeros_like(told))
        return torch.where(self.trained[frames][:, None], own, told)

    def _told_by_neighbours(
        self, frames: Int[Tensor, " k"], before: Int[Tensor, " k"], after: Int[Tensor, " k"]
    ) -> tuple[Float[Tensor, "k 75"], Float[Tensor, "k 75"]]:
        """Two turns from the smoothed estimate of frames: one by the errors of estimates nearby, one to the curve
        through the refined poses nearby. Both are cubic in time, or linear where there is a single neighbour on a side.

        Args:
            frames: numbers of frames.
            before: rows of the list of trained frames: the last before each frame.
            after: the first after each.
        """
        last = len(self._trained_frames) - 1
        row = torch.stack([before - 1, before, after, after + 1])
        inside = (before > 0) & (after < last)
        near = self._trained_frames[row.clamp(0, last)]
        at, time = near.double(), frames.double()
        cubic = torch.stack([_lagrange(at, time, one, (0, 1, 2, 3)) for one in range(4)])
        linear = torch.stack([_lagrange(at, time, one, (1, 2)) for one in (1, 2)])
        weight = torch.where(inside, cubic, F.pad(linear, (0, 0, 1, 1))).float()[..., None]
        estimates, refined = (self.stored(near) + one[near] for one in (self.start, self.frame_correction))
        here = (self.stored(frames) + self.start[frames]).expand_as(refined)
        return (weight * _turn(estimates, refined)).sum(0), (weight * _turn(here, refined)).sum(0)

    def _share_of_estimates(self) -> Float[Tensor, "75"]:
        """How far to go by a frame's own estimate, 0 to 1. It is measured again only when corrections have changed: a
        viewer asks for a pose sixty times a second."""
        learnt = self.frame_correction.device, id(self.frame_correction), self.frame_correction._version
        if self._share is None or self._share[0] != learnt:
            self._share = learnt, self._measured_share_of_estimates()
        return self._share[1]

    @torch.no_grad()
    def _measured_share_of_estimates(self) -> Float[Tensor, "75"]:
        """The same, by what would have been less wrong in trained frames, each told by its neighbours. 1 where poses
        were not refined, and where too few frames were trained to tell."""
        trained = self._trained_frames
        if len(trained) < _FEWEST_FRAMES:
            return torch.ones(75, device=trained.device)
        row = torch.arange(1, len(trained) - 1, device=trained.device)
        frames = trained[row]
        learnt = _turn(self.stored(frames) + self.start[frames], self.stored(frames) + self.frame_correction[frames])
        of_estimates, of_the_way = (
            (told - learnt).unflatten(1, (25, 3)).square().sum(-1).median(0).values
            for told in self._told_by_neighbours(frames, row - 1, row + 1)
        )
        return (1 - of_estimates / (of_estimates + of_the_way).clamp(min=1e-12)).repeat_interleave(3)

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
        poses = self.stored(index) + self.learnt_together()[index]
        before, here, after = poses[..., :72].unflatten(-1, (24, 3)).unbind()
        turn = compose_axis_angle(-slerp_axis_angle(before, after, share[..., None]), here)
        move = poses[1, :, 72:] - torch.lerp(poses[0, :, 72:], poses[2, :, 72:], share)
        square = torch.cat([turn, move[:, None]], 1).square().sum(-1)
        return self._alike * (square / (1 + square / FAR**2)).mean() / 3


def _lagrange(nodes: Float[Tensor, "n k"], time: Float[Tensor, " k"], one: int, of: tuple[int, ...]) -> Tensor:
    """Weight of one node, among some, of the polynomial through them (Lagrange's)."""
    weight = torch.ones_like(time)
    for other in of:
        if other != one:
            weight = weight * (time - nodes[other]) / (nodes[one] - nodes[other])
    return weight


def _turn(here: Float[Tensor, "*k 75"], there: Float[Tensor, "*k 75"]) -> Float[Tensor, "*k 75"]:
    """The turn of each joint (radians, shortest) and the way (metres) from a pose to another."""
    turns = compose_axis_angle(-here[..., :72].unflatten(-1, (24, 3)), there[..., :72].unflatten(-1, (24, 3)))
    return torch.cat([turns.flatten(-2), there[..., 72:] - here[..., 72:]], -1)


def _turned(here: Float[Tensor, "*k 75"], turn: Float[Tensor, "*k 75"]) -> Float[Tensor, "*k 75"]:
    """The pose to which `_turn` leads."""
    joints = compose_axis_angle(here[..., :72].unflatten(-1, (24, 3)), turn[..., :72].unflatten(-1, (24, 3)))
    return torch.cat([joints.flatten(-2), here[..., 72:] + turn[..., 72:]], -1)
