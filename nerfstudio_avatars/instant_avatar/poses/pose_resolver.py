"""Decides which pose a camera asks for. No other module does."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence, slerp_axis_angle
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable


class PoseResolver:
    """Finds the pose `(1, 75)` (orientation, body pose, translation) of a camera.

    In this order: a chosen motion; `metadata["frame"]` (training and held-out images); `times` (viewer's slider, camera
    paths, spiral), rotations slerped between frames; `metadata["cam_idx"]` (the training image clicked in the viewer);
    the first training frame. Frames carry the corrections of the pose table, interpolated where they were not trained.
    """

    def __init__(self, poses: BodyPoseTable, train_frames: Int[Tensor, "images"]) -> None:
        self.poses = poses
        self.train_frames = train_frames
        self.motion: BodySequence | None = None

    def pose_for(self, camera: Cameras) -> Float[Tensor, "1 75"]:
        """The pose of a camera batch of one."""
        metadata = camera.metadata or {}
        time = None if camera.times is None else float(camera.times.flatten()[0])
        if self.motion is not None:
            state = self.motion.at(time or 0.0)
            pose = torch.cat([state.global_orient, state.body_pose, state.transl])[None]
            return pose.to(self.poses.transl.device)
        if isinstance(metadata.get("frame"), Tensor):
            return self.frame(int(metadata["frame"].flatten()[0]))
        if time is not None:
            position = min(max(time, 0.0), 1.0) * (len(self.poses) - 1)
            first = min(int(position), len(self.poses) - 1)
            last = min(first + 1, len(self.poses) - 1)
            return _between(self.frame(first), self.frame(last), position - first)
        index = metadata.get("cam_idx", 0)
        index = index if isinstance(index, int) and 0 <= index < len(self.train_frames) else 0
        return self.frame(int(self.train_frames[index]))

    def frame(self, frame: int, corrected: bool = True) -> Float[Tensor, "1 75"]:
        """A frame's stored pose, with its correction unless that is unwanted."""
        index = torch.tensor([frame], device=self.poses.transl.device)
        pose = self.poses.stored(index)
        return pose + self.poses.correction(index).detach() if corrected else pose


def _between(first: Tensor, last: Tensor, share: float) -> Tensor:
    if share == 0:
        return first
    rotations = slerp_axis_angle(first[:, :72].unflatten(1, (24, 3)), last[:, :72].unflatten(1, (24, 3)), share)
    return torch.cat([rotations.flatten(1), (1 - share) * first[:, 72:] + share * last[:, 72:]], 1)
