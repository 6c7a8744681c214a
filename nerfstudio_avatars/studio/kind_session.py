"""What the studio shows of a kind of object: who, moved by which clip, turned how, and which parts."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.avatars.driving import relative_motion
from nerfstudio_avatars.avatars.driving_clip import DrivingClip
from nerfstudio_avatars.avatars.identity import Identity
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.studio.part_sliders import PartMoves
from nerfstudio_avatars.studio.playback import Playback
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

Manner = Literal["absolute", "relative"]
MANNERS: tuple[Manner, ...] = ("absolute", "relative")
"""Whether somebody takes the driver's poses, or starts from their own and takes only the changes."""
_LISTED = 500
"""Maximum number of names to choose from; a data set may have twenty thousand."""
NOBODY = "random:"
"""What the name of somebody who does not exist begins with; a number follows."""


@dataclass(frozen=True)
class Moves:
    """A clip that can drive."""

    frames: int
    fps: float
    at: Callable[[int], PartPoses]
    """Poses (1, parts) of a frame."""


class KindSession:
    """Knows neither widgets nor clocks. Whoever reads poses or voxels holds the model's lock.

    Args:
        model: trained or learning.
    """

    def __init__(self, model: UnsupVolanimModel) -> None:
        self.model = model
        self.lock = threading.RLock()
        self.added: dict[str, Identity] = {}
        """Who was found in pictures here, by name."""
        self._opened: dict[str, DrivingClip] = {}
        first = model.clips.identity_of_clip[0]
        self.who = model.clips.identities[max(first, 0)]
        self.other: str | None = None
        """Whom they are blended with."""
        self.share = 0.0
        """Of the other, 0 to 1."""
        self.manner: Manner = "absolute"
        self.yaw = self.pitch = 0.0
        """Degrees."""
        self.hidden: set[int] = set()
        self.moves = PartMoves(model)
        self.chosen = model.clips.table[0].name
        self.playback = Playback(*self._length())

    # Who --------------------------------------------------------------------------------------------------------------

    @property
    def people(self) -> list[str]:
        """Who can be shown, besides those who do not exist."""
        with self.lock:
            return [*self.added, *self.model.clips.identities[:_LISTED]]

    def add_person(self, name: str, identity: Identity) -> None:
        """Shows somebody who was found in pictures."""
        with self.lock:
            self.added[name] = identity
            self.who, self.other = name, None

    def cube(self) -> Float[Tensor, "channels n n n"]:
        """Canonical voxels of who is shown."""
        with self.lock:
            who, other, share = self.who, self.other, self.share
        if other is None or share == 0:
            return self._cube_of(who)
        codes = [self._code_of(name) for name in (who, other)]
        if codes[0] is None or codes[1] is None:
            return torch.lerp(self._cube_of(who), self._cube_of(other), share)
        # Between two codes lie people as they are learnt; between two cubes lie double pictures.
        (code, detail), (other_code, other_detail) = codes[0], codes[1]
        network = self.model.network
        own = None if detail is None or other_detail is None else torch.lerp(detail, other_detail, share)
        with torch.no_grad(), network.evaluating():
            return network.cubes_of(torch.lerp(code, other_code, share), detail=own)[0]

    def _cube_of(self, name: str) -> Tensor:
        if name in self.added:
            return self.added[name].cube.to(self.model.device)
        if name.startswith(NOBODY):
            return self.model.random_cube(int(name.removeprefix(NOBODY)))
        return self.model.cube_of_identity(self.model.clips.identities.index(name))

    @torch.no_grad()
    def _code_of(self, name: str) -> tuple[Tensor, Tensor | None] | None:
        """Code and own volume of somebody whom the generator itself draws; None for others."""
        network = self.model.network
        if name in self.added:
            return None
        if name.startswith(NOBODY):
            code = self.model.random_code(int(name.removeprefix(NOBODY)))
            return code, network.no_detail()
        number = torch.tensor([self.model.clips.identities.index(name)], device=self.model.device)
        return network.embedding(number), network.detail_of(number)

    def own_pose(self) -> PartPoses | None:
        """The pose in somebody's first picture; None if there is none, or it is not at hand."""
        if self.who in self.added:
            return self.added[self.who].pose
        if self.who.startswith(NOBODY):
            return None
        clip = self.model.clips.clip_of_identity(self.model.clips.identities.index(self.who))
        try:
            return self.model.driving_pose(clip, 0)
        except UserError:
            return None

    # Motion -----------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Clips that can drive: those opened here, and those of the data that can be read, or whose poses are kept."""
        with self.lock:
            clips = self.model.clips
            known = [one.name for number, one in enumerate(clips.table.clips[:_LISTED]) if self._is_there(number)]
            return [*self._opened, *known]

    def _is_there(self, clip: int) -> bool:
        return clip == 0 or self.model.clips.is_there(clip)

    def open_clip(self, name: str, clip: DrivingClip) -> None:
        """Adds a clip, and plays it."""
        with self.lock:
            self._opened[name] = clip
            self.choose(name)
            self.playback.play()

    def choose(self, name: str) -> None:
        """Moves whoever is shown by another clip, from its start."""
        with self.lock:
            before, self.chosen = self.playback, name
            frames, fps = self._length()
            self.playback = Playback(frames, fps, 0.0, before.playing, before.speed, before.loop)

    def clip(self) -> Moves:
        """What drives."""
        with self.lock:
            opened = self._opened.get(self.chosen)
        if opened is not None:
            return Moves(len(opened), opened.fps, opened.__getitem__)
        table = self.model.clips.table
        number = next(number for number, one in enumerate(table) if one.name == self.chosen)
        return Moves(table[number].frames, table[number].fps, lambda frame: self.model.driving_pose(number, frame))

    def _length(self) -> tuple[int, float]:
        clip = self.clip()
        return clip.frames, clip.fps

    def poses(self, frame: int | None = None) -> PartPoses:
        """Poses (1, parts) to show, without the turn: of a frame, or of where the playback stands."""
        clip = self.clip()
        frame = round(self.playback.shown) if frame is None else frame
        pose = clip.at(min(frame, clip.frames - 1))
        own = self.own_pose() if self.manner == "relative" else None
        if own is not None:
            pose = relative_motion([clip.at(0), pose], own)[1]
        return self.moves.applied(pose)

    def turned(self, poses: PartPoses, cube: Float[Tensor, "channels n n n"], swing: float = 0.0) -> PartPoses:
        """Poses (1, parts) of this cube, turned about its middle as asked for, and so many degrees to the side."""
        return self.model.network.turned(cube, poses, math.radians(self.yaw + swing), math.radians(self.pitch))

    def driven(self) -> DrivingClip:
        """The whole clip, as it moves whoever is shown, without the turn."""
        clip = self.clip()
        own = self.own_pose() if self.manner == "relative" else None
        poses = [clip.at(frame) for frame in range(clip.frames)]
        moved = poses if own is None else relative_motion(poses, own)
        return DrivingClip([self.moves.applied(pose) for pose in moved], clip.fps)

    def visible(self) -> Float[Tensor, " parts"] | None:
        """1 for each visible part, 0 for hidden ones; None if all are visible."""
        with self.lock:
            shown = [part not in self.hidden for part in range(self.model.network.parts)]
        return None if all(shown) else torch.tensor(shown, dtype=torch.float32, device=self.model.device)
