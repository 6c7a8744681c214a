"""Sizes that the host has to know, read for many programs at once: a GPU is waited for once a round, not once a read.

How many samples a ray has, or how many cells a bin, decides the shape of what comes next, and shapes live on the host.
A program is a generator that yields such numbers as small tensors and gets them back as integers:

    (count,) = yield mask.sum()[None]
    rows = rows_where(mask, count)
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Result = TypeVar("Result")
Program = Generator[Tensor, list[int], Result]
"""Yields integer tensors of one dimension, each answered by a list of its numbers."""


def run(program: Program[Result]) -> Result:
    """Runs one program to its end."""
    return run_together([program])[0]


def run_together(programs: Sequence[Program[Result]]) -> list[Result]:
    """Runs programs side by side; what all of them ask for at a time is one read."""
    results: dict[int, Result] = {}
    answers: dict[int, list[int] | None] = dict.fromkeys(range(len(programs)))
    while answers:
        asked: dict[int, Tensor] = {}
        for i, answer in answers.items():
            try:
                asked[i] = programs[i].send(answer)  # type: ignore[arg-type]  # The first answer is None.
            except StopIteration as end:
                results[i] = end.value
        numbers = torch.cat(list(asked.values())).tolist() if asked else []
        answers, start = {}, 0
        for i, question in asked.items():
            answers[i] = numbers[start : start + len(question)]
            start += len(question)
    return [results[i] for i in range(len(programs))]


def rows_where(mask: Bool[Tensor, "n"], count: int) -> Int[Tensor, "count"]:
    """Where a mask is true, which it is known to be `count` times: `nonzero` without waiting for the device."""
    return torch.repeat_interleave(mask.long(), output_size=count)
