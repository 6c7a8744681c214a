"""What is done where memory does not suffice: the same, with less at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nerfstudio_avatars.errors import UserError

T = TypeVar("T")

SMALLER_PICTURES = "Close other programs, or ask for smaller pictures."
"""What a user can do where a picture is too large."""
_SAID = ("out of memory", "can't allocate memory", "not enough memory")
"""Of torch's errors, which are RuntimeErrors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, the computer's or a GPU's."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in str(error) for s in _SAID))


class AtATime:
    """How much is worked on at a time; halved where memory does not suffice, which is said once.

    Args:
        count: how many to begin with.
        what: they are, in a message.
        way_out: what a user can do where even the least is too much.
        least: how many are not halved any more.
    """

    def __init__(self, count: int, what: str, way_out: str, least: int = 256) -> None:
        self.count = count
        self._what, self._way_out, self._least, self._said = what, way_out, least, False

    def run(self, work: Callable[[int], T]) -> T:
        """Works with as many at a time as memory suffices for.

        Args:
            work: is given their number; it is called again from its beginning if memory does not suffice.

        Raises:
            UserError: memory does not suffice for the least either.
        """
        asked = self.count
        while True:
            try:
                done = work(self.count)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.count <= self._least:
                    raise UserError(
                        f"Memory does not suffice, even for {self.count} {self._what} at a time. {self._way_out}"
                    ) from error
            else:
                break
            # Only here has the error let go of what had been computed.
            self.count = max(self.count // 2, self._least)
            _give_back()
        if self.count < asked and not self._said:
            self._said = True
            print(
                f"Memory does not suffice for {asked} {self._what} at a time: {self.count} are taken from now on, "
                "which is slower."
            )
        return done


def _give_back() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
