"""The parts of the training data that a checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.base_model import Model, ModelConfig

from nerfstudio_avatars.errors import DataError

MODEL = "_model."
"""Prefix of the names of a model's weights in a checkpoint."""


@dataclass(frozen=True)
class KeptScene:
    """The data needed to build the model and to render it."""

    box: SceneBox
    """The box of the scene."""
    cameras: Cameras
    """All or some of the training cameras."""
    metadata: dict[str, Any]
    """The metadata that the dataparser would give the model."""


def kept_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The extra state of the model in a checkpoint; empty if there is none."""
    kept = model_weights(checkpoint).get("_extra_state")
    return kept if isinstance(kept, dict) else {}


def model_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The weights of the model in a checkpoint, under the model's own names."""
    pipeline = checkpoint["pipeline"]
    # Of several processes, nerfstudio keeps the model's wrapper too.
    prefix = f"{MODEL}module." if all(key.startswith(f"{MODEL}module.") for key in pipeline) else MODEL
    return {key.removeprefix(prefix): value for key, value in pipeline.items() if key.startswith(prefix)}


def scene_of(config: ModelConfig, checkpoint: dict[str, Any], data: Path | None, path: Path) -> KeptScene:
    """The scene that a checkpoint keeps for a model.

    Args:
        config: the configuration of the model.
        checkpoint: the contents of the checkpoint.
        data: the folder of the training data, which need not exist.
        path: the path of the checkpoint, for messages.

    Raises:
        UserError: if there is no scene, it is damaged, or something it names is missing.
    """
    kind: Any = config._target
    try:
        return kind.kept_scene(kept_state(checkpoint), data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        expected = f"what a {kind.__name__} keeps of its data"
        raise DataError(path, found, expected, "take another checkpoint of the run, or train it again") from error


def built_model(config: ModelConfig, scene: KeptScene, device: torch.device | str) -> Model:
    """Builds a model for a kept scene, without loading its weights."""
    model = config.setup(
        scene_box=scene.box,
        num_train_data=len(scene.cameras),
        metadata=scene.metadata,
        device=device,
        grad_scaler=None,
    )
    return model.to(device)


class KeepsScene(Protocol):
    """A model class whose checkpoints render without the data."""

    @classmethod
    def kept_scene(cls, state: dict[str, Any], data: Path | None) -> KeptScene:
        """Builds the scene from the extra state of the model in a checkpoint.

        Args:
            state: the result of `get_extra_state`.
            data: the folder of the training data, which need not exist.

        Raises:
            UserError: if something it names, such as an SMPL body, is missing.
        """
