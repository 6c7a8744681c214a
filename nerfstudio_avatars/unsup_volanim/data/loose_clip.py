"""A clip outside any data set: a video, a folder of pictures, or a single picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import PICTURE_SUFFIXES, listed_pictures
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable

EXPECTED = "a video (.mp4, .mov, .webm, .mkv, .avi, .gif, ...), a folder of pictures, or a picture (.png, .jpg)"


def read_loose_clip(
    path: Path, size: int, seconds: float | None = None
) -> tuple[UInt8[Tensor, "frames size size 3"], float]:
    """Reads the central square of each frame of a clip, resized, and the frame rate.

    Args:
        path: the path of the clip.
        size: the side of the frames, in pixels.
        seconds: the length to read from its start; by default all.

    Raises:
        DataError: if there is no clip, or it cannot be read.
    """
    reader = _open(path, size)
    count, fps = reader.table[0].frames, reader.table[0].fps
    wanted = count if seconds is None else min(count, max(1, round(seconds * fps)))
    return torch.from_numpy(np.stack([reader.read(0, frame)[0] for frame in range(wanted)])), fps


def read_loose_masks(path: Path, size: int, mask: Path | None = None) -> UInt8[Tensor, "frames size size"] | None:
    """Reads masks of all frames of a clip; None if a frame has none.

    Args:
        path: the path of the clip.
        size: the side of the masks, in pixels.
        mask: a picture, folder or video of masks; by default the transparency of the clip.

    Raises:
        DataError: if given masks are missing, too few, or unreadable.
    """
    if mask is not None and not mask.exists():
        raise DataError(mask, "no such file", "a mask, or a folder or video of them", "check the path")
    reader = _open(path, size, mask)
    masks = [reader.read(0, frame)[1] for frame in range(reader.table[0].frames)]
    found = [one for one in masks if one is not None]
    if len(found) == len(masks):
        return torch.from_numpy(np.stack(found))
    if mask is not None:
        raise DataError(mask, f"masks of {len(found)} of {len(masks)} frames", "one for each", "add those missing")
    return None


def _open(path: Path, size: int, mask: Path | None = None) -> ClipReader:
    suffix = path.suffix.lower()
    fps = 25.0
    if path.is_dir():
        count = len(listed_pictures(path))
        if not count:
            raise DataError(path, "a folder without pictures", EXPECTED, "give the clip's own folder")
    elif not path.exists():
        raise DataError(path, "no such file", EXPECTED, "check the path, or give the name of a clip of the data set")
    elif suffix in VIDEO_SUFFIXES:
        facts = probe_video(path)
        count, fps = facts.frames, facts.fps
    elif suffix in PICTURE_SUFFIXES:
        count = 1
    else:
        raise DataError(path, f"the ending {suffix or '(none)'}", EXPECTED, "convert it, for instance with ffmpeg")
    clip = Clip(path.stem, str(path), count, fps, None if mask is None else str(mask))
    return ClipReader(ClipTable([clip]), size, cache_gb=0)
