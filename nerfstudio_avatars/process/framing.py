"""The window of a video that holds the person in all frames: what is outside it is neither kept nor learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_avatars.process.body_landmarks import SeenBody

_MARGIN = 0.08
"""Margin on each side, as a share of the window's longer side: hair and loose clothes that masks miss."""


@dataclass(frozen=True)
class Framing:
    """A window of the filmed pictures, and the size at which it is kept."""

    filmed: tuple[int, int]
    """Height and width of the filmed pictures, in pixels."""
    top: int
    left: int
    height: int
    """Of the window, in filmed pixels."""
    width: int
    kept: tuple[int, int]
    """Height and width at which the window is kept, in pixels."""

    def camera_matrix(self, field_of_view: float) -> Float[np.ndarray, "3 3"]:
        """The camera matrix of what is kept, if the axis meets the middle of the filmed picture.

        Args:
            field_of_view: along the longer side of the filmed picture, in degrees.

        Returns:
            In kept pixels; the centre of the first pixel is at one half.
        """
        height, width = self.filmed
        focal = max(height, width) / 2 / np.tan(np.deg2rad(field_of_view) / 2)
        filmed = np.array([[focal, 0, width / 2 - self.left], [0, focal, height / 2 - self.top], [0, 0, 1.0]])
        return np.diag([self.kept[1] / self.width, self.kept[0] / self.height, 1.0]) @ filmed

    def cut(
        self, picture: UInt8[np.ndarray, "filmed_height filmed_width *channels"]
    ) -> UInt8[np.ndarray, "height width *channels"]:
        """What is kept of a filmed picture."""
        window = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        if self.kept == (self.height, self.width):
            return np.ascontiguousarray(window)
        return cv2.resize(window, self.kept[::-1], interpolation=cv2.INTER_AREA)

    def filmed_place(self, kept: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
        """A place (column, row) in what is kept, in pixels of the filmed picture."""
        return kept * [self.width / self.kept[1], self.height / self.kept[0]] + [self.left, self.top]

    def kept_place(self, filmed: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
        """A place (column, row) of the filmed picture, in pixels of what is kept."""
        return (filmed - [self.left, self.top]) * [self.kept[1] / self.width, self.kept[0] / self.height]

    def cuts_off(self, seen: SeenBody) -> bool:
        """Whether a person reaches the border of the filmed picture."""
        person, (height, width) = seen.person, self.filmed
        bottom, right = self.top + self.height == height, self.left + self.width == width
        sides = (
            (self.top == 0, person[0]),
            (bottom, person[-1]),
            (self.left == 0, person[:, 0]),
            (right, person[:, -1]),
        )
        return any(at_border and side.any() for at_border, side in sides)


def whole(height: int, width: int, size: int) -> Framing:
    """All of the filmed picture.

    Args:
        height: of the filmed picture, in pixels.
        width: of the filmed picture, in pixels.
        size: the maximum length of the longer side that is kept, in pixels.
    """
    return Framing((height, width), 0, 0, height, width, _at_most(height, width, size))


def around(seen: Sequence[SeenBody], looked_at: Framing, size: int) -> Framing:
    """The window that holds a person in all frames, with a margin.

    Args:
        seen: the person in each frame, at least one.
        looked_at: the whole picture, at the size in which the person was seen.
        size: the maximum length of the longer side that is kept, in pixels. Pictures are never enlarged.
    """
    filmed = np.array(looked_at.filmed)
    corners = np.concatenate([_corners(one) for one in seen]) * (filmed / looked_at.kept)
    low, high = corners.min(0), corners.max(0)
    margin = _MARGIN * (high - low).max()
    top, left = np.floor(low - margin).clip(0).astype(int).tolist()
    bottom, right = np.ceil(high + margin).clip(max=filmed).astype(int).tolist()
    height, width = bottom - top, right - left
    return Framing(looked_at.filmed, top, left, height, width, _at_most(height, width, size))


def _corners(seen: SeenBody) -> Float[np.ndarray, "2 2"]:
    """First and last (row, column) of the mask, as edges of pixels."""
    rows, columns = (np.flatnonzero(seen.person.any(axis)) for axis in (1, 0))
    return np.array([[rows[0], columns[0]], [rows[-1] + 1, columns[-1] + 1]], float)


def _at_most(height: int, width: int, size: int) -> tuple[int, int]:
    scale = min(size / max(height, width), 1.0)
    return max(round(height * scale), 1), max(round(width * scale), 1)
