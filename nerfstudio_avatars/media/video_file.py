"""Reads any frame of a video file exactly, without decoding the whole file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import Picture, from_rgba

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
from collections.abc import Sequence

from jaxtyping import UInt8

VIDEO_SUFFIXES = frozenset({".mp4", ".gif", ".mov", ".webm"})
COPY_AGAIN = "copy or encode the video again, or remove it"
LARGE = 512 * 512
"""Number of pixels above which decoding in several threads is worth starting them."""
NEAR = 8
"""Number of frames that are decoded faster than skipped."""


@dataclass(frozen=True)
class VideoFacts:
    """Information from the header of a video, or from its list of packets."""

    frames: int
    fps: float


@dataclass(frozen=True)
class VideoIndex:
    """Positions of the frames, which are numbered in the order they are shown."""

    frames: int
    times: Int[np.ndarray, "frames"] | None
    """Rising presentation times in units of the stream; None if frames are only found by counting from the start."""
    keyframes: Int[np.ndarray, "keyframes"]
    """Rising numbers of the frames that decoding can start at; the first is 0."""

    def number(self, time: int | None) -> int | None:
        """The frame shown at a time."""
        assert self.times is not None
        place = int(np.searchsorted(self.times, -1 if time is None else time))
        return place if place < self.frames and self.times[place] == time else None

    def start_for(self, frame: int) -> int:
        """The last frame, up to the wanted one, that decoding can start at."""
        return int(self.keyframes[np.searchsorted(self.keyframes, frame, side="right") - 1])


def probe_video(path: Path) -> VideoFacts:
    """Counts the frames without decoding them and, if the file has a table of them, without reading it all."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or 0) or 25.0
            entries = getattr(stream, "index_entries", ())  # since PyAV 16
            if stream.frames and len(entries) == stream.frames and "mp4" in container.format.name:
                frames = sum(not entry.is_discard for entry in entries)
            else:
                frames = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise _unreadable(path, error) from error
    if not frames:
        raise DataError(path, "no frames", "a whole video", COPY_AGAIN)
    return VideoFacts(frames, fps)


class VideoFile:
    """A video whose frames are decoded on demand. It stays open at the position last read until it is closed.

    Threads that share it hold its `lock` while they read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, RLock()
        self._index: VideoIndex | None = None
        self._shown: Iterator[tuple[int, VideoFrame]] | None = None
        self._position = 0

    @property
    def index(self) -> VideoIndex:
        """The index, built from the packets of the file when it is first used."""
        if self._index is None:
            self._index = _build_index(self.path)
        return self._index

    def walk_to(self, frame: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from the nearest possible position, and yields all frames passed; the last one is the wanted one."""
        import av

        try:
            if not 0 <= frame < self.index.frames:
                expected = f"frames 0 to {self.index.frames - 1}"
                raise DataError(self.path, f"no frame {frame}", expected, "parse the data again, or " + COPY_AGAIN)
            start, shown = self.index.start_for(frame), self._shown
            if shown is not None and start - NEAR <= self._position <= frame:
                yield from self._walk_on(shown, frame)
            else:
                yield from self._walk_anew(start, frame)
        except (av.error.FFmpegError, OSError, IndexError) as error:
            self.close()
            raise _unreadable(self.path, error, f"frame {frame}") from error

    def close(self) -> None:
        """Closes the file, but keeps the index. Reading in other threads is not disturbed."""
        self._shown = None

    def _walk_anew(self, start: int, frame: int) -> Iterator[tuple[int, VideoFrame]]:
        for place in sorted({start, 0}, reverse=True):
            # Some containers seek only roughly: where frames are missed, decoding begins at the beginning.
            shown = self._shown = _decoded(self.path, self.index, place)
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
        return DataError(self.path, found, "a whole video", COPY_AGAIN)


def to_picture(frame: VideoFrame) -> Picture:
    """A decoded frame, turned upright, and composited on black if transparent."""
    transparent = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    values: np.ndarray = frame.to_ndarray(format="rgba" if transparent else "rgb24")
    values = as_shown(values, frame)
    return from_rgba(values) if transparent else Picture(values)


def as_shown(values: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """A decoded frame, (height, width, ...), turned as its display matrix says."""
    turns = round(getattr(frame, "rotation", 0) / 90)  # since PyAV 13
    return np.ascontiguousarray(np.rot90(values, turns)) if turns else values


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    import av

    container = av.open(str(path))
    stream = container.streams.video[0]
    if stream.codec_context.width * stream.codec_context.height < LARGE:
        stream.codec_context.thread_count = 1
    else:
        stream.thread_type = "AUTO"
    return container, stream


def _build_index(path: Path) -> VideoIndex:
    import av

    times: list[int | None] = []
    keys: list[int | None] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.size > 0 and not packet.is_discard:
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            named = container.format.name
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise _unreadable(path, error) from error
    known = {time for time in times if time is not None}
    # A GIF's frames are painted over those before them, whatever its packets say.
    if len(known) < len(times) or "gif" in named:
        return VideoIndex(len(times), None, np.zeros(1, np.int64))
    shown = np.array(sorted(known), np.int64)
    numbers = np.searchsorted(shown, np.array(sorted({key for key in keys if key is not None}), np.int64))
    return VideoIndex(len(times), shown, np.union1d(numbers, [0]))


def _decoded(path: Path, index: VideoIndex, start: int) -> Iterator[tuple[int, VideoFrame]]:
    """Frames and their numbers, starting at a keyframe."""
    import av

    container, stream = _open(path)
    with container:
        if index.times is None:
            yield from enumerate(container.decode(stream))
            return
        if start:
            # A container that cannot seek is decoded from its beginning.
            with suppress(av.error.FFmpegError):
                container.seek(int(index.times[start]), stream=stream)
        for frame in container.decode(stream):
            number = index.number(frame.pts)
            # Frames shown before the keyframe but stored after it lack what they were predicted from.
            if number is not None and number >= start:
                yield number, frame


def _unreadable(path: Path, error: Exception, where: str = "") -> DataError:
    # `streams.video[0]` of a file that has sound alone.
    told = "no pictures in it" if isinstance(error, IndexError) else getattr(error, "strerror", None) or str(error)
    found = f"{where + ': ' if where else ''}{told}"
    return DataError(path, found, "a whole video", COPY_AGAIN)


@dataclass(frozen=True)
class VideoSize:
    """Size of a video. Height and width are those of the upright pictures, as players show them."""

    frames: int
    """Number of frames, 0 if the file does not say."""
    height: int
    width: int
    fps: float


def video_size(path: Path, fix: str) -> VideoSize:
    """Opens a video, reads its header, and decodes its first frame, which shows whether it was recorded sideways.

    Raises:
        DataError: the file is missing or not a video; `fix` is the advice to give.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            frames, fps = stream.frames, float(stream.average_rate or 30)
            for frame in container.decode(stream):
                height, width, _ = as_shown(np.empty((frame.height, frame.width, 0)), frame).shape
                return VideoSize(frames, height, width, fps)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "a whole video", fix) from error
    raise DataError(path, "no frames", "a whole video", fix)


def decoded(path: Path, wanted: Sequence[int], fix: str) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Yields upright RGB frames of rising numbers, decoding once from the start to the last one wanted.

    Raises:
        DataError: the video is too short, or damaged; `fix` is the advice to give.
    """
    import av

    position, found = 0, 0
    try:
        if wanted:
            with av.open(str(path)) as container:
                container.streams.video[0].thread_type = "AUTO"
                for position, frame in enumerate(container.decode(video=0)):  # noqa: B007
                    if position == wanted[found]:
                        yield as_shown(frame.to_ndarray(format="rgb24"), frame)
                        found += 1
                        if found == len(wanted):
                            return
    except av.error.FFmpegError as error:
        raise DataError(path, f"frame {position}: {error}", "a whole video", fix) from error
    if found < len(wanted):
        raise DataError(path, f"the video ends after frame {position}", f"frame {wanted[found]}", fix)
