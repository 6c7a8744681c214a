"""Adam variants for both methods, and schedules whose rates are plain floats."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class FusedAdamConfig(OptimizerConfig):
    """Adam in one fused kernel, which is several times faster than the default on a hash table."""

    _target: type = torch.optim.Adam
    eps: float = 1e-15
    """Constant that is added to the denominator; it is tiny, because gradients of hash entries are tiny and rare."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay rates to use for the running means of the gradient and of its square."""
    fused: bool = True
    """Whether to update all parameters in one fused kernel instead of several passes."""


@dataclass
class DecayScheduleConfig(SchedulerConfig):
    """Lets the learning rate decay from its full value to a share of it at the end of training.

    nerfstudio's own schedulers leave numpy scalars in the checkpoint, which torch >= 2.6 refuses to load.
    """

    _target: type = field(default_factory=lambda: DecaySchedule)
    shape: Literal["cosine", "exponential"] = "cosine"
    """Shape of the decay: `cosine` stays high for long, which suits a field.
    The other is `exponential`, which falls at once and suits poses."""
    final_share: float = 0.03
    """Learning rate at the end of training, given as a share of the initial rate."""
    max_steps: int = 1500
    """Number of training steps, which `ns-train` keeps equal to `--max-num-iterations`."""


class DecaySchedule(Scheduler):
    """Builds the schedule."""

    config: DecayScheduleConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LambdaLR:
        """The scheduler, which gives the factor on the learning rate at every step."""
        config = self.config

        def factor(step: int) -> float:
            progress = min(step / max(config.max_steps, 1), 1.0)
            if config.shape == "exponential":
                return config.final_share**progress
            return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))

        return LambdaLR(optimizer, lr_lambda=factor)


@dataclass
class ClippedAdamConfig(OptimizerConfig):
    """Adam with gradients clipped value by value, as in Unsupervised Volumetric Animation."""

    _target: type = field(default_factory=lambda: ClippedAdam)
    lr: float = 5e-4
    """Learning rate to start with."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay rates to use for the running means of the gradient and of its square."""
    clip: float = 0.1
    """Absolute value to clip each derivative to."""
    fused: bool = True
    """Whether to update all parameters in one fused kernel instead of several passes."""


@dataclass(frozen=True)
class AdamStep:
    """What a step of Adam is done with."""

    rate: float
    betas: tuple[float, float]
    eps: float
    clip: float
    """Absolute value to clip each derivative to."""
    scale: float = 1.0
    """What gradients have been multiplied by."""

    def of_rows(
        self,
        values: Float[Tensor, "rows ..."],
        means: Float[Tensor, "rows ..."],
        squares: Float[Tensor, "rows ..."],
        gradients: Float[Tensor, "rows ..."],
        steps: Int[Tensor, " rows"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values and running means of rows after a step of each.

        Args:
            steps: number of each row's step, counted from 1. In the first, there is nothing to remember.
        """
        count = steps.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        first = count == 1
        gradients = (gradients / self.scale).clamp(-self.clip, self.clip)
        decay, decay_of_squares = self.betas
        means = torch.lerp(gradients, means.masked_fill(first, 0), decay)
        squares = torch.lerp(gradients.square(), squares.masked_fill(first, 0), decay_of_squares)
        root = (squares / (1 - decay_of_squares**count)).sqrt() + self.eps
        return values - self.rate * means / (1 - decay**count) / root, means, squares


@runtime_checkable
class RowsOfParameter(Protocol):
    """A table of which a step changes few rows. It stands behind an empty parameter, as its attribute `rows`."""

    def forget_gradients(self) -> None:
        """Drops what was drawn since the last step."""

    def learn(self, adam: AdamStep) -> None:
        """Takes a step with the gradients since the last one."""

    def forget_means(self) -> None:
        """Drops all running means."""

    def state_of_means(self) -> dict[str, Any]:
        """Running means, for a checkpoint."""

    def load_means(self, state: dict[str, Any]) -> None:
        """Takes up what `state_of_means` gave; drops it if the number of rows is another one."""


def rows_of(optimizer: torch.optim.Optimizer) -> list[RowsOfParameter]:
    """The tables among an optimizer's parameters."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    return [one.rows for one in parameters if hasattr(one, "rows")]


def forget_means(optimizer: torch.optim.Optimizer) -> None:
    """Lets an optimizer begin anew."""
    optimizer.state.clear()
    for rows in rows_of(optimizer):
        rows.forget_means()


class ClippedAdam(torch.optim.Adam):
    """Clips gradients before each step; of tables among its parameters, only the rows that were used are updated."""

    def __init__(self, params: Any, clip: float = 0.1, **options: Any) -> None:
        super().__init__(params, **options)
        self._clip = clip

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        super().zero_grad(set_to_none)
        for rows in rows_of(self):
            rows.forget_gradients()

    def step(self, closure: Any = None) -> Any:
        """Takes one step of Adam with clipped gradients."""
        for group in self.param_groups:
            with_gradient = [one for one in group["params"] if one.grad is not None]
            if with_gradient:
                torch.nn.utils.clip_grad_value_(with_gradient, self._clip)
        result = super().step(closure)
        tables = rows_of(self)
        # Where a loss was not finite on a GPU, `WatchingScaler` says so here, and the fused step above did nothing.
        if tables and not bool(getattr(self, "found_inf", False)):
            group = self.param_groups[0]
            scale = float(getattr(self, "grad_scale", None) or 1)
            for rows in tables:
                rows.learn(AdamStep(group["lr"], group["betas"], group["eps"], self._clip, scale))
        return result

    def state_dict(self) -> dict[str, Any]:
        """The running means of everything."""
        return {**super().state_dict(), "rows": [rows.state_of_means() for rows in rows_of(self)]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a checkpoint, without the running means of parameters whose shape has changed (clips were added)."""
        super().load_state_dict(state_dict)
        for parameter, means in list(self.state.items()):
            if means["exp_avg"].shape != parameter.shape:
                del self.state[parameter]
        for rows, state in zip(rows_of(self), state_dict.get("rows", []), strict=True):
            rows.load_means(state)


@dataclass
class PhasedScheduleConfig(SchedulerConfig):
    """Restarts at every phase of the training: a short warm-up, a plateau, and a decay."""

    _target: type = field(default_factory=lambda: PhasedSchedule)
    boundaries: tuple[float, ...] = (0.0,)
    """Shares of the training at which phases begin, which `ns-train` takes from the model."""
    rates: tuple[float, ...] = (1.0,)
    """Factors to multiply the learning rate by in each phase; the last one also holds for all later phases."""
    plateau: float = 0.6
    """Share of a phase after which the learning rate begins to decay, from 0 to 1."""
    final_share: float = 0.1
    """Learning rate at the end of a phase, given as a share of the full rate."""
    milestones: tuple[float, ...] = ()
    """Shares of a phase at which the learning rate falls tenfold in addition."""
    warm_up: int = 20
    """Number of steps at the start of a phase over which the learning rate rises to its full value."""
    max_steps: int = 1500
    """Number of training steps, which `ns-train` keeps equal to `--max-num-iterations`."""


class PhasedSchedule(Scheduler):
    """Builds the schedule."""

    config: PhasedScheduleConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LambdaLR:
        """The scheduler, which gives the factor on the learning rate at every step."""
        config = self.config
        edges = [share * config.max_steps for share in (*config.boundaries, 1.0)]

        def factor(step: int) -> float:
            phase = max(number for number, edge in enumerate(edges[:-1]) if edge <= step)
            begun, length = edges[phase], max(edges[phase + 1] - edges[phase], 1.0)
            share = min((step - begun) / length, 1.0)
            decay = max(share - config.plateau, 0.0) / max(1 - config.plateau, 1e-6)
            rate = config.rates[min(phase, len(config.rates) - 1)]
            rate *= 0.1 ** sum(share >= milestone for milestone in config.milestones)
            return rate * min(1.0, (step - begun + 1) / max(config.warm_up, 1)) * config.final_share**decay

        return LambdaLR(optimizer, lr_lambda=factor)
