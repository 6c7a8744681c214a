"""Shows PSNR beside the speed while training, and what to type next when it has finished."""

from __future__ import annotations

import shlex
from typing import Any, Literal

from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils import writer
from nerfstudio.utils.misc import step_check
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

_TRAIN_PSNR = "Train PSNR"
"""The column of the terminal's table, and the name among the logged figures."""


class ToldTraining(Trainer):
    """nerfstudio's trainer with other messages."""

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        """Sets the training up, with a column for PSNR in the terminal's table."""
        super().setup(test_mode)
        for table in writer.EVENT_WRITERS:
            if isinstance(table, writer.LocalWriter):
                table.stats_to_track.append(_TRAIN_PSNR)

    def train_iteration(self, step: int) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
        """Takes one step. Loss, terms of the loss and metrics are only logged, so they have no gradients."""
        loss, losses, metrics = super().train_iteration(step)
        if "psnr" in metrics and step_check(step, self.config.logging.steps_per_log, run_at_zero=True):
            writer.put_scalar(_TRAIN_PSNR, float(metrics["psnr"]), step)
        return loss.detach(), _without_gradients(losses), _without_gradients(metrics)

    def _after_train(self) -> None:
        """Writes the last checkpoint, says what to type next, and keeps the viewer running if there is one."""
        self.training_state = "completed"
        self.save_checkpoint(self.step)
        writer.write_out_storage()
        if self.local_rank == 0:
            # Commands are not broken into lines, so that they can be copied.
            CONSOLE.print(self._what_next(), markup=False, highlight=False, soft_wrap=True)
        for callback in self.callbacks:
            callback.run_callback_at_location(step=self.step, location=TrainingCallbackLocation.AFTER_TRAIN)
        if not self.config.viewer.quit_on_train_completion:
            self._train_complete_viewer()

    def _what_next(self) -> str:
        """Prints where the checkpoints are, and the commands that show the run."""
        config = shlex.quote(str(self.config.get_base_dir() / "config.yml"))
        model = getattr(getattr(self.pipeline, "module", self.pipeline), "model", None)
        lines = [f"Training finished. Checkpoints: {self.checkpoint_dir}", "To look at the result:"]
        lines += [f"  ns-viewer --load-config {config}"]
        lines += [f"  {command.format(config=config)}" for command in getattr(model, "next_commands", ())]
        return "\n".join(lines)


def _without_gradients(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in figures.items()}
