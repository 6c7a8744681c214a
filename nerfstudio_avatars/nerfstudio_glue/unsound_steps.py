"""Steps whose loss is no finite number: left out, counted, and where they do not cease, undone."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, distributed

from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import Trainer

# Before torch 2.3 it has its older place alone, where newer ones warn.
GradScaler: Any = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler

_IN_A_ROW = 3
"""Unsound steps in a row after which the training goes back."""
_REMEMBER_EVERY = 500
"""Steps between two states that are remembered to go back to."""
LAST_GOOD = "last good state"
"""Name under which rows in a file are held to go back to."""
_NAMED_FRAMES = 8
"""At most, in a message."""


class WatchingScaler(GradScaler):
    """Leaves optimizers' steps out where the loss is not finite; a GPU is not waited for.

    It stands where nerfstudio's trainer has its scaler for half precision, and scales only where that is asked for.
    """

    unsound: Tensor | None = None
    """Whether the last loss was not finite; a scalar on its device."""
    batches: int = 1
    """Number of batches whose gradients are averaged into one step."""
    _spoilt: Tensor | None = None
    """Whether any loss since `begin` was not finite."""

    def begin(self) -> None:
        """Forgets what was unsound: gradients are about to be zeroed."""
        self._spoilt = None

    def scale(self, outputs: Any) -> Any:
        """Looks at the loss, on its way to the gradients; a step that is unsound for one process is so for all."""
        unsound = ~outputs.detach().isfinite()
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            together = unsound.float()
            distributed.all_reduce(together)
            unsound = together > 0
        self.unsound = unsound
        self._spoilt = unsound if self._spoilt is None else self._spoilt | unsound
        return super().scale(outputs / self.batches if self.batches > 1 else outputs)

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> float | None:
        """One step, or none."""
        spoilt = self._spoilt
        if self.is_enabled() or spoilt is None:
            return super().step(optimizer, *args, **kwargs)
        if spoilt.is_cuda and getattr(optimizer, "_step_supports_amp_scaling", False):
            # Fused optimizers decide on the device.
            optimizer.found_inf = spoilt.float().reshape(())  # type: ignore[attr-defined]
            try:
                return super().step(optimizer, *args, **kwargs)
            finally:
                del optimizer.found_inf  # type: ignore[attr-defined]
        return None if bool(spoilt) else super().step(optimizer, *args, **kwargs)


UNSOUND = (FloatingPointError, torch.linalg.LinAlgError)
"""Errors of steps that come upon numbers that are not finite before they have a loss."""


class _Seen(NamedTuple):
    step: int
    unsound: Tensor
    ready: Any


class UnsoundSteps:
    """Counts what `WatchingScaler` leaves out. After three in a row the last good state is restored at half the rate.

    Args:
        trainer: after its setup.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._waiting: deque[_Seen] = deque()
        self._in_a_row: list[int] = []
        self.skipped: list[int] = []
        """Steps that were left out."""
        self.went_back = 0
        """How often the last good state was restored."""
        self._good: tuple[int, dict[str, Any]] | None = None

    def look(self, step: int) -> None:
        """Takes in the step before this one, and acts on what is known by now.

        Raises:
            UserError: naming the frames, if going back has not helped.
        """
        scaler = self._trainer.grad_scaler
        if isinstance(scaler, WatchingScaler) and scaler.unsound is not None:
            self._waiting.append(_Seen(step - 1, *_on_its_way(scaler.unsound)))
            scaler.unsound = None
        while self._waiting and (self._waiting[0].ready is None or self._waiting[0].ready.query()):
            seen = self._waiting.popleft()
            self._take_in(seen.step, bool(seen.unsound))
        if len(self._in_a_row) >= _IN_A_ROW:
            self._go_back(step)
        elif not self._in_a_row and (self._good is None or step - self._good[0] >= _REMEMBER_EVERY):
            self._remember(step)

    def _take_in(self, step: int, unsound: bool) -> None:
        if not unsound:
            self._in_a_row.clear()
            return
        self._mend_buffers()
        self._in_a_row.append(step)
        self.skipped.append(step)
        if len(self.skipped) == 1:
            CONSOLE.print(f"Step {step}: the loss is not a finite number. Such steps are left out and counted.")

    def _mend_buffers(self) -> None:
        """Takes running means and the like from the last good state, where the step has spoilt them."""
        good = {} if self._good is None else self._good[1]["model"]
        model = self._trainer.pipeline.model
        for name, buffer in getattr(model, "module", model).named_buffers():
            if buffer.is_floating_point() and name in good and not bool(buffer.isfinite().all()):
                buffer.copy_(good[name])

    def report(self) -> None:
        """Says in the end what was left out."""
        if self.skipped:
            CONSOLE.print(
                f"Steps left out because their loss was not finite: {len(self.skipped)} {self._frames(self.skipped)}."
            )

    def _go_back(self, step: int) -> None:
        bad, self._in_a_row = self._in_a_row, []
        self._waiting.clear()
        if self._good is None or self.went_back:
            again = ", again after half the learning rate" if self.went_back else " from the very start"
            raise UserError(
                f"Step {bad[-1]}: the loss was not a finite number {len(bad)} times in a row{again} "
                f"{self._frames(bad)}. Look at these frames, their pictures, masks and poses, or leave them out."
            )
        self.went_back += 1
        since, state = self._good
        trainer = self._trainer
        model = trainer.pipeline.model
        getattr(model, "module", model).load_state_dict(state["model"])
        for name, optimizer in trainer.optimizers.optimizers.items():
            optimizer.load_state_dict(copy.deepcopy(state["optimizers"][name]))
            scheduler: Any = trainer.optimizers.schedulers.get(name)
            for group in optimizer.param_groups:
                group["lr"] = (scheduler.get_last_lr()[0] if scheduler else group["lr"]) / 2
            if scheduler is not None:
                scheduler.base_lrs = [rate / 2 for rate in scheduler.base_lrs]
        CONSOLE.print(
            f"Step {step}: the loss was not finite {len(bad)} times in a row {self._frames(bad)}. "
            f"Weights are again those of step {since}, and the learning rate is half of what it was."
        )

    def _remember(self, step: int) -> None:
        trainer = self._trainer
        model = getattr(trainer.pipeline.model, "module", trainer.pipeline.model)
        weights = model.state_dict()
        if not all(bool(one.isfinite().all()) for one in weights.values() if _is_floating(one)):
            return
        rows = getattr(model, "row_file", None)
        if rows is not None:
            rows.hold(LAST_GOOD)
        optimizers = {name: one.state_dict() for name, one in trainer.optimizers.optimizers.items()}
        self._good = step, {"model": _copied(weights), "optimizers": _copied(optimizers)}

    def _frames(self, steps: list[int]) -> str:
        """The frames of steps, in brackets, as far as the data tell."""
        frames_of = getattr(self._trainer.pipeline.datamanager, "frames_of_step", None)
        if frames_of is None:
            return ""
        of_each = [set(frames_of(step)) for step in steps]
        common = set.intersection(*of_each) if of_each else set()
        names = sorted(common or set().union(*of_each))
        more = f" and {len(names) - _NAMED_FRAMES} more" if len(names) > _NAMED_FRAMES else ""
        return f"({', '.join(names[:_NAMED_FRAMES])}{more})" if names else ""


def _on_its_way(flag: Tensor) -> tuple[Tensor, Any]:
    """A copy for the host, and what tells when it has arrived; None where it has."""
    if not flag.is_cuda:
        return flag, None
    copied = torch.empty((), dtype=torch.bool).pin_memory()
    copied.copy_(flag.reshape(()), non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return copied, ready


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _copied(value: Any) -> Any:
    """The same, in the host's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else copy.copy(value)
