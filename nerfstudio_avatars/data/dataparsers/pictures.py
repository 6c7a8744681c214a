"""Full-size frames -> the straight RGBA pictures that are trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.data.dataparsers.recording import Picture

SURELY_INSIDE = 250
"""Matte, of 255."""
EDGE_PIXELS = 2
"""Pixels along the silhouette that a video's subsampled colour mixes with the background."""


@dataclass(frozen=True)
class PreparedPictures:
    """Reads, cleans the edges of, and shrinks the pictures of a recording."""

    read: Callable[[Sequence[int]], Iterator[Picture]]
    height: int
    width: int
    decontaminated_frames: frozenset[int]
    """The training frames, or none. Held-out pictures are the truth and stay as they are."""

    def __call__(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 4"]]:
        """One RGBA picture at a time."""
        for frame, picture in zip(frames, self.read(frames), strict=True):
            rgb, clean = picture.rgb, picture.clean
            if frame in self.decontaminated_frames and not clean:
                rgb, clean = decontaminated(rgb, picture.alpha), True
            yield shrunk(rgb, picture.alpha, self.height, self.width, clean)


def decontaminated(
    rgb: UInt8[np.ndarray, "height width 3"], alpha: UInt8[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Gives every pixel at the silhouette the colour of the nearest pixel that is surely inside."""
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if len(rows) == 0:
        return rgb
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    seen, colours = alpha[box], rgb[box]
    # A frame of the outside, so that a person at the border of the box is eroded there too.
    solid = cv2.copyMakeBorder((seen >= SURELY_INSIDE).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    side = 2 * EDGE_PIXELS + 1
    inside = cv2.erode(solid, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))[1:-1, 1:-1] > 0
    if not inside.any():
        return rgb
    _, labels = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place_of_label = np.zeros(labels.max() + 1, np.int64)
    place_of_label[labels[inside]] = np.flatnonzero(inside)
    edge = (seen > 0) & ~inside
    colours = colours.copy()
    colours[edge] = colours.reshape(-1, 3)[place_of_label[labels[edge]]]
    rgb = rgb.copy()
    rgb[box] = colours
    return rgb


def shrunk(  # noqa: PLR0913
    rgb: UInt8[np.ndarray, "h w 3"],
    alpha: UInt8[np.ndarray, "h w"],
    height: int,
    width: int,
    premultiplied: bool,
) -> UInt8[np.ndarray, "height width 4"]:
    """Averages over areas; with `premultiplied`, a colour counts as much as its matte: no background enters."""
    if alpha.shape == (height, width):
        return np.dstack([rgb, alpha])
    size = (width, height)
    small_alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if premultiplied:
        share = alpha.astype(np.float32) / 255
        weight = cv2.resize(share, size, interpolation=cv2.INTER_AREA)[..., None]
        weighted = cv2.resize(rgb * share[..., None], size, interpolation=cv2.INTER_AREA)
        straight = np.rint(weighted / np.maximum(weight, 1e-6)).clip(0, 255).astype(np.uint8)
        small = np.where(weight > 0, straight, small)
    return np.dstack([small, small_alpha])
