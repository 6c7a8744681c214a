"""One pose per training frame and part, learnt by gradient (part of `unsup-volanim`'s articulation)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.processes import everywhere
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses

_MEMORY = 0.9
"""Share of the mean square of a derivative that is kept at each visit."""
_AT_ONCE = 256
"""Maximum number of frames to show the detector at the same time."""
_LARGEST = 2.0
"""Maximum step, in rates."""
_PLATEAU = 0.6
"""Share of a phase after which steps begin to shrink."""


@dataclass
class PartPoseTableConfig:
    """Options of the table of part poses."""

    turn_rate: float = 0.02
    """Size that steps of a rotation usually have, one at each visit of its frame; in radians."""
    shift_rate: float = 0.01
    """Size that steps of a translation usually have, one at each visit of its frame; in half pictures."""
    final_share: float = 0.2
    """Share of the step sizes that is left at the end of a phase."""
    anchor: float = 0.05
    """Share of the way that the poses of a frame are taken back together at each visit, towards that of the whole.
    Otherwise, the canonical frame of each identity drifts, and nobody else's poses fit any more."""
    stillness: float = 0.0
    """Share of the way that each part is taken back to the whole at each visit.
    Parts that nothing makes move by themselves then stay together, instead of moving at random."""


class PartPoseTable(nn.Module):
    """Poses of the whole object and of its parts in all training frames, improved whenever a frame is visited.

    Poses that reach the picture only through a detector, which all frames share, hardly separate parts: a part has to
    move by less than what the detector errs. Free poses follow the picture at once, and the detector learns from them.
    The pose of the whole is polished first, because parts would mend its errors instead of moving.
    """

    rotation: Tensor
    translation: Tensor
    squares: Tensor
    begun: Tensor
    split: Tensor
    refined: Tensor

    def __init__(self, frames: int, parts: int, config: PartPoseTableConfig) -> None:
        super().__init__()
        self.config = config
        # The whole object comes first.
        self.register_buffer("rotation", torch.eye(3).repeat(frames, 1 + parts, 1, 1))
        self.register_buffer("translation", torch.zeros(frames, 1 + parts, 3))
        self.register_buffer("squares", torch.zeros(frames, 1 + parts, 6))
        self.register_buffer("begun", torch.tensor(False))
        self.register_buffer("split", torch.tensor(False))
        self.register_buffer("refined", torch.tensor(0))

    @classmethod
    def holding(cls, poses: PartPoses, config: PartPoseTableConfig) -> PartPoseTable:
        """A table of frames whose parts have these poses (frames, parts) already."""
        table = cls(len(poses.rotation), poses.rotation.shape[1], config).to(poses.rotation.device)
        table.split.fill_(True)
        table.place(torch.arange(len(poses.rotation), device=poses.rotation.device), poses)
        return table

    def begin(self, rows: Int[Tensor, " frames"], found: PartPoses) -> None:
        """Takes over poses (frames, 1) of the whole object."""
        self.rotation[rows, :1], self.translation[rows, :1] = found.rotation, found.translation
        self.begun.fill_(True)

    def place(self, rows: Int[Tensor, " frames"], parts: PartPoses) -> None:
        """Takes over poses (frames, parts) of the parts; before `articulate`, of the whole object."""
        slots = self._slots()
        self.rotation[rows, slots], self.translation[rows, slots] = parts.rotation, parts.translation

    def begin_with_detector(self, network: VolumetricAnimation, clips: Clips) -> None:
        """Takes over the poses of the whole object that the detector finds in all training frames."""
        first = clips.first_rows()
        for some in clips.train_rows().split(_AT_ONCE):
            pictures, rows = [], []
            for clip, frame in some.tolist():
                # What cannot be read is left out of training too.
                with suppress(DataError):
                    pictures.append(clips.frame(clip, frame))
                    rows.append(int(first[clip]) + frame)
            if not rows:
                continue
            with torch.no_grad(), network.evaluating():
                found = network.estimate(torch.stack(pictures).to(self.rotation.device).permute(0, 3, 1, 2))
            whole = PartPoses(found.rotation[:, :1], found.translation[:, :1])
            self.begin(torch.tensor(rows, device=self.rotation.device), whole)

    def articulate(self) -> None:
        """Lets the parts start where the whole object is."""
        self.rotation[:, 1:], self.translation[:, 1:] = self.rotation[:, :1], self.translation[:, :1]
        self.split.fill_(True)

    def whole(self, rows: Int[Tensor, " frames"]) -> PartPoses:
        """Poses of the whole object (frames, 1)."""
        return PartPoses(self.rotation[rows, :1], self.translation[rows, :1])

    def parts(self, rows: Int[Tensor, " frames"]) -> PartPoses:
        """Poses of the parts (frames, parts); before `articulate`, of the whole object as the only part."""
        slots = self._slots()
        return PartPoses(self.rotation[rows, slots], self.translation[rows, slots])

    def _slots(self) -> slice:
        return slice(1, None) if bool(self.split) else slice(0, 1)

    def visited_rows(self) -> Int[Tensor, " frames"]:
        """Numbers of the frames whose parts have been moved."""
        return self.squares[:, 1:].flatten(1).any(1).nonzero()[:, 0]

    def learning(
        self,
        rows: Int[Tensor, " frames"],
        pivots: Float[Tensor, "parts 3"],
        share: float,
        shares: Float[Tensor, " parts"] | None = None,
        detected: PartPoses | None = None,
    ) -> PartPoses:
        """The same, with a gradient, whose computation takes a step in the table.

        Args:
            rows: numbers of the frames, each at most once.
            pivots: canonical points that the parts turn about.
            share: of the phase that has passed, 0 to 1.
            shares: of the parts in the object, if their poses are anchored.
            detected: poses of the whole (frames, 1), to which they are anchored before `articulate`; afterwards, it is
                those in the table.
        """
        poses = self.parts(rows)
        motion = torch.zeros(*poses.translation.shape[:2], 6, device=poses.rotation.device)
        if torch.is_grad_enabled():
            motion.requires_grad_()
            anchor = self.whole(rows) if bool(self.split) else detected
            if shares is not None and anchor is not None:
                poses = self._anchored(poses, anchor, pivots, shares)
            motion.register_hook(partial(self._step, rows, poses, pivots, self._rate(share)))
        return poses.moved_within(motion[..., :3], motion[..., 3:], pivots)

    def _rate(self, share: float) -> float:
        return self.config.final_share ** (max(share - _PLATEAU, 0.0) / (1 - _PLATEAU))

    def _anchored(self, poses: PartPoses, anchor: PartPoses, pivots: Tensor, shares: Tensor) -> PartPoses:
        """Takes poses back by a share of their mean motion against the whole, and of their own."""
        within = anchor.inverse().after(poses)
        if self.config.stillness:
            turn, moved = motions_of(within, pivots)
            still = identity_poses(*turn.shape[:2], device=turn.device)
            left = 1 - self.config.stillness
            within = still.moved_within(left * turn, left * moved, pivots)
        turn, shift, middle = _mean_motion(within, pivots, shares)
        return anchor.moved_within(-self.config.anchor * turn, -self.config.anchor * shift, middle).after(within)

    def recentre(
        self, rows: Int[Tensor, " frames"], pivots: Float[Tensor, "parts 3"], shares: Float[Tensor, " parts"]
    ) -> None:
        """Moves the whole object to where its parts are on average, in all frames of an identity.

        What these motions have in common is taken back from the parts instead: it is a drift of the canonical frame.
        """
        whole = self.whole(rows)
        within = whole.inverse().after(self.parts(rows))
        turn, shift, middle = _mean_motion(within, pivots, shares)
        turn_of_all, shift_of_all = turn.mean(0, keepdim=True), shift.mean(0, keepdim=True)
        back = whole.moved_within(-turn_of_all.expand_as(turn), -shift_of_all.expand_as(shift), middle)
        parts = back.after(within)
        self.begin(rows, whole.moved_within(turn - turn_of_all, shift - shift_of_all, middle))
        self.place(rows, parts)

    @torch.no_grad()
    def _step(self, rows: Tensor, poses: PartPoses, pivots: Tensor, rate: float, gradient: Tensor) -> None:
        slots = self._slots()
        before, now = self.squares[rows, slots], gradient.square()
        squares = torch.where(before > 0, torch.lerp(now, before, _MEMORY), now)
        step = (gradient / squares.sqrt().clamp_min(1e-20)).clamp(-_LARGEST, _LARGEST) * -rate
        turn, shift = self.config.turn_rate * step[..., :3], self.config.shift_rate * step[..., 3:]
        moved = poses.moved_within(turn, shift, pivots)
        for all_rows, r, t, s in everywhere(rows, moved.rotation, moved.translation, squares):
            self.rotation[all_rows, slots], self.translation[all_rows, slots] = r, t
            self.squares[all_rows, slots] = s


def motions_of(within: PartPoses, pivots: Tensor) -> tuple[Tensor, Tensor]:
    """Turns (axis-angle, radians) of poses against the whole, and shifts of the pivots (frames, parts, 3)."""
    moved = (within.rotation @ pivots[..., None])[..., 0] + within.translation - pivots
    return matrix_to_axis_angle(within.rotation), moved


def _mean_motion(within: PartPoses, pivots: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean turn and shift (frames, 1, 3) of parts against the whole, and the point (1, 3) to turn about."""
    weights = (shares / shares.sum().clamp_min(1e-6))[:, None]
    turn, moved = ((one * weights).sum(-2, keepdim=True) for one in motions_of(within, pivots))
    return turn, moved, (pivots * weights).sum(0, keepdim=True)
