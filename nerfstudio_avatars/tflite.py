"""Networks in tflite files, which `ai-edge-litert` runs on the CPU, and the square crops that they take."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

RUNTIME = "ai_edge_litert"


class RuntimeMissing(ModuleNotFoundError):
    """Raised if the package that runs the models is not installed; the message says how to install it."""


def runtime_is_installed() -> bool:
    """Whether a `Network` can be created."""
    return importlib.util.find_spec(RUNTIME) is not None


class Network:
    """A tflite file: one picture in, named arrays out.

    Args:
        path: the path of the file.
        purpose: what it is used for, which begins the message if it cannot run.

    Raises:
        RuntimeMissing: without `ai-edge-litert`.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        if not runtime_is_installed():
            raise RuntimeMissing(
                f"{purpose} need the package ai-edge-litert, which is not installed: "
                "pip install 'nerfstudio-avatars[faces]'"
            )
        from ai_edge_litert.interpreter import Interpreter

        with _without_a_greeting():
            self._interpreter: Any = Interpreter(model_content=path.read_bytes(), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {entry["name"]: entry["index"] for entry in self._interpreter.get_output_details()}

    def __call__(self, pixels: Float[np.ndarray, "1 side side 3"]) -> dict[str, np.ndarray]:
        """The outputs of the network, each with a first axis of one picture."""
        self._interpreter.set_tensor(self._input, pixels)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index).copy() for name, index in self._outputs.items()}


@contextmanager
def _without_a_greeting() -> Iterator[None]:
    """Leaves out "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", which C++ writes and no option prevents."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # There is no standard error that could be written to.
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@dataclass(frozen=True)
class Square:
    """A rotated square in a picture, in pixels; the upper left corner of the picture is (0, 0)."""

    centre: Float[np.ndarray, "2"]
    side: float
    angle: float = 0.0
    """Angle in radians, clockwise in the picture."""

    def to_picture(self, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """Maps points from the frame of the square (0 to 1) to the picture."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.centre + self.side * (points - 0.5) @ np.array([[cos, sin], [-sin, cos]])

    def cut(
        self, picture: Float[Tensor, "1 3 height width"], side: int, border: str
    ) -> Float[np.ndarray, "1 side side 3"]:
        """The square as a picture of `side` pixels; large squares are averaged over areas first, to avoid aliasing.

        Args:
            border: the values outside the picture: `zeros`, or `border` for the nearest ones inside.
        """
        height, width = picture.shape[-2:]
        reduction = int(self.side / side)
        if reduction > 1:
            picture = functional.interpolate(picture, (-(-height // reduction), -(-width // reduction)), mode="area")
        steps = (np.arange(side) + 0.5) / side
        places = self.to_picture(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
        grid = torch.from_numpy(2 * places / (width, height) - 1).float().reshape(1, side, side, 2)
        pixels = functional.grid_sample(picture, grid, mode="bilinear", padding_mode=border, align_corners=False)
        return pixels.permute(0, 2, 3, 1).contiguous().numpy()
