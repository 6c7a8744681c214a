"""A person on the page: what the session shows, drawn by the stage, painted as the look says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state
from nerfstudio_avatars.motion.staging import upright_facing
from nerfstudio_avatars.studio.comparison import Comparison
from nerfstudio_avatars.studio.look import Look, paint
from nerfstudio_avatars.studio.opening_view import View, opening_view
from nerfstudio_avatars.studio.person_stage import PersonStage
from nerfstudio_avatars.studio.picture_budget import size_of
from nerfstudio_avatars.studio.session import VIDEO, Clip, Session
from nerfstudio_avatars.studio.sight import Sight


class PersonShow:
    """A trained or learning person.

    Args:
        stage: draws them.
    """

    def __init__(self, stage: PersonStage) -> None:
        self.stage, self.model, self.shared = stage, stage.model, stage.shared
        self.look = Look()
        self.comparison: Comparison | None = None
        """Draws the training video beside the avatar, if that is wanted."""
        self.session = _session_of(self.model)

    @property
    def moving(self) -> bool:
        """Whether a motion plays, or one turns into another."""
        return self.session.moving

    @property
    def compared(self) -> Comparison | None:
        """What draws both, if the training video is shown, which alone can be compared."""
        return self.comparison if self.session.chosen == VIDEO else None

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.session.advance(seconds)

    def shown(self, whole_frames: bool = True) -> BodyState:
        """The pose to show now, in the shape to show; see `Session.state`."""
        return self.session.shaped(self.session.state(whole_frames))

    def reshape(self, betas: Float[Tensor, "10"]) -> None:
        """Shows the person in another shape of their body model."""
        if torch.equal(betas, self.model.poses.betas.cpu()):
            self.session.reshape(None)
        else:
            self.session.reshape(betas, self.stage.reshaping.standing(betas))

    def draw(self, sight: Sight, side: int, stop: Callable[[], bool]) -> np.ndarray | None:
        """See `Show`."""
        compared = self.compared
        if compared is not None:
            frame = self.model.person.video_frames.start + self.session.playback.shown
            return compared.draw(frame, *size_of(side, sight.aspect), stop)
        outputs = self.stage.draw(sight, self.shown(), *size_of(side, sight.aspect), stop)
        return None if outputs is None else paint(outputs, self.look)

    def opening_view(self, aspect: float) -> View:
        """The whole person in the pose shown now, from the front.

        Args:
            aspect: width over height of the page's picture.
        """
        state = self.shown()
        body = self.model.person.body.pose(state)
        return opening_view(body.vertices.detach(), body.joints.detach(), state.global_orient, aspect)


def _session_of(model: InstantAvatarModel) -> Session:
    """What can be shown of a person before any motion is opened: their video, and a pose of their own."""
    person, poses = model.person, model.poses
    video = person.video_frames

    def at(frame: float) -> BodyState:
        return model.resolver.pose_at(video.start + frame).to("cpu")

    pelvis_rest = person.body.rest(person.motion.betas)[1][0].detach()
    first = at(0.0)
    rest = BodyState(
        betas=poses.betas.cpu(),
        global_orient=upright_facing(first.global_orient),
        body_pose=canonical_state(first.betas).body_pose,
        transl=first.transl,
    )
    return Session(Clip(len(video), person.motion.fps, at), rest, pelvis_rest)
