"""Decides which driving frame a camera asks for. No other module does."""

from __future__ import annotations

from functools import cached_property

from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.data.clips import Clips

__all__ = ["FrameResolver"]


class FrameResolver:
    """Finds the clip and the frame that a camera asks for.

    In this order: `metadata["clip"]` and `metadata["frame"]` (training and held-out pictures); `times`, in the first
    clip (camera paths); `metadata["cam_idx"]` (the training picture clicked in the viewer); the first frame of the
    first clip.
    """

    def __init__(self, clips: Clips) -> None:
        self.clips = clips

    @cached_property
    def _train_rows(self) -> Int[Tensor, "rows 2"]:
        return self.clips.train_rows()

    def frame_for(self, camera: Cameras) -> tuple[int, int]:
        """Clip and frame for a camera batch of one."""
        metadata = camera.metadata or {}
        if "clip" in metadata:
            return int(metadata["clip"].flatten()[0]), int(metadata["frame"].flatten()[0])
        if camera.times is not None:
            return 0, round(float(camera.times.flatten()[0]) * (self.clips.table[0].frames - 1))
        if "cam_idx" in metadata:
            clip, frame = self._train_rows[int(metadata["cam_idx"])].tolist()
            return clip, frame
        return 0, 0
