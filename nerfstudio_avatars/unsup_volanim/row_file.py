"""Rows of numbers in a file, which a killed process leaves as its checkpoints need it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np
from jaxtyping import Float32, Int64

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.nerfstudio_glue import checkpoints
from nerfstudio_avatars.unsup_volanim.processes import is_first

NAME = "detail.rows"
"""Name of the file, in a run's folder."""
SLOTS = "network.detail._extra_state"
"""What a checkpoint's entry for slots is called, after names of modules around it."""
NONE = -1
"""The slot of a row that was never written: zeros."""


class RowFile:
    """A table whose rows lie in slots of a file. Memory and checkpoints hold no more than the number of each slot.

    A slot that a checkpoint refers to is not written again: a row that changes moves to another one. So the file serves
    all checkpoints that there are at once, whenever the process is killed, and grows by rows that were written alone.

    Args:
        count: number of rows.
        length: numbers in each.
    """

    _file: BinaryIO | None = None

    def __init__(self, count: int, length: int) -> None:
        self.length = length
        self.slots: Int64[np.ndarray, " rows"] = np.full(count, NONE)
        self._path: Path | None = None
        self._held: dict[str, np.ndarray] = {}
        self._frozen: set[int] = set()
        self._free: list[int] = []
        self._end = 0

    def __del__(self) -> None:
        self._close()

    def __deepcopy__(self, _: Any) -> RowFile:
        return self  # Whatever is copied reads the same file.

    def read(
        self, numbers: Int64[np.ndarray, " some"], length: int | None = None
    ) -> Float32[np.ndarray, "some length"]:
        """Some rows; zeros for those never written.

        Args:
            length: numbers from the beginning of each row; by default all.
        """
        rows = np.zeros((len(numbers), length or self.length), np.float32)
        for row, slot in zip(rows, self.slots[numbers].tolist(), strict=True):
            if slot != NONE:
                file = self._opened()
                file.seek(slot * self.length * 4)
                if file.readinto(row.data) != row.nbytes:  # type: ignore[attr-defined]
                    raise UserError(f"{self._path or 'a temporary file'}: slot {slot} is cut off.")
        return rows

    def write(self, numbers: Int64[np.ndarray, " some"], rows: Float32[np.ndarray, "some length"]) -> None:
        """Changes some rows."""
        for number, row in zip(numbers.tolist(), rows, strict=True):
            slot = int(self.slots[number])
            if slot == NONE or slot in self._frozen:
                if self._free:
                    slot = self._free.pop()
                else:
                    slot, self._end = self._end, self._end + 1
            self._write_slot(slot, np.ascontiguousarray(row).data)
            self.slots[number] = slot

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def hold(self, name: str) -> None:
        """Leaves the present rows as they are, for what refers to them by the present slots.

        Args:
            name: of what refers to them. What it held before is let go.
        """
        self._held[name] = self.slots.copy()
        self._count()

    def sync(self) -> None:
        """Returns when what was written is on the disk."""
        if self._file is not None and is_first():
            os.fsync(self._file.fileno())

    def let_go(self, but: Iterable[str]) -> None:
        """Lets the slots of all be written again that are not named."""
        kept = set(but)
        self._held = {name: slots for name, slots in self._held.items() if name in kept}
        self._count()

    def refer(self, slots: Int64[np.ndarray, " rows"]) -> None:
        """Takes up slots of rows that were held."""
        self.slots = slots.copy()
        self._count()

    def _count(self) -> None:
        held = {slot for slots in self._held.values() for slot in slots.tolist()} - {NONE}
        used = held | set(self.slots.tolist()) - {NONE}
        self._frozen = held
        self._end = max(used, default=-1) + 1
        self._free = sorted(set(range(self._end)) - used, reverse=True)

    # The file ---------------------------------------------------------------------------------------------------------

    def keep_in(self, folder: Path) -> None:
        """Names the folder where rows are written from now on; without one, they go when the process ends."""
        self._path = folder / NAME

    def take_from(self, checkpoint: Path) -> None:
        """Finds the rows of a checkpoint that was loaded, whose slots these are. From another run, they are copied.

        Raises:
            DataError: if the file has gone, or is shorter than it was.
        """
        source, used = checkpoint.parent.parent / NAME, np.flatnonzero(self.slots != NONE)
        size = source.stat().st_size if source.is_file() else None
        if len(used) and (size or 0) < (int(self.slots.max()) + 1) * self.length * 4:
            found = "no such file" if size is None else f"{size} bytes"
            fix = "copy it along with the run's folder, or take another checkpoint"
            raise DataError(source, found, f"the volumes of {len(used)} identities of a checkpoint beside it", fix)
        if self._path is None or source.absolute() == self._path.absolute():
            if source.is_file():
                self._close()
                mode = "r+b" if self._path is not None and is_first() else "rb"
                self._file = cast(BinaryIO, source.open(mode, buffering=0))
            self._held = _slots_of(checkpoints.checkpoints_in(checkpoint.parent))
        else:
            old, self.slots = self.slots, np.full_like(self.slots, NONE)
            self.slots[used] = np.arange(len(used))
            if is_first() and len(used):
                with source.open("rb") as file:
                    for number in used:
                        file.seek(int(old[number]) * self.length * 4)
                        self._write_slot(int(self.slots[number]), file.read(self.length * 4))
        self._count()

    def _write_slot(self, slot: int, row: bytes | memoryview) -> None:
        file, left = self._opened(), memoryview(row).cast("B")
        file.seek(slot * self.length * 4)
        while left:  # A disk that is nearly full takes a part, and then says why.
            left = left[file.write(left) :]

    def _opened(self) -> BinaryIO:
        if self._file is None:
            if self._path is None:
                self._file = cast(BinaryIO, TemporaryFile(buffering=0))
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # Of several processes the first writes.
                self._file = cast(BinaryIO, self._path.open("w+b" if is_first() else "rb", buffering=0))
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _slots_of(files: list[Path]) -> dict[str, np.ndarray]:
    """Slots that checkpoints refer to, by their names; one that is damaged refers to nothing."""
    found: dict[str, np.ndarray] = {}
    for file in files:
        with suppress(DataError):
            weights = checkpoints.read_checkpoint(file, mapped=True).state["pipeline"]
            of_rows = [one["slots"] for name, one in weights.items() if name.endswith(SLOTS)]
            found[file.name] = of_rows[0].numpy().copy()
    return found
