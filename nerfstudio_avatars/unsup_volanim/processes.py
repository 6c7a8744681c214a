"""What the processes of a training tell each other."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the only one, or the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def everywhere(*values: Tensor) -> list[tuple[Tensor, ...]]:
    """The values of all processes, in the same order for each; they must have the same shapes."""
    count = processes()
    if count == 1:
        return [values]
    gathered = []
    for value in values:
        copies = [torch.empty_like(value) for _ in range(count)]
        distributed.all_gather(copies, value.contiguous())
        gathered.append(copies)
    return list(zip(*gathered, strict=True))


def averaged(value: Tensor) -> Tensor:
    """The mean over all processes; changes the tensor."""
    if processes() > 1:
        distributed.all_reduce(value)
        value /= processes()
    return value


def from_first(value: Tensor) -> Tensor:
    """What the first process has, in the tensors of all others."""
    if processes() > 1:
        distributed.broadcast(value, 0)
    return value
