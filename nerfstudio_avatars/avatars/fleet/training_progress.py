"""How far trainings are, read from what they log for tensorboard."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PSNR = "Train Metrics Dict/psnr"


@dataclass(frozen=True)
class Progress:
    """The last that a training logged."""

    step: int
    psnr: float
    """Of the rays of that step, in decibels."""
    seconds_left: float | None
    """None before two steps were logged in this run of the training."""


class TrainingProgress:
    """Follows one training, reading only what was added since the last look.

    Args:
        run: the folder of the run.
        steps: the number of steps it was asked for.
    """

    def __init__(self, run: Path, steps: int) -> None:
        self._run, self._steps = run, steps
        self._files: dict[Path, Any] = {}
        self._first: dict[Path, tuple[int, float]] = {}
        self._last: Progress | None = None

    def look(self) -> Progress | None:
        """The last that was logged; None before anything was."""
        for path in sorted(self._run.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime):
            for event in self._events(path):
                for value in event.summary.value:
                    if value.tag == _PSNR:
                        self._note(path, event.step, event.wall_time, _number(value))
        return self._last

    def _events(self, path: Path) -> Any:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        if path not in self._files:
            self._files[path] = EventFileLoader(str(path))
        return self._files[path].Load()

    def _note(self, path: Path, step: int, when: float, psnr: float) -> None:
        first_step, first_time = self._first.setdefault(path, (step, when))
        pace = (when - first_time) / (step - first_step) if step > first_step else None
        left = None if pace is None else max(pace * (self._steps - 1 - step) - (time.time() - when), 0.0)
        self._last = Progress(step, psnr, left)


def _number(value: Any) -> float:
    return float(value.tensor.float_val[0]) if value.HasField("tensor") else float(value.simple_value)
