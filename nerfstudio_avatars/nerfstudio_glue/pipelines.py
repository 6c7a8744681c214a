"""Pipelines for training steps that can be recorded, and for a model that is trained on whole frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from nerfstudio.data.datamanagers.base_datamanager import DataManager
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model
from nerfstudio.pipelines.base_pipeline import Pipeline, VanillaPipeline, VanillaPipelineConfig
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from nerfstudio_avatars.nerfstudio_glue.checkpoints import load_weights, read_checkpoint
from nerfstudio_avatars.nerfstudio_glue.kept_data_manager import KeptDataManager
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene, built_model, scene_of
from nerfstudio_avatars.nerfstudio_glue.optimizers import forget_means


@dataclass
class OpenedPipelineConfig(VanillaPipelineConfig):
    """Options of a pipeline that works without its data."""

    # Not annotated, so that it is not an option. It is set when a finished run is opened.
    checkpoint = cast("Path | None", None)


class OpenedPipeline(VanillaPipeline):
    """A pipeline that can open a finished run without its data, because its checkpoint keeps enough for rendering.

    In nerfstudio's mode `inference`, no data are needed; in the other modes they are read if they exist.
    """

    def __init__(
        self,
        config: OpenedPipelineConfig,
        device: str | torch.device,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Any = None,
    ) -> None:
        if config.checkpoint is None:
            super().__init__(config, device, test_mode, world_size, local_rank, grad_scaler)
            return
        Pipeline.__init__(self)
        self.config, self.test_mode, self.world_size = config, test_mode, 1
        data = config.datamanager.data
        state = read_checkpoint(config.checkpoint, mapped=True).state
        scene = scene_of(config.model, state, data, config.checkpoint)
        if test_mode != "inference" and data is not None and data.exists():
            self.datamanager: DataManager = config.datamanager.setup(device=device, test_mode=test_mode)
            self.datamanager.to(device)
            trained_on = self.datamanager.train_dataset
            # The data themselves come before what was kept of them.
            metadata = scene.metadata | trained_on.metadata
            scene = KeptScene(trained_on.scene_box, trained_on.cameras, metadata)
        else:
            self.datamanager = KeptDataManager(config.datamanager, scene, device)
        self._model = built_model(config.model, scene, device)

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Loads all weights of a checkpoint into the model. nerfstudio would skip those with unknown names.

        Args:
            loaded_state: the entry `pipeline` of the checkpoint.
            step: the last step done.

        Raises:
            UserError: if names or sizes do not fit the model.
        """
        self.model.update_to_step(step)
        target = f"a {type(self.model).__name__}"
        load_weights(self.model, loaded_state, f"the checkpoint of step {step}", target, self.config.checkpoint)


@dataclass
class AvatarPipelineConfig(OpenedPipelineConfig):
    """Options of a pipeline that trains a model on rays of a few frames."""

    _target: type = field(default_factory=lambda: AvatarPipeline)


class AvatarPipeline(OpenedPipeline):
    """Replays training steps if the model records them."""

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Outputs (none if steps are recorded), losses and metrics of a training step."""
        recorded = self.model.recorded_steps
        if recorded is None:
            return super().get_train_loss_dict(step)
        losses, metrics = recorded(*self.datamanager.next_train(step))
        return {}, losses, metrics


@dataclass
class FramesPipelineConfig(OpenedPipelineConfig):
    """Options of a pipeline that trains a model on whole frames."""

    _target: type = field(default_factory=lambda: FramesPipeline)
    seed: int = 0
    """Seed of the random numbers in a training step; the step number decides them too, so resuming changes nothing."""


class FramesPipeline(OpenedPipeline):
    """Passes each batch to the model as a whole; also works on several processes without GPUs."""

    config: FramesPipelineConfig
    _model: Model

    def __init__(
        self,
        config: FramesPipelineConfig,
        device: str | torch.device,
        *,
        world_size: int = 1,
        local_rank: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(config, device, local_rank=local_rank, **options)
        if world_size > 1:
            # The base class is given a single process, because it only supports GPUs.
            self.datamanager.world_size = world_size
            self.world_size = world_size
            devices = [local_rank] if torch.device(device).type == "cuda" else None
            _leave_out_tables(self._model)
            parallel = DistributedDataParallel(self._model, device_ids=devices, find_unused_parameters=True)
            self._model = cast(Model, parallel)
            distributed.barrier()

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Tells the model the number of each step in advance and afterwards."""

        def begin(step: int) -> None:
            if self.model.begin_step(step) and attributes.optimizers is not None:
                for optimizer in attributes.optimizers.optimizers.values():
                    forget_means(optimizer)

        before = TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], begin)
        after = TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], self.model.end_step)
        return [before, after, *super().get_training_callbacks(attributes)]

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Outputs, losses and metrics for one batch of this process."""
        return self._losses(step, *self.datamanager.next_train(step))

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Losses of a training batch without an update, because held-out frames do not come in batches."""
        with torch.no_grad(), torch.random.fork_rng():
            return self.get_train_loss_dict(step)

    def get_average_image_metrics(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Means over held-out frames. Those that are NaN, which JSON lacks, are left out: deviations over a single
        frame, and figures that some frames do not have."""
        means = super().get_average_image_metrics(*arguments, **options)
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}

    def _losses(self, step: int, cameras: Any, batch: dict) -> tuple[Any, dict, dict]:
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        torch.manual_seed((((self.config.seed << 12) + rank) * (1 << 32) + step) % (1 << 63))
        outputs = self._model(cameras, batch)
        metrics = self.model.get_metrics_dict(outputs, batch)
        return outputs, self.model.get_loss_dict(outputs, batch, metrics), metrics


def _leave_out_tables(model: Model) -> None:
    """Takes tables from the first process once, rather than at each step: they tell each other themselves what changes.

    Args:
        model: before it is wrapped. Its `tables` are modules with a row for each identity or frame.
    """
    tables = {id(buffer) for table in getattr(model, "tables", []) for buffer in table.buffers()}
    names = [name for name, buffer in model.named_buffers() if id(buffer) in tables]
    for name in names:
        distributed.broadcast(model.get_buffer(name), 0)
    model._ddp_params_and_buffers_to_ignore = names  # type: ignore[assignment]
