"""A person's SMPL parameters over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.rotations import compose_axis_angle, matrix_to_axis_angle, slerp_axis_angle
from nerfstudio_avatars.files import write_npz

__all__ = ["BodySequence", "slerp_axis_angle"]


@dataclass(frozen=True)
class BodySequence:
    """SMPL parameters of consecutive frames: one shape, and a pose per frame (float32).

    >>> from nerfstudio_avatars.motion import load_motion
    >>> walk = load_motion("walk")
    >>> len(walk), round(walk.fps)
    (39, 30)
    >>> walk[10].body_pose.shape, len(walk[10:20]), len(walk.resampled(60))
    (torch.Size([69]), 10, 77)
    """

    betas: Float[Tensor, "10"]
    """Shape coefficients in the shape space of `body`."""
    global_orient: Float[Tensor, "frames 3"]
    """Rotation of the whole body about its rest pelvis, axis-angle, radians."""
    body_pose: Float[Tensor, "frames 69"]
    """Rotations of joints 1..23 relative to their parents, axis-angle, radians."""
    transl: Float[Tensor, "frames 3"]
    """Translation added after posing, in metres."""
    fps: float = 30.0
    """Frames per second."""
    gender: str = "neutral"
    """`neutral`, `male` or `female`."""
    body: str = "standin"
    """The body that the parameters were fitted to: `standin`, `smpl`, or the path of its file."""

    def __post_init__(self) -> None:
        frames = len(self.transl)
        shapes = {"betas": (10,), "global_orient": (frames, 3), "body_pose": (frames, 69), "transl": (frames, 3)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {shape}")
            object.__setattr__(self, name, value.to(torch.float32))

    def __len__(self) -> int:
        return len(self.transl)

    @overload
    def __getitem__(self, frames: int) -> BodyState: ...

    @overload
    def __getitem__(self, frames: slice) -> BodySequence: ...

    def __getitem__(self, frames: int | slice) -> BodyState | BodySequence:
        """The pose of one frame, as `state` gives it, or a motion of some frames."""
        if not isinstance(frames, slice):
            return self.state(index(frames))
        return replace(
            self,
            global_orient=self.global_orient[frames],
            body_pose=self.body_pose[frames],
            transl=self.transl[frames],
            fps=self.fps / (frames.step or 1) if (frames.step or 1) > 0 else self.fps,
        )

    def state(self, frame: int) -> BodyState:
        """The parameters of one frame."""
        return BodyState(self.betas, self.global_orient[frame], self.body_pose[frame], self.transl[frame])

    def at(self, time: float) -> BodyState:
        """The parameters at a time from 0 (first frame) to 1 (last), interpolated; rotations go the shorter way."""
        position = min(max(float(time), 0.0), 1.0) * (len(self) - 1)
        first = min(int(position), len(self) - 1)
        last = min(first + 1, len(self) - 1)
        return self.state(first).towards(self.state(last), position - first)

    def resampled(self, fps: float) -> BodySequence:
        """The same motion at another frame rate; first and last frame are kept as far as the rate allows."""
        count = max(1, round((len(self) - 1) / self.fps * fps) + 1)
        states = [self.at(index / max(count - 1, 1)) for index in range(count)]
        return replace(
            self,
            global_orient=torch.stack([state.global_orient for state in states]),
            body_pose=torch.stack([state.body_pose for state in states]),
            transl=torch.stack([state.transl for state in states]),
            fps=fps,
        )

    def pelvis(self, pelvis_rest: Float[Tensor, "3"]) -> Float[Tensor, "frames 3"]:
        """Position of the pelvis in each frame, in metres. The root turns about it, so orientation does not matter.

        Args:
            pelvis_rest: pelvis of the shaped T-pose, `body.rest(betas)[1][0]`.
        """
        return self.transl + pelvis_rest

    def in_frame(
        self, rotation: Float[Tensor, "3 3"], shift: Float[Tensor, "3"], pelvis_rest: Float[Tensor, "3"]
    ) -> BodySequence:
        """The same motion seen from another frame: posed points x become `rotation @ x + shift`.

        SMPL turns about the rest pelvis p0, not about the origin: t' = R (p0 + t) - p0 + shift. Leaving p0 out is the
        usual mistake, and moves a person turned upside down by half a metre.

        Args:
            rotation: old axes -> new axes.
            shift: in metres, in the new axes.
            pelvis_rest: pelvis of the shaped T-pose, `body.rest(betas)[1][0]`, in metres.
        """
        turn = matrix_to_axis_angle(rotation).expand_as(self.global_orient)
        return replace(
            self,
            global_orient=compose_axis_angle(turn, self.global_orient),
            transl=self.pelvis(pelvis_rest) @ rotation.T - pelvis_rest + shift,
        )

    def to(self, device: torch.device | str) -> BodySequence:
        """Moves the sequence to a device."""
        moved = {name: getattr(self, name).to(device) for name in ("betas", "global_orient", "body_pose", "transl")}
        return replace(self, **moved)

    def save(self, path: str | Path) -> None:
        """Writes InstantAvatar's npz layout, plus `fps`, `gender` and `body`, in one step."""
        write_npz(
            Path(path),
            betas=self.betas.detach().cpu().numpy()[None],
            global_orient=self.global_orient.detach().cpu().numpy(),
            body_pose=self.body_pose.detach().cpu().numpy(),
            transl=self.transl.detach().cpu().numpy(),
            fps=np.float64(self.fps),
            gender=np.str_(self.gender),
            body=np.str_(self.body),
        )
