"""What a checkpoint keeps of the data that its model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.base_model import Model, ModelConfig

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.nerfstudio_glue.patches import allow_scheduler_scalars

MODEL = "_model."
"""What the names of a model's weights begin with in a checkpoint."""


@dataclass(frozen=True)
class KeptScene:
    """Enough to build the model, and to look at it."""

    box: SceneBox
    """Of the scene."""
    cameras: Cameras
    """Of the training, or some of them."""
    metadata: dict[str, Any]
    """What the dataparser would give the model."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, as plain data: nothing in it is executed. Its tensors are read from the file when they are used.

    Raises:
        DataError: if it is no whole checkpoint.
    """
    allow_scheduler_scalars()
    fix = "take an earlier checkpoint, or train the run again"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "a checkpoint of ns-train", fix) from error
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(path, found, "a checkpoint of ns-train", fix) from error
    if not isinstance(state, dict) or not isinstance(state.get("pipeline"), dict) or "step" not in state:
        raise DataError(path, "neither step nor pipeline in it", "a checkpoint of ns-train", fix)
    return state


def kept_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the model told about its data when the checkpoint was written; empty where it told nothing."""
    return model_weights(checkpoint).get("_extra_state") or {}


def model_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The model's part of a checkpoint, under the names that the model gives its weights."""
    pipeline = checkpoint["pipeline"]
    # Of several processes, nerfstudio keeps the model's wrapper too.
    prefix = f"{MODEL}module." if all(key.startswith(f"{MODEL}module.") for key in pipeline) else MODEL
    return {key.removeprefix(prefix): value for key, value in pipeline.items() if key.startswith(prefix)}


def built_model(config: ModelConfig, scene: KeptScene, device: torch.device | str) -> Model:
    """A model for what a checkpoint keeps, not yet with its weights."""
    model = config.setup(
        scene_box=scene.box,
        num_train_data=len(scene.cameras),
        metadata=scene.metadata,
        device=device,
        grad_scaler=None,
    )
    return model.to(device)


def load_weights(model: Model, checkpoint: dict[str, Any], path: Path) -> None:
    """Gives a model its weights.

    Raises:
        DataError: if the checkpoint is of a model built otherwise.
    """
    # In nerfstudio's order: schedules first, then what was learnt.
    model.update_to_step(checkpoint["step"])
    try:
        model.load_state_dict(model_weights(checkpoint))
    except RuntimeError as error:
        found = " ".join(str(error).split())[:400]
        fix = "take the config.yml that was written with it"
        raise DataError(path, found, "weights of the model that config.yml describes", fix) from error


class KeepsScene(Protocol):
    """A model class whose checkpoints render without the data."""

    @classmethod
    def kept_scene(cls, state: dict[str, Any], data: Path | None) -> KeptScene:
        """From the model's extra state in a checkpoint.

        Args:
            state: what `get_extra_state` gave.
            data: the folder that the run was trained on; it need not exist.

        Raises:
            UserError: if something that it names, such as an SMPL body, is not there.
        """
