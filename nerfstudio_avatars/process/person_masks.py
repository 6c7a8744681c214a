"""Masks for clips of people that come without any, by MediaPipe's selfie segmentation, which ships with the package."""

from __future__ import annotations

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
from nerfstudio_avatars.unsup_volanim.data.shards import is_packed
from nerfstudio_avatars.whole_files import whole_folder

SIDE = 256
"""Side length in pixels of the network's input, and of its masks."""
MODEL = Path(__file__).parents[1] / "assets" / "person" / "selfie_segmentation.tflite"


class PersonSegmenter:
    """Separates a person from the background; made for one person who is near.

    Raises:
        RuntimeMissing: without `ai-edge-litert`; the message says how to install it.
    """

    def __init__(self) -> None:
        self._network = Network(MODEL, "Masks")

    def __call__(self, picture: UInt8[np.ndarray, "256 256 3"]) -> UInt8[np.ndarray, "256 256"]:
        """Share of each pixel that shows the person, from 0 to 255."""
        (outputs,) = self._network(picture[None].astype(np.float32) / 255).values()
        share = outputs[0, ..., 0]
        return (share.clip(0, 1) * 255).round().astype(np.uint8)


def person_masks(pictures: UInt8[Tensor, "pictures 256 256 3"], size: int) -> UInt8[Tensor, "pictures size size"]:
    """Share of each pixel that shows a person, from 0 to 255, at another size.

    Raises:
        RuntimeMissing: without `ai-edge-litert`; the message says how to install it.
    """
    segment = PersonSegmenter()
    return torch.from_numpy(np.stack([squared(segment(picture), size) for picture in pictures.numpy()]))


def write_person_masks(root: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Writes `masks/[<split>/]<clip>/<frame>.png` for every clip of a data set that has no mask yet.

    The masks of a clip appear once all of them are made, so an interrupted run continues where it stopped.

    Args:
        root: the folder of the data set, as given to `--data`.
        progress: called with the number of clips done, and their total.

    Returns:
        The number of masks that were written.

    Raises:
        DataError: if there are no clips, or a clip cannot be read.
    """
    from PIL import Image

    if is_packed(root):
        fix = "write masks of the clips themselves, then pack them"
        raise DataError(root, "packed clips, which have the masks that they were packed with", "clips", fix)
    found = [clip for clip in find_clips(root) if clip.mask is None]
    segment = PersonSegmenter()
    written = 0
    for done, clip in enumerate(found):
        folder = root / MASKS / (clip.split or "") / clip.name
        if folder.exists() and any(folder.iterdir()):
            fix = "remove it, or complete its masks"
            raise DataError(folder, "a folder that does not hold a mask for each frame", "none, or all masks", fix)
        with whole_folder(folder) as partial:
            reader = ClipReader(ClipTable([Clip(clip.name, str(clip.path), clip.frames)]), SIDE, 0)
            for name, picture in zip(_frame_names(clip), reader.read_clip(0), strict=True):
                Image.fromarray(segment(np.asarray(picture))).save(partial / f"{name}.png")
                written += 1
        if progress:
            progress(done + 1, len(found))
    return written


def _frame_names(clip: FoundClip) -> list[str]:
    """Names of the pictures in a folder, so that masks keep their pictures when others are added; otherwise numbers."""
    stems = [path.stem for path in listed_pictures(clip.path)] if clip.path.is_dir() else []
    return stems if stems and len(set(stems)) == len(stems) else [f"{number:07d}" for number in range(clip.frames)]
