"""Adam as the method wants it, and schedules whose rates are plain floats."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class FusedAdamConfig(OptimizerConfig):
    """Adam in one fused kernel, several times faster than the default on a hash table."""

    _target: type = torch.optim.Adam
    eps: float = 1e-15
    """Added to the denominator. Tiny, because a hash entry's gradient is tiny and rare."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the running means of the gradient and of its square."""
    fused: bool = True
    """One kernel instead of several passes over the parameters."""


@dataclass
class DecayScheduleConfig(SchedulerConfig):
    """From the full rate to a share of it at the end of the training.

    nerfstudio's own schedulers leave numpy scalars in the checkpoint, which torch >= 2.6 refuses to load; not this one.
    """

    _target: type = field(default_factory=lambda: DecaySchedule)
    shape: Literal["cosine", "exponential"] = "cosine"
    """`cosine` stays high for long, which a field wants; `exponential` falls at once, which poses want."""
    final_share: float = 0.03
    """Rate at the end, as a share of the full rate."""
    max_steps: int = 1500
    """Length of the training; `ns-train` keeps it equal to `--max-num-iterations`."""
    start: float = 0.0
    """Share of the training at which the schedule begins; the rate is full before."""


class DecaySchedule(Scheduler):
    """Builds the schedule."""

    config: DecayScheduleConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LambdaLR:
        """The rate's factor at every step."""
        config = self.config

        def factor(step: int) -> float:
            progress = min(max(step / max(config.max_steps, 1) - config.start, 0.0) / (1 - config.start), 1.0)
            if config.shape == "exponential":
                return config.final_share**progress
            return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))

        return LambdaLR(optimizer, lr_lambda=factor)
