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
"""Prefix of the names of a model's weights in a checkpoint."""


@dataclass(frozen=True)
class KeptScene:
    """What it takes to build a model and look at it."""

    box: SceneBox
    """Bounds of the scene."""
    cameras: Cameras
    """The training cameras, or some of them."""
    metadata: dict[str, Any]
    """The metadata that the dataparser would give the model."""


def _kept_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The model's extra state, which describes its data; empty if the checkpoint has none."""
    kept = _model_weights(checkpoint).get("_extra_state")
    return kept if isinstance(kept, dict) else {}


def _model_weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The model's part of a checkpoint, under the names that the model gives its weights."""
    pipeline = checkpoint["pipeline"]
    # With several processes, nerfstudio saves the wrapper of the model too.
    prefix = f"{MODEL}module." if all(key.startswith(f"{MODEL}module.") for key in pipeline) else MODEL
    return {key.removeprefix(prefix): value for key, value in pipeline.items() if key.startswith(prefix)}


def scene_of(config: ModelConfig, checkpoint: dict[str, Any], data: Path | None, path: Path) -> KeptScene:
    """The scene that a checkpoint keeps for a model.

    Args:
        config: the configuration of the model.
        checkpoint: the content of the checkpoint.
        data: the folder that the run was trained on; it need not exist.
        path: the path of the checkpoint, for the message.

    Raises:
        UserError: if there is no scene in it, or it is damaged, or names something that does not exist.
    """
    kind: type[KeepsScene] = config._target
    try:
        return kind.kept_scene(_kept_state(checkpoint), data)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        expected = f"what a {kind.__name__} keeps of its data"
        raise DataError(path, found, expected, "take another checkpoint of the run, or train it again") from error


def built_model(config: ModelConfig, scene: KeptScene, device: torch.device | str) -> Model:
    """Builds a model for the scene of a checkpoint, without the weights."""
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
    """A model class whose checkpoints can be rendered without the data."""

    @classmethod
    def kept_scene(cls, state: dict[str, Any], data: Path | None) -> KeptScene:
        """Rebuilds the scene from the model's extra state in a checkpoint.

        Args:
            state: the result of `get_extra_state`.
            data: the folder that the run was trained on; it need not exist.

        Raises:
            UserError: if it names something that does not exist, such as an SMPL body.
        """
