"""The training picture of the frame shown, the avatar from the same camera, and how they differ, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.instant_avatar.data.person_scene import SplitPictures
from nerfstudio_avatars.instant_avatar.rendering.compositing import over
from nerfstudio_avatars.metrics.body_box import body_box
from nerfstudio_avatars.metrics.psnr import psnr
from nerfstudio_avatars.studio.person_stage import PersonStage

_ERROR = 4.0
"""Factor that differences are shown with, as `ns-eval` shows them."""
_LOOKED_AT = 8
"""Number of training pictures whose masks decide which part of the pictures is shown."""
_MARGIN, _GAP = 0.04, 0.01
"""Room around the person, and between two pictures, as shares of a picture's longer side."""
_TITLE, _LETTERS = 4, 10
"""Height of the band that a title stands in, in gaps, and the gap in pixels at which letters have their own size."""
_TITLES = ("video", "avatar", "difference x 4")


@dataclass(frozen=True)
class CroppedSight:
    """Part of what a training camera sees. Sizes in pixels."""

    camera_to_world: Float[Tensor, "1 3 4"]
    focal: tuple[float, float]
    middle: tuple[float, float]
    """Where the optical axis meets the part."""
    height: int
    width: int

    def camera(self, height: int, width: int) -> Cameras:
        """The same part in other pixels."""
        return next(self.strips(height, width, height * width))

    def strips(self, height: int, width: int, pixels: int) -> Iterator[Cameras]:
        """See `Sight.strips`."""
        down, across = height / self.height, width / self.width
        (fx, fy), (cx, cy) = self.focal, self.middle
        rows = max(pixels // width, 1)
        for top in range(0, height, rows):
            lens = (fx * across, fy * down, cx * across, cy * down - top)
            yield Cameras(self.camera_to_world, *lens, width, min(rows, height - top))


class Comparison:
    """Draws it.

    Args:
        stage: draws the avatar.
        pictures: of the training frames, in the order of the person's cameras.
    """

    def __init__(self, stage: PersonStage, pictures: SplitPictures) -> None:
        self._stage, self._pictures = stage, pictures
        self._rows, self._columns = _part_of(pictures)
        self._drawn: tuple[object, np.ndarray] | None = None
        self.figure: float | None = None
        """PSNR of the part that is shown, on white, of the picture that was drawn last; dB."""
        self.share = 1.0
        """Sides of the pictures that were compared, over those of the training pictures."""
        self.frame = pictures.frames[0]
        """The frame of the video that was drawn last: the nearest one with a training picture."""

    def draw(self, frame: float, height: int, width: int, stop: Callable[[], bool]) -> np.ndarray | None:
        """The three pictures.

        Args:
            frame: of the video, as the data count them.
            height, width: of the whole, in pixels.
            stop: whether it is still wanted.

        Returns:
            (height, width, 3), 8 bits; None if `stop` said so.
        """
        place = int(np.abs(np.array(self._pictures.frames) - frame).argmin())
        key = place, height, width, self._stage.version
        if self._drawn is not None and self._drawn[0] == key:
            return self._drawn[1]
        sight = self._sight(place)
        share = min(1.0, math.sqrt(height * width / (sight.height * sight.width)))
        size = max(round(sight.height * share), 2), max(round(sight.width * share), 2)
        state = self._stage.model.poses.state(self._pictures.frames[place]).to("cpu")
        outputs = self._stage.draw(sight, state, *size, stop)
        if outputs is None:
            return None
        white = torch.ones(3)
        seen = over(outputs["premultiplied"].cpu(), outputs["accumulation"].cpu(), white).clamp(0, 1)
        truth = self._truth(place, size)
        self.figure, self.share, self.frame = psnr(seen, truth), share, self._pictures.frames[place]
        error = ((seen - truth).abs() * _ERROR).clamp(0, 1)
        whole = _beside([(one * 255).round().byte().numpy() for one in (truth, seen, error)], height, width)
        self._drawn = key, whole
        return whole

    def _sight(self, place: int) -> CroppedSight:
        camera = self._stage.model.person.cameras[place : place + 1]
        return CroppedSight(
            camera.camera_to_worlds.cpu(),
            (float(camera.fx), float(camera.fy)),
            (float(camera.cx) - self._columns.start, float(camera.cy) - self._rows.start),
            self._rows.stop - self._rows.start,
            self._columns.stop - self._columns.start,
        )

    def _truth(self, place: int, size: tuple[int, int]) -> Float[Tensor, "height width 3"]:
        picture = self._pictures.source.load([self._pictures.frames[place]])[0, self._rows, self._columns].float() / 255
        on_white = over(picture[..., :3] * picture[..., 3:], picture[..., 3:], torch.ones(3))
        if size == tuple(on_white.shape[:2]):
            return on_white
        return torch.from_numpy(cv2.resize(on_white.numpy(), size[::-1], interpolation=cv2.INTER_AREA))


def _part_of(pictures: SplitPictures) -> tuple[slice, slice]:
    """Rows and columns in which the person is, in the whole video."""
    chosen = np.unique(np.linspace(0, len(pictures.frames) - 1, _LOOKED_AT).round().astype(int))
    masks = [pictures.source.load([pictures.frames[place]])[0, ..., 3].float() / 255 for place in chosen]
    seen = torch.stack(masks).amax(0)
    return body_box(seen, round(_MARGIN * max(seen.shape)))


def _beside(pictures: list[UInt8[np.ndarray, "h w 3"]], height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of one size in a row, or in a column where they are larger then, each with its title."""
    h, w = pictures[0].shape[:2]
    count, gap = len(pictures), max(round(_GAP * max(height, width)), 1)
    band = _TITLE * gap
    in_a_row = min((width - (count - 1) * gap) / count / w, (height - 2 * band) / h)
    in_a_column = min(width / w, (height - count * band) / count / h)
    scale, row = max(in_a_row, in_a_column), in_a_row >= in_a_column
    size = max(int(w * scale), 1), max(int(h * scale), 1)
    step = (size[0] + gap, 0) if row else (0, size[1] + band)
    left = (width - (size[0] + (count - 1) * step[0])) // 2
    top = (height - (size[1] + (count - 1) * step[1]) + (0 if row else band)) // 2
    whole = np.full((height, width, 3), 255, np.uint8)
    for number, (picture, title) in enumerate(zip(pictures, _TITLES, strict=True)):
        x, y = left + number * step[0], top + number * step[1]
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        whole[y : y + size[1], x : x + size[0]] = cv2.resize(picture, size, interpolation=how)
        cv2.putText(whole, title, (x, y - gap), cv2.FONT_HERSHEY_SIMPLEX, gap / _LETTERS, (90, 90, 90), 1, cv2.LINE_AA)
    return whole
