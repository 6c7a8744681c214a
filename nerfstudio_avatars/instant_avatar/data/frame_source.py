"""Pictures of a sequence, decoded when they are first used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor


@runtime_checkable
class PictureReader(Protocol):
    """Reads pictures of a sequence in rising order."""

    def __call__(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 4"]]:
        """Straight (not premultiplied) colour and mask of each frame."""


class FrameSource:
    """Straight RGBA pictures by frame id, read once per process and kept as uint8. Copies share them."""

    def __init__(self, reader: PictureReader, height: int, width: int) -> None:
        self._reader = reader
        self.height, self.width = height, width
        self._blocks: dict[tuple[int, ...], Tensor] = {}

    def __deepcopy__(self, memo: dict) -> FrameSource:
        # nerfstudio deep-copies a dataparser's metadata; the pictures must not double.
        return self

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_blocks": {}}

    def load(self, frames: Sequence[int]) -> UInt8[Tensor, "frames height width 4"]:
        """Pictures of frames, in the given order. The tensor is shared and must not be written to."""
        key = tuple(int(frame) for frame in frames)
        if key not in self._blocks:
            wanted = sorted(set(key))
            block = torch.empty((len(wanted), self.height, self.width, 4), dtype=torch.uint8)
            for row, picture in zip(block, self._reader(wanted), strict=True):
                row.copy_(torch.from_numpy(picture))
            if tuple(wanted) != key:
                block = block[torch.tensor([wanted.index(frame) for frame in key], dtype=torch.long)]
            self._blocks[key] = block
        return self._blocks[key]
