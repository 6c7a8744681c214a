"""What `unsup-volanim` has learnt, on the page: whatever the model's own controls say."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from nerfstudio.utils import colormaps
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement

from nerfstudio_avatars.studio.opening_view import View
from nerfstudio_avatars.studio.picture_budget import size_of
from nerfstudio_avatars.studio.playback import Playback
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE
from nerfstudio_avatars.unsup_volanim.standard_camera import FIELD_OF_VIEW as STANDARD_VIEW

_ROOM = 1.15
"""Factor of the method's own field of view that the page opens with."""


class ModelShow:
    """A kind of object, such as heads.

    Args:
        model: draws.
        lock: held while the model is used.
    """

    def __init__(self, model: UnsupVolanimModel, lock: AbstractContextManager | None = None) -> None:
        self.model = model
        self._model_lock = lock or threading.Lock()
        self.lock = threading.RLock()
        self._clip: int | None = -1
        self.playback = Playback(1, 25.0)
        self.choose_clip()
        self.output = "rgb"
        self.outputs: tuple[str, ...] = ("rgb",)

    @property
    def elements(self) -> list[tuple[str, ViewerElement]]:
        """The model's own controls, each with its path."""
        return parse_object(self.model, ViewerElement, "")

    @property
    def moving(self) -> bool:
        """Whether the clip plays."""
        return self.playback.playing and self.playback.last > 0

    def choose_clip(self) -> None:
        """Plays the clip that the model's controls say, from its start if it is another one."""
        with self.lock:
            clip = self.model.controls.driving()
            if clip != self._clip:
                driving, before = self.model.clips.table[clip or 0], self.playback
                self._clip = clip
                self.playback = Playback(driving.frames, driving.fps, 0.0, before.playing, before.speed, before.loop)

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        with self.lock:
            self.playback.advance(seconds)

    def draw(self, sight: Sight, side: int, stop: Callable[[], bool]) -> np.ndarray | None:
        """See `Show`."""
        camera = sight.camera(*size_of(side, sight.aspect))
        camera.times = torch.tensor([[self.playback.shown / max(self.playback.last, 1)]])
        with self._model_lock, torch.no_grad():
            if stop():
                return None
            training = self.model.training
            self.model.eval()
            try:
                seen = self.model.get_outputs_for_camera(camera.to(self.model.device))
            finally:
                self.model.train(training)
        self.outputs = tuple(seen)
        picture = seen[self.output if self.output in seen else "rgb"]
        if picture.shape[-1] != 3:
            picture = colormaps.apply_colormap(picture)
        return (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()

    def opening_view(self, aspect: float) -> View:
        """The view of the method's own camera, with a little more room; all of it, however narrow the page is.

        Args:
            aspect: width over height of the page's picture.
        """
        tangent = math.tan(STANDARD_VIEW / 2) * _ROOM / min(aspect, 1.0)
        return View((0.0, DISTANCE, 0.0), (0.0, 0.0, 0.0), 2 * math.atan(tangent))
