"""Pipelines of nerfstudio, for training steps that can be recorded and for a model that is trained on whole frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


@dataclass
class AvatarPipelineConfig(VanillaPipelineConfig):
    """Rays of few frames, and the model that takes them."""

    _target: type = field(default_factory=lambda: AvatarPipeline)


class AvatarPipeline(VanillaPipeline):
    """Replays steps where the model records them."""

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Outputs (none where steps are recorded), losses and metrics of a training step."""
        recorded = self.model.recorded_steps
        if recorded is None:
            return super().get_train_loss_dict(step)
        losses, metrics = recorded(*self.datamanager.next_train(step))
        return {}, losses, metrics


@dataclass
class FramesPipelineConfig(VanillaPipelineConfig):
    """A data manager that gives frames, and a model that takes them."""

    _target: type = field(default_factory=lambda: FramesPipeline)
    seed: int = 0
    """Seed of the random numbers in a training step; the step number decides them too, so resuming changes nothing."""


class FramesPipeline(VanillaPipeline):
    """Hands each batch to the model as a whole; works on several processes also without GPUs."""

    config: FramesPipelineConfig
    _model: Model

    def __init__(
        self,
        config: FramesPipelineConfig,
        device: str,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Any = None,
    ) -> None:
        super().__init__(config, device, test_mode, 1, local_rank, grad_scaler)
        if world_size > 1:
            # The base class was told of one process: it knows only GPUs.
            self.datamanager.world_size = world_size
            self.world_size = world_size
            devices = [local_rank] if torch.device(device).type == "cuda" else None
            parallel = DistributedDataParallel(self._model, device_ids=devices, find_unused_parameters=True)
            self._model = cast(Model, parallel)
            distributed.barrier()

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Tells the model each step before it is done."""

        def begin(step: int) -> None:
            if self.model.begin_step(step) and attributes.optimizers is not None:
                for optimizer in attributes.optimizers.optimizers.values():
                    optimizer.state.clear()

        before = TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], begin)
        return [before, *super().get_training_callbacks(attributes)]

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """One batch of this process."""
        return self._losses(step, *self.datamanager.next_train(step))

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The losses of a training batch without learning from it: held-out frames come in other numbers."""
        with torch.no_grad(), torch.random.fork_rng():
            return self.get_train_loss_dict(step)

    def get_average_image_metrics(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Means over held-out frames, without those that are not numbers (JSON has none): the spread of one frame, and
        what not all frames have."""
        means = super().get_average_image_metrics(*arguments, **options)
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}

    def _losses(self, step: int, cameras: Any, batch: dict) -> tuple[Any, dict, dict]:
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        torch.manual_seed((((self.config.seed << 12) + rank) * (1 << 32) + step) % (1 << 63))
        outputs = self._model(cameras, batch)
        metrics = self.model.get_metrics_dict(outputs, batch)
        return outputs, self.model.get_loss_dict(outputs, batch, metrics), metrics
