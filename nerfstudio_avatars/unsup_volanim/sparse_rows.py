"""Values that identities have of their own, of which a step reads and changes only those of the identities it draws."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.nerfstudio_glue.optimizers import AdamStep
from nerfstudio_avatars.unsup_volanim.processes import averaged, everywhere


class SparseRows(nn.Module):
    """A table with a row for each identity, learnt by an Adam whose clock runs for each row on its own.

    A row is updated exactly as by an Adam that knows nothing else, and only in steps that draw its identity. Where
    every step draws every row, that is Adam over the whole table. Otherwise it differs: there, a row that is not drawn
    moves on with its running means for a while, and these fade, so that its next step is too large.

    Each of several processes sees the rows that any of them draws; the gradients of these are all that is exchanged.
    """

    steps: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(count, dtype=torch.long), persistent=False)
        handle = nn.Parameter(torch.empty(0), requires_grad=False)
        handle.rows = self  # type: ignore[attr-defined]
        # In a list, so that it is no weight.
        self._handle = [handle]
        self._drawn: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def handle(self) -> nn.Parameter:
        """An empty parameter, by which `ClippedAdam` finds this table."""
        return self._handle[0]

    def drawn(self, identities: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "rows ..."], Int[Tensor, " batch"]]:
        """The rows that a step uses, and the place of each identity among them.

        In training, rows of other processes are among them, and gradients are kept until the next step of Adam.
        """
        if not (self.training and torch.is_grad_enabled()):
            numbers, places = identities.unique(return_inverse=True)
            return self._values(numbers), places
        numbers = torch.cat([one for (one,) in everywhere(identities)]).unique()
        rows = self._values_for_all(numbers).requires_grad_()
        self._drawn.append((numbers, rows))
        return rows, torch.searchsorted(numbers, identities)

    # What `RowsOfParameter` asks for ----------------------------------------------------------------------------------

    def forget_gradients(self) -> None:
        """Drops what was drawn since the last step."""
        self._drawn.clear()

    @torch.no_grad()
    def learn(self, adam: AdamStep) -> None:
        """Takes a step in all rows that were drawn since the last one."""
        used = [(numbers, rows.grad) for numbers, rows in self._drawn if rows.grad is not None]
        self._drawn.clear()
        if not used:
            return
        numbers, places = torch.cat([one for one, _ in used]).unique(return_inverse=True)
        each = torch.cat([gradient for _, gradient in used])
        gradients = averaged(each.new_zeros(len(numbers), *each.shape[1:]).index_add_(0, places, each))
        self.steps[numbers] += 1
        self._learn(numbers, gradients, adam)

    def forget_means(self) -> None:
        """Lets every row begin as if it had never been drawn."""
        self.steps.zero_()

    @abstractmethod
    def state_of_means(self) -> dict[str, Any]:
        """Running means, for a checkpoint."""

    @abstractmethod
    def load_means(self, state: dict[str, Any]) -> None:
        """Takes up what `state_of_means` gave; drops it if the number of rows is another one."""

    # Where rows lie ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def _values(self, numbers: Int[Tensor, " rows"]) -> Float[Tensor, "rows ..."]:
        """A copy of some rows, as they are at hand for this process."""

    @abstractmethod
    def _values_for_all(self, numbers: Int[Tensor, " rows"]) -> Float[Tensor, "rows ..."]:
        """A copy of some rows that all processes ask for at the same time."""

    @abstractmethod
    def _learn(self, numbers: Int[Tensor, " rows"], gradients: Float[Tensor, "rows ..."], adam: AdamStep) -> None:
        """Takes a step in some rows, whose `steps` have been counted."""


class CodeRows(SparseRows):
    """Short rows, all in memory, with the sums over them that whitening needs.

    The sums follow what a step changes, so their cost does not depend on the number of rows.
    """

    table: Tensor
    means: Tensor
    squares: Tensor
    total: Tensor
    products: Tensor

    def __init__(self, count: int, size: int) -> None:
        super().__init__(count)
        self.register_buffer("table", torch.randn(count, size))
        self.register_buffer("means", torch.zeros(count, size), persistent=False)
        self.register_buffer("squares", torch.zeros(count, size), persistent=False)
        self.register_buffer("total", torch.zeros(size, dtype=torch.float64), persistent=False)
        self.register_buffer("products", torch.zeros(size, size, dtype=torch.float64), persistent=False)
        self.add_up()
        self.register_load_state_dict_post_hook(lambda rows, _: rows.add_up())

    def add_up(self) -> None:
        """Computes the sums anew, after the table was changed as a whole."""
        table = self.table.double()
        self.total.copy_(table.sum(0))
        self.products.copy_(table.mT @ table)

    def moments(self, drawn: Float[Tensor, "rows size"]) -> tuple[Float[Tensor, " size"], Float[Tensor, "size size"]]:
        """Mean and covariance of the table, with a gradient for the rows that a step uses."""
        count = len(self)
        rows = drawn.double()
        change, change_of_products = rows.sum(0), rows.mT @ rows
        mean = (self.total + change - change.detach()) / count
        products = self.products + change_of_products - change_of_products.detach()
        covariance = (products - count * torch.outer(mean, mean)) / max(count - 1, 1)
        return mean.to(drawn.dtype), covariance.to(drawn.dtype)

    def state_of_means(self) -> dict[str, Tensor]:
        """Running means and their clocks."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_means(self, state: dict[str, Tensor]) -> None:
        """Takes them up, if there are as many rows."""
        for name, value in state.items():
            own = getattr(self, name)
            if own.shape == value.shape:
                own.copy_(value)

    def _values(self, numbers: Tensor) -> Tensor:
        return self.table[numbers]

    def _values_for_all(self, numbers: Tensor) -> Tensor:
        return self.table[numbers].detach()

    def _learn(self, numbers: Tensor, gradients: Tensor, adam: AdamStep) -> None:
        before = self.table[numbers]
        now, self.means[numbers], self.squares[numbers] = adam.of_rows(
            before, self.means[numbers], self.squares[numbers], gradients, self.steps[numbers]
        )
        self.table[numbers] = now
        old, new = before.double(), now.double()
        self.total += new.sum(0) - old.sum(0)
        self.products += new.mT @ new - old.mT @ old
