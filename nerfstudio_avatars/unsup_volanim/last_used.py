"""A dictionary that keeps what was used last."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TypeVar

__all__ = ["LastUsed"]

Key = TypeVar("Key")
Value = TypeVar("Value")


class LastUsed(MutableMapping[Key, Value]):
    """Keeps a limited number of entries. Beyond that, those that have not been used for the longest time are dropped.

    >>> kept = LastUsed(2)
    >>> kept["a"], kept["b"] = 1, 2
    >>> kept["a"]
    1
    >>> kept["c"] = 3
    >>> sorted(kept)
    ['a', 'c']

    Args:
        size: number of entries to keep.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: dict[Key, Value] = {}

    def __getitem__(self, key: Key) -> Value:
        value = self._entries.pop(key)
        self._entries[key] = value
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        self._entries.pop(key, None)
        self._entries[key] = value
        while len(self._entries) > self.size:
            del self._entries[next(iter(self._entries))]

    def __delitem__(self, key: Key) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
