"""Frames of a video by number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.data.clips.video_file import upright
from nerfstudio_avatars.data.errors import DataError


@dataclass(frozen=True)
class VideoSize:
    """What a video says of itself. Height and width are those of the upright pictures, as players show them."""

    frames: int
    """0 where the file does not say."""
    height: int
    width: int
    fps: float


def video_size(path: Path, fix: str) -> VideoSize:
    """Opens a video, reads its header and decodes its first frame, which tells whether it was held sideways.

    Raises:
        DataError: it is missing, or no video; `fix` says what to do then.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            frames, fps = stream.frames, float(stream.average_rate or 30)
            for frame in container.decode(stream):
                height, width, _ = upright(np.empty((frame.height, frame.width, 0)), frame).shape
                return VideoSize(frames, height, width, fps)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "a whole video", fix) from error
    raise DataError(path, "no frames", "a whole video", fix)


def decoded(path: Path, wanted: Sequence[int], fix: str) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """RGB frames of rising numbers, upright, decoding once from the beginning to the last one wanted.

    Raises:
        DataError: the video ends before, or is damaged; `fix` says what to do then.
    """
    import av

    position, found = 0, 0
    try:
        if wanted:
            with av.open(str(path)) as container:
                container.streams.video[0].thread_type = "AUTO"
                for position, frame in enumerate(container.decode(video=0)):  # noqa: B007
                    if position == wanted[found]:
                        yield upright(frame.to_ndarray(format="rgb24"), frame)
                        found += 1
                        if found == len(wanted):
                            return
    except av.error.FFmpegError as error:
        raise DataError(path, f"frame {position}: {error}", "a whole video", fix) from error
    if found < len(wanted):
        raise DataError(path, f"the video ends after frame {position}", f"frame {wanted[found]}", fix)
