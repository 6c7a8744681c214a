"""Values that a file holds once and shows many times, which whoever walks through them has to pay for each time."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_SHOWN = 20_000_000
"""Values and numbers that may be seen when a file is walked through, besides twice those that it holds."""


def check_shared_values(value: Any) -> None:
    """Refuses lists within lists that are few in a file but become many, such as ten lists of ten of the next.

    Args:
        value: dicts, lists and tuples, with arrays or tensors in them.

    Raises:
        ValueError: more than is reasonable, or a value that holds itself.
    """
    counter = _Counter()
    shown = counter.shown(value)
    if shown > MOST_SHOWN + 2 * counter.held:
        raise ValueError(f"values that are held once and shown so often that they become {shown:.3g}")


class _Counter:
    """How many values are held, and how many are shown."""

    def __init__(self) -> None:
        self.held = 0
        self._shown: dict[int, int] = {}

    def shown(self, value: Any) -> int:
        """How many values one is when everything in it is counted as often as it occurs."""
        if not isinstance(value, dict | list | tuple):
            size, held = _numbers(value)
            if id(value) not in self._shown:
                self._shown[id(value)] = size
                self.held += held
            return size
        if id(value) in self._shown:
            if self._shown[id(value)] < 0:
                raise ValueError("a value that holds itself")
            return self._shown[id(value)]
        self._shown[id(value)] = -1
        size = 1 + sum(map(self.shown, value.values() if isinstance(value, dict) else value))
        self.held += 1
        self._shown[id(value)] = size
        return size


def _numbers(value: Any) -> tuple[int, int]:
    """How many an array or tensor has, and how many of these lie in memory; one for anything else."""
    if isinstance(value, np.ndarray):
        return value.size, value.size
    if hasattr(value, "untyped_storage"):
        return value.numel(), min(value.numel(), value.untyped_storage().nbytes() // value.element_size())
    return 1, 1
