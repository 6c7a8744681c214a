"""468 landmarks of a face, by MediaPipe's models, which ship with the package; `ai-edge-litert` runs them.

Kartynnik et al. 2019 (face mesh) on the box of Bazarevsky et al. 2019 (BlazeFace, short range).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from nerfstudio_avatars.metrics.head_pose import FACE_ASSETS

Picture = UInt8[Tensor, "height width 3"] | UInt8[np.ndarray, "height width 3"]

RUNTIME = "ai_edge_litert"

NUM_LANDMARKS = 468
EYES_OUTER = (33, 263)
"""Outer corners of the person's right (left in the picture) and left eye."""

_DETECTOR_SIDE = 128
_LANDMARK_SIDE = 192
_LEAST_SCORE = 0.5
_ENLARGED = 1.5
"""How much larger than the face's box the crop for the landmarks is."""


class LandmarkRuntimeMissing(ModuleNotFoundError):
    """The package that runs the models is not installed; the message says how to get it."""


@dataclass(frozen=True)
class _Square:
    """A turned square in a picture, pixels; the picture's left upper corner is (0, 0)."""

    centre: Float[np.ndarray, "2"]
    side: float
    angle: float = 0.0
    """Radians, clockwise in the picture."""

    def to_picture(self, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        """Places in the picture of points given in the square's own frame, 0 to 1."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.centre + self.side * (points - 0.5) @ np.array([[cos, sin], [-sin, cos]])


class FaceLandmarks:
    """Finds the most certain face of a picture and its landmarks.

    Raises:
        LandmarkRuntimeMissing: without `ai-edge-litert`.
    """

    def __init__(self) -> None:
        if not runtime_is_installed():
            raise LandmarkRuntimeMissing(
                "Face landmarks need the package ai-edge-litert, which is not installed: "
                "pip install 'nerfstudio-avatars[faces]'"
            )
        self._detector = _Network(FACE_ASSETS / "face_detection_short_range.tflite")
        self._landmarker = _Network(FACE_ASSETS / "face_landmark.tflite")
        self._anchors = _anchors()

    def detect(self, image: Picture) -> Float[Tensor, "468 3"] | None:
        """Landmarks of the face, or None where there is none.

        x to the right and y downwards in pixels from the picture's left upper corner (a pixel's centre is at one half);
        z away from the camera, in about the same scale, from an origin near the head's middle.
        """
        picture = torch.as_tensor(image).permute(2, 0, 1)[None].float()
        square = self._find(picture)
        if square is None:
            return None
        # The second look starts from the first one's landmarks, which place the square better than the box.
        for _ in range(2):
            landmarks = self._look(picture, square)
            if landmarks is None:
                return None
            square = _square_of(landmarks)
        return torch.from_numpy(landmarks)

    def detect_all(
        self, images: UInt8[Tensor, "frames height width 3"] | UInt8[np.ndarray, "frames height width 3"]
    ) -> Float[Tensor, "frames 468 3"]:
        """`detect` of each picture; not a number where there is no face."""
        found = [self.detect(image) for image in images]
        nothing = torch.full((NUM_LANDMARKS, 3), torch.nan)
        return torch.stack([nothing if landmarks is None else landmarks for landmarks in found])

    def _find(self, picture: Float[Tensor, "1 3 height width"]) -> _Square | None:
        height, width = picture.shape[-2:]
        whole = _Square(np.array([width / 2, height / 2]), float(max(height, width)))
        pixels = _cut(picture, whole, _DETECTOR_SIDE, border="zeros") / 127.5 - 1
        outputs = self._detector(pixels)
        boxes, logits = outputs["regressors"][0], outputs["classificators"][0, :, 0]
        scores = 1 / (1 + np.exp(-logits.clip(-80, 80)))
        likely = scores >= _LEAST_SCORE
        if not likely.any():
            return None
        values, scores = boxes[likely].reshape(-1, 8, 2) / _DETECTOR_SIDE, scores[likely]
        values[:, [0, *range(2, 8)]] += self._anchors[likely][:, None]
        # Boxes that overlap the best one are averaged with it, by their scores.
        best = int(scores.argmax())
        same = _overlap(values[best, :2], values[:, :2]) > 0.3  # noqa: PLR2004
        centre, size, *eyes = np.average(values[same], axis=0, weights=scores[same])
        right_eye, left_eye = eyes[:2]
        towards = whole.to_picture(np.stack([right_eye, left_eye]))
        side = _ENLARGED * whole.side * float(size.max())
        return _Square(whole.to_picture(centre[None])[0], side, _direction(towards[0], towards[1]))

    def _look(self, picture: Float[Tensor, "1 3 height width"], square: _Square) -> np.ndarray | None:
        outputs = self._landmarker(_cut(picture, square, _LANDMARK_SIDE, border="border") / 255)
        by_size = {value.size: value.ravel() for value in outputs.values()}
        # A logit: at least one half.
        if by_size[1][0] < 0:
            return None
        own = by_size[3 * NUM_LANDMARKS].reshape(NUM_LANDMARKS, 3) / _LANDMARK_SIDE
        points = np.concatenate([square.to_picture(own[:, :2]), square.side * own[:, 2:]], axis=1)
        return points.astype(np.float32)


def runtime_is_installed() -> bool:
    """Whether `FaceLandmarks` can be made."""
    return importlib.util.find_spec(RUNTIME) is not None


class _Network:
    """A tflite file: one picture in, named arrays out."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=path.read_bytes(), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {entry["name"]: entry["index"] for entry in self._interpreter.get_output_details()}

    def __call__(self, pixels: Float[np.ndarray, "1 side side 3"]) -> dict[str, np.ndarray]:
        self._interpreter.set_tensor(self._input, pixels)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index).copy() for name, index in self._outputs.items()}


def _cut(
    picture: Float[Tensor, "1 3 height width"], square: _Square, side: int, border: str
) -> Float[np.ndarray, "1 side side 3"]:
    """The square as a picture of `side` pixels; large ones are area-averaged first, so that nothing aliases."""
    height, width = picture.shape[-2:]
    reduction = int(square.side / side)
    if reduction > 1:
        picture = functional.interpolate(picture, (-(-height // reduction), -(-width // reduction)), mode="area")
    steps = (np.arange(side) + 0.5) / side
    places = square.to_picture(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
    grid = torch.from_numpy(2 * places / (width, height) - 1).float().reshape(1, side, side, 2)
    pixels = functional.grid_sample(picture, grid, mode="bilinear", padding_mode=border, align_corners=False)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def _square_of(landmarks: Float[np.ndarray, "468 3"]) -> _Square:
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    right_eye, left_eye = landmarks[list(EYES_OUTER), :2]
    return _Square((low + high) / 2.0, _ENLARGED * float((high - low).max()), _direction(right_eye, left_eye))


def _direction(start: np.ndarray, end: np.ndarray) -> float:
    return math.atan2(end[1] - start[1], end[0] - start[0])


def _anchors() -> Float[np.ndarray, "896 2"]:
    """Centres of the detector's boxes, 0 to 1: two in each cell of 8 pixels, six in each of 16."""
    layers = []
    for cells, each in ((16, 2), (8, 6)):
        steps = (np.arange(cells) + 0.5) / cells
        centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        layers.append(centres.repeat(each, axis=0))
    return np.concatenate(layers)


def _overlap(box: Float[np.ndarray, "2 2"], boxes: Float[np.ndarray, "boxes 2 2"]) -> Float[np.ndarray, " boxes"]:
    """Intersection over union of boxes given by (centre, size)."""
    low = np.maximum(box[0] - box[1] / 2, boxes[:, 0] - boxes[:, 1] / 2)
    high = np.minimum(box[0] + box[1] / 2, boxes[:, 0] + boxes[:, 1] / 2)
    shared = (high - low).clip(min=0).prod(axis=1)
    return shared / (box[1].prod() + boxes[:, 1].prod(axis=1) - shared)
