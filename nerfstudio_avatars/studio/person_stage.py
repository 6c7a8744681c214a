"""Draws a person for the page: poses once, renders in strips that a new wish interrupts, remembers both."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.avatar import PosedAvatar
from nerfstudio_avatars.instant_avatar.camera_rays import camera_rays
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.instant_avatar.rendering.normals import normals_from_depth
from nerfstudio_avatars.instant_avatar.reshaping import Reshaping
from nerfstudio_avatars.studio.shared_model import SharedModel

_STRIP = 1 << 15
"""Number of pixels drawn without looking whether they are still wanted."""
_KEPT_POSES = 64
"""Number of posed bodies that are kept: a motion that repeats is posed once."""


@runtime_checkable
class Lens(Protocol):
    """What looks at the person."""

    def camera(self, height: int, width: int) -> Cameras:
        """Its camera; sizes in pixels."""

    def strips(self, height: int, width: int, pixels: int) -> Iterator[Cameras]:
        """Cameras that see one part of the picture after the other, from top to bottom; see `Sight.strips`."""


class PersonStage:
    """A trained or learning person.

    Args:
        model: the person.
        lock: held while the model is used; the training holds it during a step.
    """

    def __init__(self, model: InstantAvatarModel, lock: AbstractContextManager | None = None) -> None:
        self.model = model
        self.version = 0
        """Rises when the model has changed."""
        self.shared = SharedModel(model, lock)
        self._posed: OrderedDict[bytes, PosedAvatar] = OrderedDict()

    def learnt(self) -> None:
        """The model has changed: what was posed with its earlier occupancy is out of date."""
        with self.shared.lock:
            self.version += 1
            self._posed.clear()

    def draw(
        self, sight: Lens, state: BodyState, height: int, width: int, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Tensor] | None:
        """Renders one picture, as `InstantAvatarModel.render_pose` does.

        Args:
            sight: from where.
            state: the pose, in the world frame.
            height, width: in pixels.
            stop: asked between strips.

        Returns:
            (height, width, channels) each, or None if it was stopped.
        """
        with self.shared.using():
            posed = self._pose(state)
        strips: list[dict[str, Tensor]] = []
        for camera in sight.strips(height, width, _STRIP):
            if stop():
                return None
            with self.shared.using():
                strips.append(self.model.render_posed(camera, posed))
        if len(strips) == 1:
            return strips[0]
        whole = {name: torch.cat([strip[name] for strip in strips]) for name in strips[0]}
        # Differences across the border between two strips.
        rays = camera_rays(sight.camera(height, width).to(self.model.device))
        whole["normal"] = normals_from_depth(*rays, whole["depth"], whole["accumulation"])
        return whole

    @cached_property
    def reshaping(self) -> Reshaping:
        """Gives the person other shapes."""
        return Reshaping(self.model.person.body, self.model.poses, self.model.avatar.volume)

    def reshaped(self, state: BodyState) -> bool:
        """Whether a pose is one of another shape than the person's."""
        return not torch.equal(state.betas.cpu(), self.model.poses.betas.cpu())

    def _pose(self, state: BodyState) -> PosedAvatar:
        key = torch.cat([state.packed(), state.betas]).cpu().numpy().tobytes()
        posed = self._posed.pop(key, None)
        if posed is None:
            seen = state.to(self.model.device)
            posed = self.reshaping.posed(self.model.avatar, seen) if self.reshaped(state) else self.model.posed(seen)
        self._posed[key] = posed
        while len(self._posed) > _KEPT_POSES:
            self._posed.popitem(last=False)
        return posed
