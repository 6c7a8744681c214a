"""Training steps as CUDA graphs: a step is recorded once and replayed, which saves work on the host.

Tested with a stand-in that records and replays on the CPU; not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import Trainer

    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel

Learned: TypeAlias = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Losses and metrics of a step."""


def recordable(model: InstantAvatarModel, budget: Budget | None, trainer: Trainer) -> Budget:
    """Returns the budget if training steps can be recorded.

    Raises:
        ValueError: they cannot be recorded.
    """
    asked = "--pipeline.model.cuda-graph True"
    if model.device.type != "cuda":
        raise ValueError(f"{asked} needs a CUDA GPU, but this training runs on {model.device}. Leave it out.")
    if budget is None:
        raise ValueError(
            f"{asked} needs steps that do not wait for the GPU, but the paper's searches do. Leave out one of them."
        )
    if trainer.world_size > 1 or trainer.mixed_precision or set(trainer.gradient_accumulation_steps.values()) - {1}:
        raise ValueError(
            f"{asked} works on one GPU, without gradient accumulation and with --mixed-precision False (networks are "
            f"in bfloat16 all the same). Found {trainer.world_size} GPUs, accumulation over "
            f"{dict(trainer.gradient_accumulation_steps)} steps, mixed precision {trainer.mixed_precision}."
        )
    return budget


class RecordedSteps:
    """Training steps of an avatar; each kind of step is recorded when it is first needed.

    Args:
        model: a model that reads nothing from the GPU during a step once the budget is set; whatever the host decides
            is part of the kind of the step.
        budget: the budget of the model. When its sizes change, steps are recorded again.
    """

    def __init__(self, model: InstantAvatarModel, budget: Budget) -> None:
        self._model, self._budget = model, budget
        self._parameters = tuple(one for group in model.get_param_groups().values() for one in group)
        self._recorded: dict[tuple, Callable[..., Learned]] = {}
        self._sizes = budget.sizes

    def __call__(self, rays: RayBundle, batch: dict[str, Tensor]) -> Learned:
        """Losses and metrics of a step; the next step overwrites them.

        Args:
            rays: the same number for each frame, grouped by frame.
            batch: `image` as straight RGBA, and `frame`.
        """
        inputs = rays.origins, rays.directions, batch["image"], batch["frame"]
        if not self._budget.is_set:
            return self._learn(*inputs)
        if self._budget.sizes is not self._sizes:
            self._recorded.clear()
            self._sizes = self._budget.sizes
        kind = self._model.step_kind()
        if kind not in self._recorded:
            self._recorded[kind] = self._record(inputs)
        return self._recorded[kind](*inputs, *self._parameters)

    def _learn(
        self,
        origins: Float[Tensor, "rays 3"],
        directions: Float[Tensor, "rays 3"],
        image: Float[Tensor, "rays 4"],
        frames: Int[Tensor, " frames"],
    ) -> Learned:
        model, budget = self._model, self._budget
        budget.fits = None
        each = len(origins) // len(frames)
        slices = [slice(first, first + each) for first in range(0, len(origins), each)]
        transforms = model.poses.transforms(model.training_poses(frames))
        poses = list(zip(slices, model.avatar.pose_all(transforms, budget), strict=True))
        outputs = model.render_rays(origins, directions, poses, budget)
        batch = {"image": image, "frame": frames}
        metrics = model.get_metrics_dict(outputs, batch)
        return model.get_loss_dict(outputs, batch, metrics), metrics

    def _record(self, inputs: tuple[Tensor, ...]) -> Callable[..., Learned]:
        # Recording begins with a few real steps, which change values here.
        state = list(self._model.frame_errors.buffers())
        before = [one.clone() for one in state]
        own = tuple(one.clone() for one in inputs)
        # The parameters are arguments only because gradients are given to arguments.
        recorded: Any = torch.cuda.make_graphed_callables(
            lambda *given: self._learn(*given[: len(own)]),
            own + self._parameters,
            allow_unused_input=True,
            capture_error_mode="thread_local",
        )
        for one, old in zip(state, before, strict=True):
            one.copy_(old)
        return recorded
