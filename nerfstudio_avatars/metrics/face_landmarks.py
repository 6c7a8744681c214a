"""Finds 468 landmarks of a face with MediaPipe's models, which ship with the package and run in `ai-edge-litert`.

Kartynnik et al. 2019 (face mesh) on the box of Bazarevsky et al. 2019 (BlazeFace, short range).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfstudio_avatars.metrics.head_pose import FACE_ASSETS
from nerfstudio_avatars.tflite import Network, Square

RgbImage = UInt8[Tensor, "height width 3"] | UInt8[np.ndarray, "height width 3"]

_PURPOSE = "Face landmarks"
_NUM_LANDMARKS = 468
EYES_OUTER = (33, 263)
"""Outer corners of the person's right (left in the picture) and left eye."""

_DETECTOR_SIDE = 128
_LANDMARK_SIDE = 192
_LEAST_SCORE = 0.5
_ENLARGED = 1.5
"""Size of the crop for the landmarks relative to the box of the face."""


class FaceLandmarks:
    """Finds the most certain face in a picture, and its landmarks.

    Raises:
        RuntimeMissing: without `ai-edge-litert`.
    """

    def __init__(self) -> None:
        self._detector = Network(FACE_ASSETS / "face_detection_short_range.tflite", _PURPOSE)
        self._landmarker = Network(FACE_ASSETS / "face_landmark.tflite", _PURPOSE)
        self._anchors = _anchors()

    def detect(self, image: RgbImage) -> Float[Tensor, "468 3"] | None:
        """Landmarks of the face, or None if there is none.

        x points right and y down, in pixels from the upper left corner (the centre of a pixel is at one half). z points
        away from the camera, at about the same scale, from an origin near the middle of the head.
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
        """`detect` for each picture; NaN where there is no face."""
        found = [self.detect(image) for image in images]
        nothing = torch.full((_NUM_LANDMARKS, 3), torch.nan)
        return torch.stack([nothing if landmarks is None else landmarks for landmarks in found])

    def _find(self, picture: Float[Tensor, "1 3 height width"]) -> Square | None:
        height, width = picture.shape[-2:]
        whole = Square(np.array([width / 2, height / 2]), float(max(height, width)))
        pixels = whole.cut(picture, _DETECTOR_SIDE, border="zeros") / 127.5 - 1
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
        same = _overlap(values[best, :2], values[:, :2]) > 0.3
        centre, size, *eyes = np.average(values[same], axis=0, weights=scores[same])
        right_eye, left_eye = eyes[:2]
        towards = whole.to_picture(np.stack([right_eye, left_eye]))
        side = _ENLARGED * whole.side * float(size.max())
        return Square(whole.to_picture(centre[None])[0], side, _direction(towards[0], towards[1]))

    def _look(self, picture: Float[Tensor, "1 3 height width"], square: Square) -> np.ndarray | None:
        outputs = self._landmarker(square.cut(picture, _LANDMARK_SIDE, border="border") / 255)
        by_size = {value.size: value.ravel() for value in outputs.values()}
        # A logit: at least one half.
        if by_size[1][0] < 0:
            return None
        own = by_size[3 * _NUM_LANDMARKS].reshape(_NUM_LANDMARKS, 3) / _LANDMARK_SIDE
        points = np.concatenate([square.to_picture(own[:, :2]), square.side * own[:, 2:]], axis=1)
        return points.astype(np.float32)


def _square_of(landmarks: Float[np.ndarray, "468 3"]) -> Square:
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    right_eye, left_eye = landmarks[list(EYES_OUTER), :2]
    return Square((low + high) / 2.0, _ENLARGED * float((high - low).max()), _direction(right_eye, left_eye))


def _direction(start: np.ndarray, end: np.ndarray) -> float:
    return math.atan2(end[1] - start[1], end[0] - start[0])


def _anchors() -> Float[np.ndarray, "896 2"]:
    """Centres of the detector's boxes, from 0 to 1: two in each cell of 8 pixels, six in each of 16."""
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
