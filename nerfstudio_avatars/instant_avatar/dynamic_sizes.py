"""Provides sizes that the host needs, read for many programs at once, or set in advance to avoid waiting for the GPU.

The number of samples on a ray, or of cells in a bin, decides the shapes of later tensors, and the host has to know
shapes. A program is a generator that yields such numbers as small tensors and gets sizes back that are at least as
large:

    (size,) = yield Sizes("samples", mask.sum()[None])
    rows = owners(mask, size)

`run` answers with the numbers themselves. A `Budget` answers with the sizes needed recently and a margin: the excess is
padding, and if something did not fit, `Budget.fits` says so on the device.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_SLACK = 1.25
"""Budget as a multiple of the largest size needed recently."""
_LEAST_SLACK, _MOST_SLACK = 1.1, 1.6
"""A budget is set again if the slack is outside this range: steps of the same sizes can be recorded and replayed."""

Result = TypeVar("Result")


class Sizes(NamedTuple):
    """The sizes that a program asks for."""

    name: str
    numbers: Int[Tensor, " n"]


Program = Generator[Sizes, list[int], Result]


class Budget:
    """Sizes set in advance. Until the first `settle`, the actual numbers are read.

    Its tensors on the device are only modified in place, so that steps can be replayed.
    """

    def __init__(self) -> None:
        self.fits: Bool[Tensor, ""] | None = None
        """Whether everything has fit since this was last set to None; None if nothing was asked."""
        self.sizes: dict[str, list[int]] = {}
        """The answers, by name. Whenever one changes, this is replaced by another dictionary."""
        self._limits: dict[str, Tensor] = {}
        self._needed: dict[str, Tensor] = {}
        self._overflow: Bool[Tensor, ""] | None = None

    @property
    def is_set(self) -> bool:
        """Whether everything requested so far has a size."""
        return bool(self.sizes) and self._needed.keys() <= self.sizes.keys()

    def settle(self) -> None:
        """Adapts sizes to those needed since the last time. Waits for the GPU once.

        If something did not fit, sizes that depend on it are unknown, so actual numbers are read until the next time.
        """
        kept = list(self._needed.values()) + ([] if self._overflow is None else [self._overflow])
        questions = [Sizes("", numbers.long().flatten()) for numbers in kept]
        needed = _read(questions)
        if self._overflow is not None and needed[-1] == [1]:
            self.sizes = {}
        else:
            for name, most in zip(self._needed, needed, strict=False):
                self._make_room(name, most)
        for numbers in kept:
            numbers.zero_()

    def _make_room(self, name: str, needed: list[int]) -> None:
        if not any(needed):  # It was not asked lately.
            return
        sizes = self.sizes.get(name)
        slack = [size / (number + 1) for size, number in zip(sizes, needed, strict=True)] if sizes else [0.0]
        if min(slack) < _LEAST_SLACK or max(slack) > _MOST_SLACK:
            self.sizes = self.sizes | {name: [int(_SLACK * number) + 1 for number in needed]}
            self._limits[name] = send(self.sizes[name], self._needed[name].device)

    def answer(self, asked: list[Sizes]) -> list[list[int]]:
        """Sizes for each question."""
        for name, numbers in asked:
            if name not in self._needed:
                self._needed[name] = torch.zeros_like(numbers)
            torch.maximum(self._needed[name], numbers, out=self._needed[name])
        if any(name not in self.sizes for name, _ in asked):
            return _read(asked)
        # Never entirely full: the last row is padding, which anything may point to.
        fits = torch.stack([(numbers < self._limits[name]).all() for name, numbers in asked]).all()
        self.fits = fits if self.fits is None else self.fits & fits
        if self._overflow is None:
            self._overflow = torch.zeros_like(fits)
        self._overflow |= ~fits
        return [self.sizes[name] for name, _ in asked]


def run(program: Program[Result]) -> Result:
    """Runs one program to its end."""
    return run_together([program])[0]


def run_together(programs: Sequence[Program[Result]], budget: Budget | None = None) -> list[Result]:
    """Runs programs side by side; all their requests at a time take a single read, or none with a budget."""
    results: dict[int, Result] = {}
    answers: dict[int, list[int] | None] = dict.fromkeys(range(len(programs)))
    while True:
        asked: dict[int, Sizes] = {}
        for i, answer in answers.items():
            try:
                asked[i] = programs[i].send(answer)  # type: ignore[arg-type]  # The first answer is None.
            except StopIteration as end:
                results[i] = end.value
        if not asked:
            break
        questions = list(asked.values())
        answers = dict(zip(asked, budget.answer(questions) if budget else _read(questions), strict=True))
    return [results[i] for i in range(len(programs))]


def _read(asked: list[Sizes]) -> list[list[int]]:
    numbers = iter(torch.cat([numbers for _, numbers in asked]).tolist() if asked else [])
    return [[next(numbers) for _ in question] for _, question in asked]


def owners(counts: Int[Tensor, " n"] | Bool[Tensor, " n"], size: int) -> Int[Tensor, " size"]:
    """The element that each of `size` entries belongs to, if element i has `counts[i]` of them; n after the last entry.

    For a mask, these are the rows where it is true, like `nonzero` but without waiting for the device.
    """
    return torch.searchsorted(counts.cumsum(0), torch.arange(size, device=counts.device), right=True)


def send(numbers: Sequence[int], device: torch.device) -> Int[Tensor, " n"]:
    """Sends a few numbers to the device without waiting for it."""
    there = torch.tensor(numbers)
    return there.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else there.to(device)
