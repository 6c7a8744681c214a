"""Masks for clips of people that come without any, by MediaPipe's selfie segmentation, which ships with the package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import listed_pictures, squared
from nerfstudio_avatars.tflite import Network
from nerfstudio_avatars.unsup_volanim.data.clip_folders import MASKS, FoundClip, find_clips
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable

SIDE = 256
"""Of the pictures that the network sees, and of the masks, pixels."""
MODEL = Path(__file__).parents[1] / "assets" / "person" / "selfie_segmentation.tflite"


class PersonSegmenter:
    """Tells a person from the background; made for one person, who is near.

    Raises:
        RuntimeMissing: without `ai-edge-litert`, saying how to get it.
    """

    def __init__(self) -> None:
        self._network = Network(MODEL, "Masks")

    def __call__(self, picture: UInt8[np.ndarray, "256 256 3"]) -> UInt8[np.ndarray, "256 256"]:
        """Share of each pixel that is the person, 0 to 255."""
        (outputs,) = self._network(picture[None].astype(np.float32) / 255).values()
        share = outputs[0, ..., 0]
        return (share.clip(0, 1) * 255).round().astype(np.uint8)


def person_masks(pictures: UInt8[Tensor, "pictures 256 256 3"], size: int) -> UInt8[Tensor, "pictures size size"]:
    """Share of each pixel that is a person, 0 to 255, at another size.

    Raises:
        RuntimeMissing: without `ai-edge-litert`, saying how to get it.
    """
    segment = PersonSegmenter()
    return torch.from_numpy(np.stack([squared(segment(picture), size) for picture in pictures.numpy()]))


def write_person_masks(root: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Writes `masks/[<split>/]<clip>/<frame>.png` for every clip of a data set that has no mask yet.

    A clip's masks appear when all of them are made, so a run that was stopped goes on where it was.

    Args:
        root: of the data set, as `--data` has it.
        progress: told how many clips are done, and of how many.

    Returns:
        How many masks were written.

    Raises:
        DataError: if there are no clips, or one cannot be read.
    """
    from PIL import Image

    found = [clip for clip in find_clips(root) if clip.mask is None]
    segment = PersonSegmenter()
    written = 0
    for done, clip in enumerate(found):
        folder = root / MASKS / (clip.split or "") / clip.name
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            reader = ClipReader(ClipTable([Clip(clip.name, str(clip.path), clip.frames)]), SIDE, 0)
            for name, picture in zip(_frame_names(clip), reader.read_clip(0), strict=True):
                Image.fromarray(segment(np.asarray(picture))).save(partial / f"{name}.png")
                written += 1
            os.replace(partial, folder)
        except OSError as error:
            raise DataError(
                folder, str(error), "a folder that can be written", "make room, or copy the data"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        if progress:
            progress(done + 1, len(found))
    return written


def _frame_names(clip: FoundClip) -> list[str]:
    """Those of a folder's pictures, so that each mask stays its picture's when others come; else numbers."""
    stems = [path.stem for path in listed_pictures(clip.path)] if clip.path.is_dir() else []
    return stems if stems and len(set(stems)) == len(stems) else [f"{number:07d}" for number in range(clip.frames)]
