"""Decides which driving frame a camera asks for. No other module does."""

from __future__ import annotations

from functools import cached_property

from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.viewer_controls import AnimationControls

__all__ = ["FrameResolver"]


class FrameResolver:
    """Finds the clip and the frame that a camera asks for.

    In this order: `times`, in the clip that the viewer's controls chose; `metadata["clip"]` and `metadata["frame"]`
    (training and held-out pictures); `times`, in the first clip (camera paths); `metadata["cam_idx"]` (the training
    picture clicked in the viewer); the first frame of the first clip.
    """

    def __init__(self, clips: Clips, controls: AnimationControls) -> None:
        self.clips, self.controls = clips, controls

    @cached_property
    def _train_rows(self) -> Int[Tensor, "rows 2"]:
        return self.clips.train_rows()

    def frame_for(self, camera: Cameras) -> tuple[int, int]:
        """Clip and frame for a camera batch of one."""
        chosen = self.controls.driving()
        metadata = camera.metadata or {}
        if chosen is None and "clip" in metadata:
            return int(metadata["clip"].flatten()[0]), int(metadata["frame"].flatten()[0])
        if chosen is not None or camera.times is not None:
            clip, share = chosen or 0, 0.0 if camera.times is None else float(camera.times.flatten()[0])
            return clip, round(share * (self.clips.table[clip].frames - 1))
        if "cam_idx" in metadata:
            clip, frame = self._train_rows[int(metadata["cam_idx"])].tolist()
            return clip, frame
        return 0, 0
