"""Trains as nerfstudio does, in this process, and keeps the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def losses_of(config: Any, until: int | None = None) -> tuple[dict[int, dict[str, float]], Any]:
    """Trains until a step, by default to the end; the losses of each step, and the trainer."""
    trainer = config.setup()
    trainer.setup()
    seen = {}

    def record(step):
        loss, terms, metrics = iterate(step)
        seen[step] = {name: value.item() for name, value in terms.items()}
        trainer.stop_training = until is not None and step + 1 >= until
        return loss, terms, metrics

    iterate, trainer.train_iteration = trainer.train_iteration, record
    trainer.train()
    return seen, trainer


def at_step(trainer: Any, step: int, happening: Callable[[], object]) -> None:
    """Lets something happen in the middle of a step."""
    iterate = trainer.train_iteration

    def iterated(number):
        if number == step:
            happening()
        return iterate(number)

    trainer.train_iteration = iterated
