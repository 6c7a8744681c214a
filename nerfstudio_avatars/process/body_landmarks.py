"""Landmarks and mask of one person in a picture, by MediaPipe's models, which ship with the package.

Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose tracking".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from nerfstudio_avatars.process.person_masks import SIDE, PersonSegmenter
from nerfstudio_avatars.tflite import Network, Square

LANDMARKS = 33
MODEL = Path(__file__).parents[1] / "assets" / "person" / "pose_landmark_full.tflite"

_LEAST_PRESENCE = 0.5
_ENLARGED = 1.25
"""Size of the crop relative to the person."""
PERSON = 128
"""Share of a pixel (of 255) above which it counts as the person."""
_COMPANY = 0.25
"""Size of a part of the mask, as a share of the largest, from which on it counts as a person."""
Place = Float[np.ndarray, "2"]
"""Column and row in a picture, in pixels; the centre of a pixel is at one half."""


@dataclass(frozen=True)
class SeenBody:
    """A person found in a picture."""

    points: Float[np.ndarray, "33 2"]
    """Landmarks in pixels; the centre of a pixel is at one half."""
    visibility: Float[np.ndarray, "33"]
    """Visibility of each landmark, from 0 to 1."""
    places: Float[np.ndarray, "33 3"]
    """Landmarks in metres relative to the middle of the hips, in camera axes (x right, y down, z forward)."""
    mask: UInt8[np.ndarray, "height width"]
    """Share of each pixel that shows the person, from 0 to 255."""
    others: int = 0
    """Number of other people in the picture."""

    @property
    def person(self) -> Bool[np.ndarray, "height width"]:
        """The pixels that show the person."""
        return self.mask >= PERSON


class BodyLandmarks:
    """Finds people in a picture, and what one of them does.

    Raises:
        RuntimeMissing: without `ai-edge-litert`.
    """

    def __init__(self) -> None:
        self._landmarker = Network(MODEL, "Landmarks of people")
        self._segment = PersonSegmenter()

    def people(self, picture: UInt8[np.ndarray, "height width 3"]) -> list[Place]:
        """The middles of the people in a picture, from left to right. Those who touch count as one."""
        _, people = _people(self._coarse(_pixels(picture)))
        return sorted((place for _, place in people), key=lambda place: float(place[0]))

    def detect(self, picture: UInt8[np.ndarray, "height width 3"], near: Place | None = None) -> SeenBody | None:
        """Landmarks and mask of a person, or None if nobody is found.

        Args:
            near: where the person was before, if there are several; by default the largest one is taken.
        """
        pixels = _pixels(picture)
        coarse = self._coarse(pixels)
        others = len(_people(coarse)[1]) - 1
        square = _around(_one_person(coarse, near))
        seen = None
        # The second look's crop fits better than what the coarse mask gave.
        for _ in range(2):
            if square is None:
                return None
            # Whoever else is in the crop is farther from its middle, unless the person is the largest there.
            seen = self._look(pixels, square, square.centre if others else None)
            if seen is None or not seen.person.any():
                return None
            square = _around(seen.mask, seen.points)
        return None if seen is None else replace(seen, others=others)

    def _coarse(self, pixels: torch.Tensor) -> UInt8[np.ndarray, "height width"]:
        """The mask of all people."""
        height, width = pixels.shape[-2:]
        whole = Square(np.array([width / 2, height / 2]), float(max(height, width)))
        share = self._segment((whole.cut(pixels, SIDE, "zeros")[0] * 255).astype(np.uint8))
        return _pasted(share, whole, height, width)

    def _look(self, pixels: torch.Tensor, square: Square, near: Place | None) -> SeenBody | None:
        height, width = pixels.shape[-2:]
        outputs = {value.size: value for value in self._landmarker(square.cut(pixels, SIDE, "zeros")).values()}
        if outputs[1].item() < _LEAST_PRESENCE:
            return None
        landmarks = outputs[39 * 5].reshape(39, 5)[:LANDMARKS]
        visibility = 1 / (1 + np.exp(-np.minimum(landmarks[:, 3], landmarks[:, 4])))
        share = 255 / (1 + np.exp(-outputs[SIDE * SIDE].reshape(SIDE, SIDE).clip(-30, 30)))
        return SeenBody(
            points=square.to_picture(landmarks[:, :2] / SIDE),
            visibility=visibility,
            places=outputs[39 * 3].reshape(39, 3)[:LANDMARKS],
            mask=_one_person(_pasted(share, square, height, width), near),
        )


def _pixels(picture: UInt8[np.ndarray, "height width 3"]) -> Float[torch.Tensor, "1 3 height width"]:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def _pasted(
    share: Float[np.ndarray, "side side"] | UInt8[np.ndarray, "side side"], square: Square, height: int, width: int
) -> UInt8[np.ndarray, "height width"]:
    """The mask of a square (0 to 255), pasted into the picture."""
    scale = square.side / len(share)
    # From the square's pixel centres to the picture's.
    to_picture = np.array([[scale, 0, 0], [0, scale, 0]])
    to_picture[:, 2] = square.centre - square.side / 2 + scale / 2 - 0.5
    pasted = cv2.warpAffine(share.astype(np.float32), to_picture, (width, height), flags=cv2.INTER_LINEAR)
    return pasted.clip(0, 255).round().astype(np.uint8)


def _people(mask: UInt8[np.ndarray, "height width"]) -> tuple[np.ndarray, list[tuple[int, Place]]]:
    """The mask's connected parts, and which of them are people: their numbers and middles, the largest first."""
    _, parts, sizes, middles = cv2.connectedComponentsWithStats((mask >= PERSON).astype(np.uint8))
    areas = sizes[1:, cv2.CC_STAT_AREA]  # The background is the first.
    order = areas.argsort()[::-1]
    return parts, [(int(one) + 1, middles[one + 1] + 0.5) for one in order if areas[one] >= _COMPANY * areas.max()]


def _one_person(mask: UInt8[np.ndarray, "height width"], near: Place | None) -> UInt8[np.ndarray, "height width"]:
    """The mask of one person alone: of the one nearest to a place, or of the largest."""
    parts, people = _people(mask)
    if not people:
        return mask
    chosen, _ = people[0] if near is None else min(people, key=lambda one: float(np.linalg.norm(one[1] - near)))
    others = (parts != 0) & (parts != chosen)
    if others.any():
        # What belongs to the other parts, their soft edges included.
        mask[cv2.dilate(others.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0] = 0
    return mask


def _around(mask: UInt8[np.ndarray, "height width"], points: np.ndarray | None = None) -> Square | None:
    rows, columns = np.nonzero(mask >= PERSON)
    if not len(rows):
        return None
    places = np.stack([columns, rows], -1).astype(float) + 0.5
    places = places if points is None else np.concatenate([places, points])
    low, high = places.min(0), places.max(0)
    return Square((low + high) / 2, _ENLARGED * float((high - low).max()))
