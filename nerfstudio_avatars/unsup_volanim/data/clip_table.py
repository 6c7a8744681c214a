"""The table of clips, with the frames that are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """A video, folder of frames, or single picture."""

    name: str
    """Name that is unique in the data set, and does not change when clips are added."""
    path: str
    """A folder of pictures, a video file, or a picture file."""
    frames: int
    """Number of frames."""
    fps: float = 25.0
    """Frame rate, in frames per second."""
    mask: str | None = None
    """A folder of masks, a mask video, or a mask picture."""
    person: str | None = None
    """The person it shows, if known."""
    split: str = "train"
    """`train`, or `test` for held-out clips."""


@dataclass(frozen=True)
class ClipTable:
    """All clips of a data set; clips are numbered by their position. Immutable, and without pictures."""

    clips: list[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: SupportsIndex) -> Clip:
        return self.clips[clip]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __deepcopy__(self, memo: dict) -> ClipTable:
        # nerfstudio deep-copies a dataparser's metadata, twice; there may be tens of thousands of clips.
        return self

    def of_split(self, split: str) -> list[int]:
        """Numbers of the clips in a split."""
        return [number for number, clip in enumerate(self.clips) if clip.split == split]


@dataclass(frozen=True)
class HeldOutFrames:
    """Holds out the last of every `interval` frames of a clip; 0 holds out none."""

    interval: int

    def count(self, frames: int) -> int:
        """Number of held-out frames in a clip."""
        return frames // self.interval if self.interval else 0

    def learned(self, position: int) -> int:
        """The frame at a position among those that are not held out."""
        return position + position // (self.interval - 1) if self.interval else position


def frame_rows(table: ClipTable, clips: list[int], held_out: HeldOutFrames, learned: bool) -> Int[Tensor, "rows 2"]:
    """(clip, frame) of all training frames, or all held-out frames, of some clips, in order."""
    rows = [torch.zeros((0, 2), dtype=torch.long)]
    for clip in clips:
        frame = torch.arange(table[clip].frames)
        out = (frame + 1) % held_out.interval == 0 if held_out.interval else torch.zeros_like(frame) > 0
        chosen = frame[~out if learned else out]
        rows.append(torch.stack([torch.full_like(chosen, clip), chosen], 1))
    return torch.cat(rows)
