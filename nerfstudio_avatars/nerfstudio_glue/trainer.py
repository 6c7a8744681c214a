"""nerfstudio's trainer, which also runs without a GPU, and writes checkpoints whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_avatars.nerfstudio_glue.run_folder import anchored, config_being_opened, last_checkpoint, step_of


@dataclass
class AvatarTrainerConfig(TrainerConfig):
    """Options for training an avatar."""

    _target: type = field(default_factory=lambda: AvatarTrainer)
    # Not annotated, so no option: set when a finished run is opened.
    opened_in = cast("Path | None", None)

    def get_base_dir(self) -> Path:
        """The run's folder: where it was opened, or where its training writes it."""
        return self.opened_in or super().get_base_dir()

    def get_checkpoint_dir(self) -> Path:
        """Where the checkpoints are: a finished run is found by its config.yml, whatever its folder is called now."""
        config = config_being_opened()
        if config is not None:
            self.open(config)
        return super().get_checkpoint_dir()

    def open(self, config: Path) -> None:
        """Makes a finished run independent of the folder it was trained in, and of the names it had.

        Args:
            config: the config.yml that this configuration was read from.

        Raises:
            UserError: if there is no checkpoint.
        """
        checkpoint = last_checkpoint(config, self.relative_model_dir, super().get_checkpoint_dir())
        manager = self.pipeline.datamanager
        data = manager.data or manager.dataparser.data
        if data is not None:
            data = anchored(Path(data), config, self.method_name, self.output_dir)
            self.data = manager.data = manager.dataparser.data = data
        self.opened_in = config.absolute().parent
        # An absolute folder stands for itself, whatever run's folder nerfstudio puts before it.
        self.relative_model_dir: Path = checkpoint.parent
        self.load_step = step_of(checkpoint)
        self.pipeline.checkpoint = checkpoint


class AvatarTrainer(Trainer):
    """Trains on the CPU if there is no GPU, and keeps all schedules as long as the training."""

    config: AvatarTrainerConfig

    def __init__(self, config: AvatarTrainerConfig, local_rank: int = 0, world_size: int = 1) -> None:
        if config.machine.device_type == "cuda" and not torch.cuda.is_available():
            CONSOLE.print(
                "No CUDA device found: training on the CPU; instant-avatar-cpu and unsup-volanim-tiny are sized for it."
            )
            config.machine.device_type = "cpu"
        fit_schedules(config)
        super().__init__(config, local_rank, world_size)

    def train(self) -> None:
        """Trains up to `max_num_iterations` steps in total: a resumed run takes the rest, on the same schedules."""
        total = self.config.max_num_iterations
        if self._start_step >= total:
            CONSOLE.print(
                f"Nothing to train: the checkpoint has done {self._start_step} steps already. "
                "Ask for more with --max-num-iterations, which counts from the very start."
            )
            return
        self.config.max_num_iterations = total - self._start_step
        try:
            super().train()
        finally:
            self.config.max_num_iterations = total

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Writes a checkpoint to a temporary file, moves it into place, and only then deletes older ones."""
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        path = self.checkpoint_dir / f"step-{step:09d}.ckpt"
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        pipeline = getattr(self.pipeline, "module", self.pipeline)
        assert pipeline is not None
        state = {
            "step": step,
            "pipeline": pipeline.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.optimizers.items()},
            "schedulers": {name: one.state_dict() for name, one in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        if self.config.save_only_latest_checkpoint:
            for other in self.checkpoint_dir.glob("*.ckpt"):
                if other != path:
                    other.unlink()


def fit_schedules(config: AvatarTrainerConfig) -> None:
    """Makes every schedule as long as the training, and restarts rates at the phases of the model."""
    model = config.pipeline.model
    if hasattr(model, "max_steps"):
        model.max_steps = config.max_num_iterations
    for optimizer in config.optimizers.values():
        scheduler = optimizer["scheduler"]
        if hasattr(scheduler, "max_steps"):
            scheduler.max_steps = config.max_num_iterations
        if hasattr(scheduler, "boundaries") and hasattr(model, "schedule"):
            scheduler.boundaries = model.schedule.boundaries
