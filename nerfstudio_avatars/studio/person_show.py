"""A person on the page: what the session shows, drawn by the stage, painted as the look says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state
from nerfstudio_avatars.motion.staging import upright_facing
from nerfstudio_avatars.studio.look import Look, paint
from nerfstudio_avatars.studio.opening_view import View, opening_view
from nerfstudio_avatars.studio.person_stage import PersonStage
from nerfstudio_avatars.studio.picture_budget import size_of
from nerfstudio_avatars.studio.session import Clip, Session
from nerfstudio_avatars.studio.sight import Sight


class PersonShow:
    """A trained or learning person.

    Args:
        stage: draws them.
    """

    def __init__(self, stage: PersonStage) -> None:
        self.stage, self.model = stage, stage.model
        self.look = Look()
        self.session = _session_of(self.model)

    @property
    def moving(self) -> bool:
        """Whether a motion plays, or one turns into another."""
        return self.session.moving

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.session.advance(seconds)

    def draw(self, sight: Sight, side: int, stop: Callable[[], bool]) -> np.ndarray | None:
        """See `Show`."""
        outputs = self.stage.draw(sight, self.session.state(), *size_of(side, sight.aspect), stop)
        return None if outputs is None else paint(outputs, self.look)

    def opening_view(self, aspect: float) -> View:
        """The whole person in the pose shown now, from the front.

        Args:
            aspect: width over height of the page's picture.
        """
        state = self.session.state()
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
