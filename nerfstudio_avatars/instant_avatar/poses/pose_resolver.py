"""Decides which pose a camera asks for. No other module does."""

from __future__ import annotations

from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.person import video_frames
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable


class PoseResolver:
    """Finds the pose that a camera asks for.

    In this order: `metadata["frame"]` (training and held-out images, and paths between them); `times` (viewer's slider,
    camera paths, spiral), which run over the video; `metadata["cam_idx"]` (the training image clicked in the viewer);
    the first training frame. Rotations are slerped between frames. Frames carry the corrections of the pose table,
    interpolated where they were not trained.
    """

    def __init__(self, poses: BodyPoseTable, train_frames: Int[Tensor, " images"]) -> None:
        self.poses = poses
        self.train_frames = train_frames

    def pose_for(self, camera: Cameras) -> BodyState:
        """The pose of a camera batch of one."""
        metadata = camera.metadata or {}
        if isinstance(metadata.get("frame"), Tensor):
            return self.pose_at(float(metadata["frame"].flatten()[0]))
        if camera.times is not None:
            video = video_frames(self.train_frames)
            share = min(max(float(camera.times.flatten()[0]), 0.0), 1.0)
            return self.pose_at(video.start + share * (len(video) - 1))
        index = metadata.get("cam_idx", 0)
        index = index if isinstance(index, int) and 0 <= index < len(self.train_frames) else 0
        return self.poses.state(int(self.train_frames[index]))

    def pose_at(self, frame: float) -> BodyState:
        """The corrected pose at a frame, or between two of them."""
        first = min(max(int(frame), 0), len(self.poses) - 1)
        if frame <= first or first == len(self.poses) - 1:
            return self.poses.state(first)
        return self.poses.state(first).towards(self.poses.state(first + 1), frame - first)
