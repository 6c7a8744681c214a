"""Volumes of many identities: in a file, of which a step reads and changes those that it draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.nerfstudio_glue.optimizers import AdamStep
from nerfstudio_avatars.unsup_volanim.processes import from_first, is_first
from nerfstudio_avatars.unsup_volanim.row_file import RowFile
from nerfstudio_avatars.unsup_volanim.sparse_rows import SparseRows


class VolumeRows(SparseRows):
    """A volume for each identity, 0 at first, with its running means in a `RowFile`.

    Of several processes the first one has the file, and sends the volumes that a step draws to all others.

    Args:
        count: number of identities.
        channels: numbers for each voxel.
        side: voxels along an edge.
    """

    def __init__(self, count: int, channels: int, side: int) -> None:
        super().__init__(count)
        self.shape = channels, side, side, side
        self._size = channels * side**3
        self.file = RowFile(count, 3 * self._size)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Where in the file the rows are."""
        return {"slots": torch.from_numpy(self.file.slots.copy())}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Takes up rows that the file still has.

        Raises:
            ValueError: if they are of another number of identities.
        """
        if state["slots"].shape != self.steps.shape:
            raise ValueError(f"volumes of {len(state['slots'])} identities instead of {len(self)}")
        self.file.refer(state["slots"].numpy())

    def state_of_means(self) -> dict[str, Any]:
        """The clocks; running means are in the file."""
        return {"steps": self.steps}

    def load_means(self, state: dict[str, Any]) -> None:
        """Takes up the clocks, if there are as many."""
        if state["steps"].shape == self.steps.shape:
            self.steps.copy_(state["steps"])

    def _values(self, numbers: Int[Tensor, " rows"]) -> Float[Tensor, "rows channels n n n"]:
        read = self.file.read(numbers.cpu().numpy(), self._size)
        return torch.from_numpy(read).reshape(-1, *self.shape).to(self.steps.device)

    def _values_for_all(self, numbers: Int[Tensor, " rows"]) -> Float[Tensor, "rows channels n n n"]:
        if is_first():
            return from_first(self._values(numbers))
        return from_first(torch.empty(len(numbers), *self.shape, device=self.steps.device))

    def _learn(self, numbers: Tensor, gradients: Tensor, adam: AdamStep) -> None:
        places = numbers.cpu().numpy()
        if is_first():
            packed = torch.from_numpy(self.file.read(places)).to(gradients.device)
            values, means, squares = packed.reshape(len(places), 3, *self.shape).unbind(1)
            after = torch.stack(adam.of_rows(values, means, squares, gradients, self.steps[numbers]), 1)
            self.file.write(places, after.flatten(1).cpu().numpy())
        slots = torch.from_numpy(self.file.slots[places]).to(gradients.device)
        self.file.slots[places] = from_first(slots).cpu().numpy().astype(np.int64)
