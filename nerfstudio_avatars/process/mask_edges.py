"""Makes coarse masks follow the edges of their pictures: a guided filter (He, Sun and Tang 2010, and He and Sun 2015).

A network's mask has 256 pixels along its side, whatever the picture has. In each small window the share of the person
is taken for a linear function of the colour, so it changes where the colour does.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerfstudio_avatars.process.body_landmarks import PERSON

_RADIUS = 0.03
"""Half the side of the windows, over the height of the person."""
_SMOOTHNESS = 1e-4
"""Variance of colours (0 to 1) below which a window counts as plain, and its mask is only blurred."""
_REACH = 0.015
"""How far the border may move, over the height of the person."""
_CONTRAST = 4.0
"""Factor on the distance of the found share from one half: hardly any pixel shows both."""
_LARGEST = 540
"""Height of the person in pixels at which windows are solved; larger pictures take the result enlarged."""


def follow_edges(
    mask: UInt8[np.ndarray, "height width"], picture: UInt8[np.ndarray, "height width 3"]
) -> UInt8[np.ndarray, "height width"]:
    """The mask with its border at the nearest edges of the picture; unchanged far from its border.

    Args:
        mask: share of each pixel that shows the person, from 0 to 255.
        picture: what is masked.
    """
    rows = np.flatnonzero((mask >= PERSON).any(1))
    if not len(rows):
        return mask
    tall = int(rows[-1] - rows[0]) + 1
    scale = min(_LARGEST / tall, 1.0)
    height, width = mask.shape
    small = max(round(width * scale), 1), max(round(height * scale), 1)
    radius = max(round(_RADIUS * tall * scale), 1)
    guide = cv2.resize(picture, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    share = cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    slope, offset = _linear(guide, share, radius)
    if scale < 1:
        slope, offset = (cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in (slope, offset))
    found = (slope * (picture.astype(np.float32) / 255)).sum(-1) + offset
    # A face before a bright wall must not become half transparent, nor the floor half a person.
    found = np.where(_near_border(mask >= PERSON, round(_REACH * tall)), _CONTRAST * (found - 0.5) + 0.5, mask / 255)
    return (255 * found).clip(0, 255).round().astype(np.uint8)


def _near_border(person: Bool[np.ndarray, "height width"], reach: int) -> Bool[np.ndarray, "height width"]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inside = person.astype(np.uint8)
    return cv2.dilate(inside, kernel) > cv2.erode(inside, kernel)


def _linear(
    guide: Float[np.ndarray, "h w 3"], share: Float[np.ndarray, "h w"], radius: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Slope and offset of the share as a linear function of the colour, averaged over the windows around each pixel."""

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    colour, covered = mean(guide), mean(share)
    covariance = mean(guide * share[..., None]) - colour * covered[..., None]
    variance = np.empty((*share.shape, 3, 3), np.float32)
    for row in range(3):
        for column in range(3):
            product = mean(guide[..., row] * guide[..., column])
            variance[..., row, column] = product - colour[..., row] * colour[..., column]
    variance += _SMOOTHNESS * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(variance, covariance[..., None])[..., 0]
    return mean(slope), mean(covered - (slope * colour).sum(-1))
