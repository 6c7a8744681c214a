"""The frames that an object is moved by."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.data.clips.clip_reader import ClipReader
from nerfstudio_avatars.data.clips.clip_table import ClipTable


class DrivingSource:
    """Any frame of any clip, for the model at inference. Copies share the reader."""

    def __init__(self, table: ClipTable, reader: ClipReader) -> None:
        self.table, self.reader = table, reader

    def frame(self, clip: int, frame: int) -> Float[Tensor, "size size 3"]:
        """RGB, 0 to 1, on the CPU."""
        return torch.from_numpy(self.reader.read(clip, frame)[0]).float() / 255

    def mask(self, clip: int, frame: int) -> Float[Tensor, "size size"] | None:
        """Share of each pixel that is the object, where the data say it."""
        mask = self.reader.read(clip, frame)[1]
        return None if mask is None else torch.from_numpy(mask).float() / 255
