"""Masks of a video that another tool has made, such as SAM 2: a folder with a picture for each frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.masked_pictures import listed, numberings
from nerfstudio_avatars.media.mask_files import MASK_SUFFIXES, read_mask

_ASPECT = 0.02
"""Largest relative difference of the sides' ratio from that of the filmed picture."""


@dataclass(frozen=True)
class GivenMasks:
    """Files of masks by the numbers of their frames."""

    files: dict[int, Path]

    @classmethod
    def find(cls, folder: Path, frames: int) -> GivenMasks:
        """Finds the masks in a folder: in order if there is one for each frame, or else by the numbers in their names.

        Args:
            folder: holds a mask for each frame, or for some, as pictures or arrays (.npy).
            frames: length of the video.

        Raises:
            DataError: there are none, or it does not show to which frames they belong.
        """
        files = listed(folder, MASK_SUFFIXES)
        if len(files) == frames:
            return cls(dict(enumerate(files)))
        for numbers in numberings(files):
            first = 1 if max(numbers) == frames else 0
            if min(numbers) >= first and max(numbers) < frames + first:
                return cls({number - first: file for number, file in zip(numbers, files, strict=True)})
        found = f"{len(files)} masks from {files[0].name} to {files[-1].name}, for a video of {frames} frames"
        fix = "write one mask per frame of the video, or name masks after the numbers of their frames"
        raise DataError(folder, found, "a mask for each frame, or names with the numbers of frames", fix)

    def of(self, frame: int, height: int, width: int) -> UInt8[np.ndarray, "height width"] | None:
        """The mask of a frame at the size of the filmed picture, from 0 to 255; None if there is none.

        Raises:
            DataError: the mask has other proportions than the picture, or cannot be read.
        """
        if frame not in self.files:
            return None
        mask = read_mask(self.files[frame])
        if mask.shape == (height, width):
            return mask
        rows, columns = mask.shape
        if abs(columns * height / (rows * width) - 1) > _ASPECT:
            fix = "make masks of the whole picture, upright as a player shows it"
            raise DataError(self.files[frame], f"{columns}x{rows} pixels", f"the shape of {width}x{height}", fix)
        smaller = rows > height
        return cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
