"""What a checkpoint keeps of the data that its model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.base_model import Model, ModelConfig

from nerfstudio_avatars.errors import DataError

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


def kept_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the model told about its data when the checkpoint was written; empty where it told nothing."""
    kept = model_weights(checkpoint).get("_extra_state")
    return kept if isinstance(kept, dict) else {}


def model_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The model's part of a checkpoint, under the names that the model gives its weights."""
    pipeline = checkpoint["pipeline"]
    # Of several processes, nerfstudio keeps the model's wrapper too.
    prefix = f"{MODEL}module." if all(key.startswith(f"{MODEL}module.") for key in pipeline) else MODEL
    return {key.removeprefix(prefix): value for key, value in pipeline.items() if key.startswith(prefix)}


def scene_of(config: ModelConfig, checkpoint: dict[str, Any], data: Path | None, path: Path) -> KeptScene:
    """What a checkpoint keeps of the data, for a model.

    Args:
        config: of the model.
        checkpoint: of its training.
        data: the folder that the run was trained on; it need not exist.
        path: of the checkpoint, for the message.

    Raises:
        UserError: if there is nothing, or it is damaged, or something that it names is not there.
    """
    kind: Any = config._target
    try:
        return kind.kept_scene(kept_state(checkpoint), data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        expected = f"what a {kind.__name__} keeps of its data"
        raise DataError(path, found, expected, "take another checkpoint of the run, or train it again") from error


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


@runtime_checkable
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
