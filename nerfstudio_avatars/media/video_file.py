"""Reads any frame of a video file by its number, exactly, without decoding the whole file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.high_dynamic_range import is_wide, to_srgb
from nerfstudio_avatars.media.picture_files import Picture, from_rgba
from nerfstudio_avatars.media.video_index import COPY_AGAIN, VideoIndex, build_index, frames_from, unreadable

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".gif", ".mov", ".webm", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".3gp", ".3g2", ".mts", ".m2ts", ".wmv"}
)
NEAR = 8
"""Number of frames that are decoded faster than skipped."""


class VideoFile:
    """A video whose frames are decoded on demand. It stays open at the position last read until it is closed.

    Threads that share it hold its `lock` while they read.

    Args:
        path: the video.
        fix: the advice that errors give.
    """

    def __init__(self, path: Path, fix: str = COPY_AGAIN) -> None:
        self.path, self.fix, self.lock = path, fix, RLock()
        self._index: VideoIndex | None = None
        self._shown: Iterator[tuple[int, VideoFrame]] | None = None
        self._position = 0

    @property
    def index(self) -> VideoIndex:
        """The index, built from the packets of the file when it is first used."""
        if self._index is None:
            self._index = build_index(self.path, self.fix)
        return self._index

    def size(self) -> tuple[int, int]:
        """Height and width of the pictures in pixels, as players show them; the first frame tells if it is rotated."""
        height, width, _ = self.picture(0).rgb.shape
        return height, width

    def picture(self, frame: int) -> Picture:
        """The frame of a number.

        Raises:
            DataError: there is no such frame, or it cannot be decoded.
        """
        *_, (_, decoded) = self.walk_to(frame)
        return to_picture(decoded)

    def pictures(self, frames: Iterable[int]) -> Iterator[Picture]:
        """Frames by their numbers, one at a time; decoded once where the numbers rise. Lets go of the file at the end.

        Raises:
            DataError: there is no such frame, or it cannot be decoded.
        """
        try:
            for frame in frames:
                yield self.picture(frame)
        finally:
            self.close()

    def walk_to(self, frame: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from the nearest possible position, and yields all frames passed; the last one is the wanted one.

        Raises:
            DataError: there is no such frame, or it cannot be decoded.
        """
        import av

        try:
            if not 0 <= frame < self.index.frames:
                expected = f"frames 0 to {self.index.frames - 1}"
                raise DataError(self.path, f"no frame {frame}", expected, "parse the data again, or " + self.fix)
            start, shown = self.index.start_for(frame), self._shown
            if shown is not None and start - NEAR <= self._position <= frame:
                yield from self._walk_on(shown, frame)
            else:
                yield from self._walk_anew(start, frame)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            self.close()
            raise unreadable(self.path, error, self.fix, f"frame {frame}") from error

    def close(self) -> None:
        """Closes the file, but keeps the index. Reading in other threads is not disturbed."""
        self._shown = None

    def _walk_anew(self, start: int, frame: int) -> Iterator[tuple[int, VideoFrame]]:
        for place in sorted({start, 0}, reverse=True):
            # Some containers seek only roughly: where frames are missed, decoding begins at the beginning.
            shown = self._shown = frames_from(self.path, self.index, place)
            first = next(shown, None)
            if first is not None and first[0] <= frame:
                self._position = first[0] + 1
                yield first
                if first[0] < frame:
                    yield from self._walk_on(shown, frame)
                return
        raise self._missing(frame)

    def _walk_on(self, shown: Iterator[tuple[int, VideoFrame]], frame: int) -> Iterator[tuple[int, VideoFrame]]:
        for number, picture in shown:
            self._position = number + 1
            if number > frame:
                break
            yield number, picture
            if number == frame:
                return
        raise self._missing(frame)

    def _missing(self, frame: int) -> DataError:
        self.close()
        found = f"frame {frame} of {self.index.frames} cannot be decoded"
        return DataError(self.path, found, "a whole video", self.fix)


def to_picture(frame: VideoFrame) -> Picture:
    """A decoded frame as players show it; transparent ones are laid on black."""
    transparent = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    values = to_rgb(frame, transparent)
    return from_rgba(values) if transparent else Picture(values)


def to_rgb(frame: VideoFrame, transparent: bool = False) -> UInt8[np.ndarray, "height width channels"]:
    """The one place where a decoded frame becomes RGB (or RGBA), turned as its display matrix says."""
    values: np.ndarray
    if not transparent and is_wide(frame):
        values = to_srgb(frame)
    else:
        # PyAV tells swscale the frame's own matrix (BT.601, BT.709, ...) and range.
        values = frame.to_ndarray(format="rgba" if transparent else "rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90)  # since PyAV 13
    return np.ascontiguousarray(np.rot90(values, turns)) if turns else values
