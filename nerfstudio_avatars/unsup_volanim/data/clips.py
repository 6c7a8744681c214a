"""Which clips a model learns from: the one object that a dataparser hands to it, and that its checkpoint keeps."""

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
    """Clips of one kind of object, and whom they show."""

    root: Path
    """The data's folder."""
    table: ClipTable
    """All clips, those never trained on too."""
    identities: list[str]
    """Names of whom is learnt, sorted; a number is a place in here."""
    identity_of_clip: list[int]
    """For each clip whom it shows; -1: somebody never trained on."""
    size: int
    """Side of the square frames, pixels."""
    held_out: HeldOutFrames
    """Which frames are not trained on."""
    has_masks: bool
    """Whether clips say what of them is the object."""
    reader: ClipReader | None = None
    """Gives the frames; none until a data manager brings one, and in a finished run whose data are gone."""

    def __deepcopy__(self, memo: dict) -> Clips:
        # nerfstudio deep-copies a dataparser's metadata, twice; there may be tens of thousands of clips.
        return self

    def with_reader(self, cache_gb: float = 1.0) -> Clips:
        """The same clips with their frames; `cache_gb`: memory for decoded ones, gigabytes."""
        return dataclasses.replace(self, reader=ClipReader(self.table, self.size, cache_gb))

    def is_there(self, clip: int) -> bool:
        """Whether a clip's frames can be read."""
        return self.reader is not None and Path(self.table[clip].path).exists()

    def frame(self, clip: int, frame: int) -> Float[Tensor, "size size 3"]:
        """RGB, 0 to 1, on the CPU.

        Raises:
            DataError: if the frame is not there or cannot be decoded.
        """
        return torch.from_numpy(self._opened(clip).read(clip, frame)[0]).float() / 255

    def mask(self, clip: int, frame: int) -> Float[Tensor, "size size"] | None:
        """Share of each pixel that is the object, where the data say it."""
        mask = self._opened(clip).read(clip, frame)[1]
        return None if mask is None else torch.from_numpy(mask).float() / 255

    def train_rows(self) -> Int[Tensor, "rows 2"]:
        """(clip, frame) of everything that is learned from, in the order of the training's cameras."""
        return frame_rows(self.table, self.table.of_split("train"), self.held_out, learned=True)

    def clip_of_identity(self, identity: int) -> int:
        """The first clip that shows somebody learnt."""
        return self.identity_of_clip.index(identity)

    def _opened(self, clip: int) -> ClipReader:
        if self.reader is None:
            fix = "put the data back where they were, or give a clip as a file"
            raise DataError(self.table[clip].path, "nothing", "a clip that the run was trained on", fix)
        return self.reader

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Words and numbers, from which `from_state` makes the clips again: what a checkpoint keeps.

        Places are relative to the data's folder, which may lie elsewhere next time.
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
        """What `state` described, with frames where the data are there."""

        def placed(path: str | None) -> str | None:
            return None if path is None else os.path.normpath(root / path)

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
