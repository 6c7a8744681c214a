"""What the studio shows of a person: a motion, played or held, or a pose made by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.studio.playback import Playback
from nerfstudio_avatars.studio.pose_editor import PoseEditor

VIDEO, OWN_POSE = "training video", "own pose"
"""Names of what is shown without a motion file."""
BLEND_SECONDS = 0.4
"""Time in which one motion turns into the next, in seconds."""
Place = Literal["as recorded", "in place"]
"""Whether a motion goes where it went, or stays above the origin as on a treadmill."""


@dataclass(frozen=True)
class Clip:
    """A motion that can be shown."""

    frames: int
    fps: float
    at: Callable[[float], BodyState]
    """The pose at a frame, or between two."""

    @classmethod
    def of(cls, motion: BodySequence) -> Clip:
        """A motion in the world frame, with the betas of the person."""
        return cls(len(motion), motion.fps, lambda frame: motion.at(frame / max(len(motion) - 1, 1)))


class Session:
    """Knows neither widgets nor clocks. Every method can be called from any thread.

    Args:
        video: the motion of the training video, and its frames' poses as they are learnt.
        rest: the pose that an own pose begins with.
        pelvis_rest: pelvis of the person's T-pose, metres, above which a motion in place turns.
    """

    def __init__(self, video: Clip, rest: BodyState, pelvis_rest: Float[Tensor, "3"]) -> None:
        self.lock = threading.RLock()
        self.editor = PoseEditor(rest)
        self.place: Place = "as recorded"
        self._pelvis_rest = pelvis_rest
        self._clips: dict[str, Clip] = {VIDEO: video}
        self.chosen = VIDEO
        self.playback = Playback(video.frames, video.fps)
        self._own_shape = self._shape = rest.betas, torch.zeros(3)
        self._blend: tuple[BodyState, float] | None = None

    @property
    def names(self) -> list[str]:
        """Everything that can be chosen."""
        with self.lock:
            return [*self._clips, OWN_POSE]

    @property
    def clip(self) -> Clip:
        """The motion that is shown; of an own pose, one frame."""
        with self.lock:
            return self._clips.get(self.chosen) or Clip(1, 30.0, lambda _: self.editor.state)

    @property
    def moving(self) -> bool:
        """Whether the next picture will be another one, though nobody touches anything."""
        return self._blend is not None or (self.playback.playing and self.playback.last > 0)

    def add(self, name: str, motion: BodySequence) -> None:
        """Adds a motion in the world frame, with the betas of the person; one of the same name is replaced."""
        with self.lock:
            self._clips[name] = Clip.of(motion)
            if name == self.chosen:
                self._start(name)

    def has(self, name: str) -> bool:
        """Whether something of this name can be chosen."""
        return name in self.names

    def choose(self, name: str) -> None:
        """Shows another motion, which the body moves into without a jump.

        Raises:
            KeyError: nothing has this name.
        """
        with self.lock:
            if name not in self.names:
                raise KeyError(name)
            if name == self.chosen:
                return
            self._blend = self.state(), 0.0
            self._start(name)

    def _start(self, name: str) -> None:
        before, self.chosen = self.playback, name
        clip = self.clip
        self.playback = Playback(clip.frames, clip.fps, 0.0, before.playing, before.speed, before.loop)

    def edit(self) -> PoseEditor:
        """The editor, holding what is shown now: whoever turns a joint goes on from there."""
        with self.lock:
            if self.chosen != OWN_POSE:
                self.editor.take(self.state())
                self.choose(OWN_POSE)
                self._blend = None
            return self.editor

    def put_in(self, place: Place) -> None:
        """Shows motions where they were recorded, or in place."""
        with self.lock:
            self.place = place

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        with self.lock:
            self.playback.advance(seconds)
            if self._blend is not None:
                state, since = self._blend
                self._blend = (state, since + seconds) if since + seconds < BLEND_SECONDS else None

    def state(self, whole_frames: bool = True) -> BodyState:
        """The pose to show now.

        Args:
            whole_frames: whether to show no pose between two frames but in slow motion, so that a motion that repeats
                shows the same poses again.
        """
        with self.lock:
            state = self.at(self.playback.shown if whole_frames else self.playback.position)
            if self._blend is None:
                return state
            before, since = self._blend
            share = since / BLEND_SECONDS
            return before.towards(state, share * share * (3 - 2 * share))

    def reshape(self, betas: Float[Tensor, "10"] | None, standing: Float[Tensor, "3"] | None = None) -> None:
        """Shows the body in another shape.

        Args:
            betas: the shape; None for the person's own.
            standing: what is added to every translation, so that they stand where they stood; metres.
        """
        with self.lock:
            self._shape = self._own_shape if betas is None or standing is None else (betas, standing)

    def shaped(self, state: BodyState) -> BodyState:
        """A pose in the shape to show."""
        betas, standing = self._shape
        return replace(state, betas=betas, transl=state.transl + standing)

    def at(self, frame: float) -> BodyState:
        """The pose at a frame of what is chosen, in its place."""
        with self.lock:
            state = self.clip.at(frame)
            return self._in_place(state) if self.place == "in place" and self.chosen != OWN_POSE else state

    def _in_place(self, state: BodyState) -> BodyState:
        horizontal = torch.tensor([1.0, 1.0, 0.0])
        return replace(state, transl=state.transl - (state.transl + self._pelvis_rest) * horizontal)
