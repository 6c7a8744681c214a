"""A kind of object on the page: somebody of it, as the session says."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from torch import Tensor

from nerfstudio_avatars.studio.kind_session import KindSession
from nerfstudio_avatars.studio.look import depth_colours
from nerfstudio_avatars.studio.opening_view import View
from nerfstudio_avatars.studio.picture_budget import size_of
from nerfstudio_avatars.studio.shared_model import SharedModel
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE
from nerfstudio_avatars.unsup_volanim.standard_camera import FIELD_OF_VIEW as STANDARD_VIEW

OUTPUTS = ("rgb", "parts", "depth", "normal", "accumulation")
_ROOM = 1.15
"""Factor of the method's own field of view that the page opens with."""
_SMALL, _FEWER = 256, 2
"""Longer side in pixels up to which a picture on the page has fewer samples along rays, and how many times fewer."""


class KindShow:
    """A kind of object, such as heads.

    Args:
        model: draws.
        lock: held while the model is used.
    """

    def __init__(self, model: UnsupVolanimModel, lock: AbstractContextManager | None = None) -> None:
        self.model = model
        self.shared = SharedModel(model, lock)
        self.session = KindSession(model)
        self.output = "rgb"
        self._cube: tuple[tuple[str, str | None, float], Tensor] | None = None

    @property
    def moving(self) -> bool:
        """Whether the clip plays."""
        playback = self.session.playback
        return playback.playing and playback.last > 0

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        with self.session.lock:
            self.session.playback.advance(seconds)

    def learnt(self) -> None:
        """The model has changed: what was made with it is out of date."""
        self._cube = None
        self.session.moves.learnt()

    def draw(
        self, sight: Sight, side: int, stop: Callable[[], bool], frame: int | None = None, swing: float = 0.0
    ) -> np.ndarray | None:
        """See `Show`.

        Args:
            sight: from where.
            side: of the picture, in pixels; the longer one.
            stop: whether it is still wanted.
            frame: of the clip; by default where the playback stands.
            swing: degrees that the object is turned to the side by, besides what the session says.
        """
        camera = sight.camera(*size_of(side, sight.aspect)).to(self.model.device)
        output, samples = self.output, self.model.config.eval_samples
        if frame is None and side <= _SMALL:
            samples = max(samples // _FEWER, 2)
        with self.shared.using():
            if stop():
                return None
            voxels, visible = self._voxels(), self.session.visible()
            poses = self.session.turned(self.session.poses(frame), voxels, swing)
            seen = self.model.render_identity(
                camera, voxels, poses, visible, normals=output == "normal", samples=samples
            )
        picture, covered = seen[output], seen["accumulation"]
        if output == "depth":
            picture = depth_colours(picture, covered) * covered
        elif output == "accumulation":
            picture = covered.expand(*covered.shape[:2], 3)
        return (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()

    def opening_view(self, aspect: float) -> View:
        """The view of the method's own camera, with a little more room; all of it, however narrow the page is.

        Args:
            aspect: width over height of the page's picture.
        """
        tangent = math.tan(STANDARD_VIEW / 2) * _ROOM / min(aspect, 1.0)
        return View((0.0, DISTANCE, 0.0), (0.0, 0.0, 0.0), 2 * math.atan(tangent))

    def _voxels(self) -> Tensor:
        """Of who is shown; made once as long as nothing about them changes."""
        session = self.session
        key = session.who, session.other, session.share
        kept = self._cube
        if kept is None or kept[0] != key or session.who in session.added:
            kept = self._cube = key, session.cube()
        return kept[1]
