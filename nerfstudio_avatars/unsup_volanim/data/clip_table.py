"""The table of clips, with the frames that are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """One video, folder of frames, or single picture."""

    name: str
    """Unique in its data set, and the same however many clips there are beside it."""
    path: str
    """A folder of pictures, a video file, or a picture file."""
    frames: int
    """How many."""
    fps: float = 25.0
    """Frames a second."""
    mask: str | None = None
    """A folder of masks, a mask video, or a mask picture."""
    person: str | None = None
    """Whom it shows, where that is known."""
    split: str = "train"
    """`train`, or `test`: never trained on."""


@dataclass(frozen=True)
class ClipTable:
    """All clips of a data set; a clip's number is its place here. Holds no pictures and is never changed."""

    clips: list[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> Clip:
        return self.clips[clip]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __deepcopy__(self, memo: dict) -> ClipTable:
        # nerfstudio deep-copies a dataparser's metadata, twice; there may be tens of thousands of clips.
        return self

    def of_split(self, split: str) -> list[int]:
        """Numbers of the clips of a split."""
        return [number for number, clip in enumerate(self.clips) if clip.split == split]


@dataclass(frozen=True)
class HeldOutFrames:
    """The last of every `interval` frames of a clip is not trained on; 0 holds out none."""

    interval: int

    def count(self, frames: int) -> int:
        """Held-out frames of a clip."""
        return frames // self.interval if self.interval else 0

    def learned(self, position: int) -> int:
        """The frame that stands at a place among those that are not held out."""
        return position + position // (self.interval - 1) if self.interval else position


def frame_rows(table: ClipTable, clips: list[int], held_out: HeldOutFrames, learned: bool) -> Int[Tensor, "rows 2"]:
    """(clip, frame) of all learned, or all held-out, frames of some clips, in order."""
    rows = [torch.zeros((0, 2), dtype=torch.long)]
    for clip in clips:
        frame = torch.arange(table[clip].frames)
        out = (frame + 1) % held_out.interval == 0 if held_out.interval else torch.zeros_like(frame) > 0
        chosen = frame[~out if learned else out]
        rows.append(torch.stack([torch.full_like(chosen, clip), chosen], 1))
    return torch.cat(rows)
