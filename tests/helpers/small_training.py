"""The GPU's method, made small."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackAttributes

from nerfstudio_avatars.methods import instant_avatar
from nerfstudio_avatars.nerfstudio_glue.trainer import fit_schedules

TRAINER = SimpleNamespace(world_size=1, mixed_precision=False, gradient_accumulation_steps={})
"""What is asked of nerfstudio's trainer."""


def callback_attributes(trainer: Any = None) -> TrainingCallbackAttributes:
    """What nerfstudio's trainer hands to those who ask for callbacks."""
    nothing: Any = None
    return TrainingCallbackAttributes(optimizers=nothing, grad_scaler=nothing, pipeline=nothing, trainer=trainer)


def take_many_points_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For Triton's interpreter, which takes as long for one point as for many."""
    from nerfstudio_avatars.instant_avatar.articulation import _triton_unpose
    from nerfstudio_avatars.instant_avatar.field import _triton_hash_grid as _triton
    from nerfstudio_avatars.instant_avatar.field import _triton_infer

    for kernels in (_triton, _triton_infer, _triton_unpose):
        monkeypatch.setattr(kernels, "_BLOCK", 4096)


class SmallTraining:
    """Trains step by step."""

    def __init__(self, data, frames: int, device: str, **options) -> None:
        config = copy.deepcopy(instant_avatar.config)
        config.max_num_iterations = 40
        manager, model = config.pipeline.datamanager, config.pipeline.model
        manager.data, manager.frames_per_batch, manager.rays_per_frame = data, frames, 64
        model.avatar.cell_size, model.avatar.field.levels, model.avatar.field.log2_table_size = 0.06, 3, 8
        model.occupancy_warmup = 16
        for name, value in options.items():
            setattr(model, name, value)
        fit_schedules(config)
        torch.manual_seed(0)
        self.pipeline = config.pipeline.setup(device=device, test_mode="test")
        self.pipeline.train()
        self.model = self.pipeline.model
        self.callback = self.pipeline.get_training_callbacks(callback_attributes(TRAINER))[0]
        groups = self.model.get_param_groups()
        self.adam = [config.optimizers[name]["optimizer"].setup(group) for name, group in groups.items()]
        self.pipeline.datamanager.next_train(0)  # Decodes the pictures.

    def step(self, step: int) -> None:
        """One step; its losses are kept."""
        self.callback.run_callback(step)
        _, self.losses, self.metrics = self.pipeline.get_train_loss_dict(step)
        for adam in self.adam:
            adam.zero_grad()
        sum(self.losses.values()).backward()
        for adam in self.adam:
            adam.step()
