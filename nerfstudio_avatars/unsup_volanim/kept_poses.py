"""Poses that a checkpoint keeps, so that a run can still be animated when its clips are gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

LONGEST = 256
"""Maximum number of frames to keep of the first clip, evenly spread; times of cameras refer to it."""
PEOPLE = 64
"""Maximum number of identities whose first frame is kept, as the pose that their motion may start from."""

Row = tuple[int, int]


def rows_to_keep(clips: Clips) -> list[Row]:
    """(clip, frame) of the poses to keep."""
    count = clips.table[0].frames
    spread = torch.linspace(0, count - 1, min(count, LONGEST)).round().long().tolist()
    first = [(clips.clip_of_identity(number), 0) for number in range(min(len(clips.identities), PEOPLE))]
    return sorted({*((0, frame) for frame in spread), *first})


@dataclass(frozen=True)
class KeptPoses:
    """Poses (1, parts) by clip and frame, on the CPU."""

    poses: dict[Row, PartPoses] = field(default_factory=dict)

    @classmethod
    def of(cls, clips: Clips, pose_of: Callable[[Tensor], PartPoses]) -> KeptPoses | None:
        """The poses to keep, from those clips that can be read; None if none of them can."""
        poses = {}
        for row in rows_to_keep(clips):
            # Clips that broke while they were learnt from have been named; what was learnt is kept nevertheless.
            with suppress(DataError):
                if clips.is_there(row[0]):
                    poses[row] = pose_of(clips.frame(*row)).to("cpu")
        return cls(poses) if poses else None

    def find(self, clip: int, frame: int) -> PartPoses | None:
        """The pose of a frame or, in a long first clip, of the nearest frame that is kept; None if there is none."""
        if clip == 0 and self.poses:
            frame = min((known for of, known in self.poses if of == 0), key=lambda known: abs(known - frame))
        return self.poses.get((clip, frame))

    def state(self) -> dict[str, Any]:
        """Tensors for a checkpoint."""
        if not self.poses:
            return {}
        return {
            "rows": torch.tensor(list(self.poses)),
            "rotation": torch.cat([pose.rotation for pose in self.poses.values()]),
            "translation": torch.cat([pose.translation for pose in self.poses.values()]),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> KeptPoses:
        """Rebuilds the poses from `state`."""
        if not state:
            return cls()
        every = PartPoses(state["rotation"], state["translation"])
        rows = [(int(clip), int(frame)) for clip, frame in state["rows"]]
        return cls({row: every[place : place + 1] for place, row in enumerate(rows)})
