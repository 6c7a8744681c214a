"""Corrects masks by what is behind the person: a camera that stands still sees it in other frames.

Networks lose shoes on a dark floor and fill the gap between arm and trunk. Where a pixel differs from the background
as the person beside it does, it is the person's; where it does not differ, it is background. Near the border of a mask
that is said against what the mask says; far from it, the mask is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerfstudio_avatars.process.body_landmarks import PERSON

_MOST_FRAMES = 24
"""Largest number of frames, evenly spread, that tell the background."""
_FEWEST = 3
"""Smallest number of frames that have to show a pixel of it."""
_AWAY, _REACH = 0.02, 0.04
"""Distance from a mask beyond which a pixel shows the background, and up to which masks are corrected; over the
height of the person."""
_BESIDE = 0.03
"""Half the side of the window whose inner pixels tell how the person looks nearby, over the height of the person."""
_LEAST_CONTRAST = 20.0
"""Difference from the background, of 255, below which a pixel cannot be the person's for certain."""
_STILL = 8.0
"""Median difference, of 255, from their median of pixels that should be still, above which the camera moves."""
_MOVED = 0.0013
"""Median shift of pictures against the background, over the height of the person, above which the camera moves. Before
a plain wall, colours alone would not tell."""
_FLAT = 0.02
"""Square of the slope, of 255 in a pixel, below which a background does not tell where it is."""
_DARK, _FEWEST_CLEAR = 20, 100
"""Brightness, of 255, of pixels whose factor tells the exposure, and their least number."""
_NOWHERE = np.float32(1e6)
_COARSE, _ROWS = 200, 64
"""Height in pixels of the person at which exposures are compared, and rows that are sorted at a time."""
_SHADE, _FEET = 0.6, 0.1
"""Factor down to which anything may be in shade, and height of the feet, over that of the person."""
_HOLE = 2e-4
"""Size of the largest hole that is filled, over the square of the height of the person."""
_PRIOR, _SURE = 1.5, 4.0
"""Bounds of the logarithms of the odds that the mask tells at its border, and that the background tells."""
_STEEP = 8.0


@dataclass(frozen=True)
class StillBackground:
    """What is behind a person, seen by a camera that stands still."""

    colour: Float[np.ndarray, "height width 3"]
    """From 0 to 255."""
    noise: Float[np.ndarray, "height width"]
    """Usual distance of its pixels from it."""
    known: Bool[np.ndarray, "height width"]
    """Where enough frames show it."""

    @classmethod
    def behind(
        cls, pictures: Sequence[UInt8[np.ndarray, "height width 3"]], masks: Sequence[UInt8[np.ndarray, "height width"]]
    ) -> StillBackground | None:
        """The median of what frames show where the person is not; None if the camera moves, or too little is shown.

        Args:
            pictures: of one camera.
            masks: share of each pixel that shows the person, from 0 to 255.
        """
        chosen = np.unique(np.linspace(0, len(pictures) - 1, _MOST_FRAMES).round().astype(int))
        away = np.stack([~_grown(masks[index] >= PERSON, _AWAY * _height(masks[index])) for index in chosen])
        known = away.sum(0) >= _FEWEST
        if not known.any():
            return None
        step = max(round(_height(masks[chosen[0]]) / _COARSE), 1)
        few = np.stack([pictures[index][::step, ::step] for index in chosen]).astype(np.float32)
        first = _median_of_shown(few, away[:, ::step, ::step])
        clear = (away & known)[:, ::step, ::step]
        exposures = np.stack([_exposure(one, first, at) for one, at in zip(few, clear, strict=True)])
        even = few / exposures[:, None, None]
        shifts = [_shift(one, first, at) for one, at in zip(even, clear, strict=True)]
        if step * np.median(np.linalg.norm(shifts, axis=-1)) > _MOVED * _height(masks[chosen[0]]):
            return None

        colour, noise = np.empty((*known.shape, 3), np.float32), np.empty(known.shape, np.float32)
        for row in range(0, len(known), _ROWS):
            rows = slice(row, row + _ROWS)
            shown = np.stack([pictures[index][rows] for index in chosen]) / exposures[:, None, None]
            colour[rows] = _median_of_shown(shown, away[:, rows])
            noise[rows] = _median_of_shown(np.linalg.norm(shown - colour[rows], axis=-1) / 3**0.5, away[:, rows])
        return None if np.median(noise[known]) > _STILL else cls(colour, noise, known)

    def correct(
        self, mask: UInt8[np.ndarray, "height width"], picture: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "height width"]:
        """The mask, corrected near its border where the background is known.

        Args:
            mask: share of each pixel that shows the person, from 0 to 255.
            picture: what is masked.
        """
        person, tall = mask >= PERSON, _height(mask)
        if tall < 1:
            return mask
        seen = picture.astype(np.float32)
        behind = self.colour * _exposure(seen, self.colour, self.known & ~_grown(person, _REACH * tall))
        differs = (np.linalg.norm(seen - behind, axis=-1) / 3**0.5 - 2 * self.noise).clip(0)
        reach = _REACH * tall
        signed = _inwards(person)
        inner = (signed > 1.5).astype(np.float32)
        side = 2 * max(round(_BESIDE * tall), 2) + 1
        share = cv2.blur(inner, (side, side))
        beside = cv2.blur(differs * inner, (side, side)) / share.clip(1e-3)
        # Where the person looks like the background nearby, the mask alone can tell.
        tells = (beside / _LEAST_CONTRAST - 0.5).clip(0, 1) * (share > 0.01)
        # Pixels at the rim of what differs show both, in the share that they differ of what is beside them.
        contrast = cv2.dilate(differs, np.ones((3, 3))).clip(_LEAST_CONTRAST)
        within = cv2.erode((differs > _LEAST_CONTRAST / 2).astype(np.uint8), np.ones((3, 3))) > 0
        says = np.where(within, _SURE, (_STEEP * (differs / contrast - 0.5)).clip(-_SURE, _SURE))
        says = np.where(self._shade(seen, behind, person, tall) & (says > 0), 0, says)
        says = np.where(self.known, np.where(says > 0, says, says * tells), 0)
        logit = np.log((mask + 0.5) / (255.5 - mask)).clip(-_PRIOR, _PRIOR) * (1 + np.abs(signed) / reach)
        found = (0.5 + 0.5 * (logit + says)).clip(0, 1)
        found = np.where(np.abs(signed) < reach, found, mask / 255)
        return _in_one_piece((255 * found).round().astype(np.uint8), _HOLE * tall**2)

    def _shade(
        self, seen: np.ndarray, behind: np.ndarray, person: np.ndarray, tall: int
    ) -> Bool[np.ndarray, "height width"]:
        """Where a picture is darker than the background: by a little anywhere, and by anything at the feet, where
        floors show shadows and reflections."""
        darker = (seen < behind + self.noise[..., None]).all(-1)
        slightly = (seen > _SHADE * behind).all(-1)
        feet = np.arange(len(seen)) > np.flatnonzero(person.any(1))[-1] - _FEET * tall
        return darker & (slightly | feet[:, None])


def _exposure(
    picture: Float[np.ndarray, "h w 3"], background: Float[np.ndarray, "h w 3"], clear: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "3"]:
    """Factors on the colours of the background in a picture, by pixels that show it."""
    clear = clear & (background.min(-1) > _DARK)
    if clear.sum() < _FEWEST_CLEAR:
        return np.ones(3, np.float32)
    return np.median(picture[clear] / background[clear], axis=0).clip(0.1, 10).astype(np.float32)


def _shift(
    picture: Float[np.ndarray, "h w 3"], background: Float[np.ndarray, "h w 3"], clear: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "2"]:
    """How far a picture is beside the background, in pixels (down, right), by pixels that show it.

    One step of Lucas and Kanade 1981: right for shifts of a pixel, too small for larger ones, 0 where all is plain.
    """
    grey = background.mean(-1)
    slopes = np.stack(np.gradient(grey), -1)
    # Nothing is known behind a person who never moved away.
    clear = clear & (np.abs(slopes) < 255).all(-1)
    slope, differs = slopes[clear], (grey - picture.mean(-1))[clear]
    flat = _FLAT * max(len(slope), 1) * np.eye(2)
    return np.linalg.solve(slope.T @ slope + flat, slope.T @ differs)


def _median_of_shown(
    values: Float[np.ndarray, "frames h w *channels"], shown: Bool[np.ndarray, "frames h w"]
) -> Float[np.ndarray, "h w *channels"]:
    """The (lower) median over the frames that show each pixel; anything where none does."""
    more = (1,) * (values.ndim - shown.ndim)
    sorted_values = np.sort(np.where(shown.reshape(*shown.shape, *more), values, _NOWHERE), axis=0)
    middle = ((shown.sum(0) - 1) // 2).clip(0).reshape(1, *shown.shape[1:], *more)
    return np.take_along_axis(sorted_values, np.broadcast_to(middle, (1, *values.shape[1:])), 0)[0]


def _height(mask: UInt8[np.ndarray, "height width"]) -> int:
    rows = np.flatnonzero((mask >= PERSON).any(1))
    return int(rows[-1] - rows[0]) + 1 if len(rows) else 0


def _grown(person: Bool[np.ndarray, "height width"], by: float) -> Bool[np.ndarray, "height width"]:
    return _inwards(person) > -by


def _inwards(person: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Distance of pixels from the border of a mask, in pixels, negative outside."""
    inside = person.astype(np.uint8)
    within, without = (cv2.distanceTransform(one, cv2.DIST_L2, 3) for one in (inside, 1 - inside))
    return np.where(person, within - 0.5, 0.5 - without)


def _in_one_piece(mask: UInt8[np.ndarray, "height width"], hole: float) -> UInt8[np.ndarray, "height width"]:
    """The mask without what does not touch its largest part, and without holes of fewer pixels than `hole`."""
    count, parts, sizes, _ = cv2.connectedComponentsWithStats((mask >= PERSON).astype(np.uint8))
    if count > 2:  # The background is one.
        others = ~np.isin(parts, (0, 1 + sizes[1:, cv2.CC_STAT_AREA].argmax()))
        mask = np.where(cv2.dilate(others.astype(np.uint8), np.ones((9, 9))) > 0, 0, mask).astype(np.uint8)
    _, parts, sizes, _ = cv2.connectedComponentsWithStats((mask < PERSON).astype(np.uint8))
    small = sizes[:, cv2.CC_STAT_AREA] < hole
    return np.where(small[parts], 255, mask).astype(np.uint8)
