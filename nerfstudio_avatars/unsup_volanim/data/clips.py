"""The clips that a model learns from: the one object that a dataparser hands to it, and that its checkpoint keeps."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable, HeldOutFrames, frame_rows


@dataclass(frozen=True)
class Clips:
    """Clips of one kind of object, and the identities they show."""

    root: Path
    """The folder of the data."""
    table: ClipTable
    """All clips, including held-out ones."""
    identities: list[str]
    """Sorted names of the identities to train on, which are numbered by position."""
    identity_of_clip: list[int]
    """Index of the identity in each clip, or -1 for held-out people."""
    size: int
    """Side of the square frames in pixels."""
    held_out: HeldOutFrames
    """The frames that are held out."""
    has_masks: bool
    """Whether clips have masks of the object."""
    reader: ClipReader | None = None
    """Reads the frames; None until a data manager sets it, and in a finished run without its data."""

    def __deepcopy__(self, memo: dict) -> Clips:
        # nerfstudio deep-copies a dataparser's metadata, twice; there may be tens of thousands of clips.
        return self

    def with_reader(self, cache_gb: float = 1.0) -> Clips:
        """The same clips with a reader; `cache_gb` is the memory for decoded frames, in gigabytes."""
        return dataclasses.replace(self, reader=ClipReader(self.table, self.size, cache_gb))

    def is_there(self, clip: int) -> bool:
        """Whether a clip's frames can be read."""
        return self.reader is not None and Path(self.table[clip].path).exists()

    def frame(self, clip: int, frame: int) -> Float[Tensor, "size size 3"]:
        """A frame as RGB from 0 to 1, on the CPU.

        Raises:
            DataError: if the frame does not exist or cannot be decoded.
        """
        return torch.from_numpy(self._opened(clip).read(clip, frame)[0]).float() / 255

    def mask(self, clip: int, frame: int) -> Float[Tensor, "size size"] | None:
        """Share of each pixel that the object covers, if the data have masks."""
        mask = self._opened(clip).read(clip, frame)[1]
        return None if mask is None else torch.from_numpy(mask).float() / 255

    def train_rows(self) -> Int[Tensor, "rows 2"]:
        """(clip, frame) of all training frames, in the order of the training cameras."""
        return frame_rows(self.table, self.table.of_split("train"), self.held_out, learned=True)

    def first_rows(self) -> Int[Tensor, " clips"]:
        """Numbers of the clips' first frames, where frames of all clips are counted one after the other."""
        lengths = torch.tensor([clip.frames for clip in self.table])
        return lengths.cumsum(0) - lengths

    def clip_of_identity(self, identity: int) -> int:
        """The first clip that shows an identity."""
        return self.identity_of_clip.index(identity)

    def _opened(self, clip: int) -> ClipReader:
        if self.reader is None:
            fix = "put the data back where they were, or give a clip as a file"
            raise DataError(self.table[clip].path, "nothing", "a clip that the run was trained on", fix)
        return self.reader

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Text and numbers for a checkpoint, from which `from_state` rebuilds the clips.

        Paths are relative to the folder of the data, which may be moved.
        """
        return {
            "clips": [
                {**dataclasses.asdict(clip), "path": self._relative(clip.path), "mask": self._relative(clip.mask)}
                for clip in self.table
            ],
            "identities": list(self.identities),
            "identity_of_clip": list(self.identity_of_clip),
            "size": self.size,
            "held_out": self.held_out.interval,
            "has_masks": self.has_masks,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], root: Path) -> Clips:
        """Rebuilds the clips from `state`, with frames if the data exist.

        Raises:
            ValueError: a clip lies outside of the folder.
        """

        def placed(path: str | None) -> str | None:
            place = None if path is None else os.path.normpath(root / path)
            if place is not None and not Path(place).is_relative_to(os.path.normpath(root)):
                raise ValueError(f"a clip at {path!r:.80}, outside of the folder of the data")
            return place

        clips = [Clip(**{**one, "path": placed(one["path"]), "mask": placed(one["mask"])}) for one in state["clips"]]
        found = cls(
            root=root,
            table=ClipTable(clips),
            identities=state["identities"],
            identity_of_clip=state["identity_of_clip"],
            size=state["size"],
            held_out=HeldOutFrames(state["held_out"]),
            has_masks=state["has_masks"],
        )
        return found.with_reader() if root.exists() else found

    def _relative(self, path: str | None) -> str | None:
        return None if path is None else Path(os.path.relpath(path, self.root)).as_posix()
