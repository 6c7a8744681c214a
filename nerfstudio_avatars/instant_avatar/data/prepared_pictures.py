"""Turns full-size frames into the RGBA pictures (with straight alpha) that are trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame

_SURELY_INSIDE = 250
"""Mask value (of 255) above which a pixel is surely inside."""
_EDGE_PIXELS = 2
"""Width in pixels of the silhouette that subsampled colour of videos mixes with the background."""
PERSON = 127
"""Mask value (of 255) above which a pixel shows the person."""
_DOUBTFUL_SHARE = 0.05
"""Share of training frames with an empty or full mask above which it is reported."""
NAMED = 5
"""Number of frames to name in the report."""


@dataclass(frozen=True)
class PreparedPictures:
    """Reads the pictures of a recording, cleans their edges, and shrinks them."""

    read: Callable[[Sequence[int]], Iterator[MaskedFrame]]
    height: int
    width: int
    folder: Path
    """Folder of the recording, for messages."""
    training_frames: frozenset[int]
    decontaminate: bool
    """Frames to clean: only training frames, because held-out pictures are the ground truth."""

    def __call__(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 4"]]:
        """Yields RGBA pictures one at a time.

        Raises:
            DataError: after all training frames, if none of them shows the person.
        """
        empty, full = [], []
        for frame, picture in zip(frames, self.read(frames), strict=True):
            if frame in self.training_frames:
                if picture.mask.max(initial=0) <= PERSON:
                    empty.append(frame)
                elif picture.mask.min(initial=255) > PERSON:
                    full.append(frame)
            rgb, clean = picture.rgb, picture.clean
            if self.decontaminate and frame in self.training_frames and not clean:
                rgb, clean = decontaminated(rgb, picture.mask), True
            yield shrunk(rgb, picture.mask, self.height, self.width, clean)
        if self.training_frames and self.training_frames.issubset(frames):
            _check_masks(self.folder, len(self.training_frames), empty, full)


def _check_masks(folder: Path, count: int, empty: list[int], full: list[int]) -> None:
    """Refuses a recording whose masks are all empty, and reports if many are empty or full.

    Args:
        folder: the folder of the recording.
        count: the number of training frames.
        empty: frames in which no pixel shows the person.
        full: frames in which every pixel does.
    """
    if len(empty) == count:
        found = f"no pixel of the person (mask above {PERSON} of 255) in any of the {count} training frames"
        fix = "look at the masks and write them again, white where the person is"
        raise DataError(folder, found, "masks that show where the person is", fix)
    if len(empty) + len(full) > _DOUBTFUL_SHARE * count:
        kinds = (("show no person", empty), ("are person everywhere", full))
        told = " and ".join(f"{len(ids)} {what} ({_first(ids)})" for what, ids in kinds if ids)
        CONSOLE.print(f"{folder}: according to the masks of {count} training frames, {told}. Check these masks.")


def _first(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:NAMED])) + (", ..." if len(ids) > NAMED else "")


def decontaminated(
    rgb: UInt8[np.ndarray, "height width 3"], mask: UInt8[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Gives every pixel at the silhouette the colour of the nearest pixel that is surely inside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return rgb
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    seen, colours = mask[box], rgb[box]
    # A frame of the outside, so that a person at the border of the box is eroded there too.
    solid = cv2.copyMakeBorder((seen >= _SURELY_INSIDE).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    side = 2 * _EDGE_PIXELS + 1
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


def shrunk(
    rgb: UInt8[np.ndarray, "h w 3"],
    mask: UInt8[np.ndarray, "h w"],
    height: int,
    width: int,
    premultiplied: bool,
) -> UInt8[np.ndarray, "height width 4"]:
    """Averages over areas; with `premultiplied`, colours are weighted by their mask, which excludes the background."""
    if mask.shape == (height, width):
        return np.dstack([rgb, mask])
    size = (width, height)
    small_mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if premultiplied:
        share = mask.astype(np.float32) / 255
        weight = cv2.resize(share, size, interpolation=cv2.INTER_AREA)[..., None]
        weighted = cv2.resize(rgb * share[..., None], size, interpolation=cv2.INTER_AREA)
        straight = np.rint(weighted / np.maximum(weight, 1e-6)).clip(0, 255).astype(np.uint8)
        small = np.where(weight > 0, straight, small)
    return np.dstack([small, small_mask])
