"""Finds where the frames of a video lie, and decodes from any position."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import regular_file
from nerfstudio_avatars.media.picture_decoder import MOST_PIXELS
from nerfstudio_avatars.media.sample_tables import too_many_frames

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

COPY_AGAIN = "copy or encode the video again, or remove it"
_FORMATS = "mov,mp4,matroska,webm,avi,gif,mpeg,mpegts,mpegvideo,asf"
"""FFmpeg's names of the containers that are read. Others, such as playlists, open the files that they name."""
_LARGE = 512 * 512
"""Number of pixels above which decoding in several threads is worth starting them."""


@dataclass(frozen=True)
class VideoFacts:
    """Information from the header of a video, or from its list of packets."""

    frames: int
    fps: float


@dataclass(frozen=True)
class VideoIndex:
    """Positions of the frames, which are numbered in the order they are shown."""

    frames: int
    times: Int[np.ndarray, " frames"] | None
    """Rising presentation times in units of the stream; None if frames are only found by counting from the start."""
    keyframes: Int[np.ndarray, " keyframes"]
    """Rising numbers of the frames that decoding can start at; the first is 0."""

    def number(self, time: int | None) -> int | None:
        """The frame shown at a time."""
        assert self.times is not None
        place = int(np.searchsorted(self.times, -1 if time is None else time))
        return place if place < self.frames and self.times[place] == time else None

    def start_for(self, frame: int) -> int:
        """The last frame, up to the wanted one, that decoding can start at."""
        return int(self.keyframes[np.searchsorted(self.keyframes, frame, side="right") - 1])


def probe_video(path: Path, fix: str = COPY_AGAIN) -> VideoFacts:
    """Counts the frames without decoding them and, if the file has a table of them, without reading it all.

    Raises:
        DataError: the file is missing or not a video; `fix` is the advice to give.
    """
    import av

    _check_file(path, fix)
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            _check_size(path, stream, fix)
            fps = float(stream.average_rate or 0) or 25.0
            entries = getattr(stream, "index_entries", ())  # since PyAV 16
            if stream.frames and len(entries) == stream.frames and "mp4" in container.format.name:
                frames = sum(not entry.is_discard for entry in entries)
            else:
                frames = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise unreadable(path, error, fix) from error
    if not frames:
        raise DataError(path, "no frames", "a whole video", fix)
    return VideoFacts(frames, fps)


def build_index(path: Path, fix: str) -> VideoIndex:
    """Reads the packets of a video, without decoding them.

    Raises:
        DataError: it is no video; `fix` says what to do then.
    """
    import av

    _check_file(path, fix)
    times: list[int | None] = []
    keys: list[int | None] = []
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            _check_size(path, stream, fix)
            for packet in container.demux(stream):
                if packet.size > 0 and not packet.is_discard:
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            named = container.format.name
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise unreadable(path, error, fix) from error
    known = {time for time in times if time is not None}
    # A GIF's frames are painted over those before them, whatever its packets say.
    if len(known) < len(times) or "gif" in named:
        return VideoIndex(len(times), None, np.zeros(1, np.int64))
    shown = np.array(sorted(known), np.int64)
    numbers = np.searchsorted(shown, np.array(sorted({key for key in keys if key is not None}), np.int64))
    return VideoIndex(len(times), shown, np.union1d(numbers, [0]))


def frames_from(path: Path, index: VideoIndex, start: int) -> Iterator[tuple[int, VideoFrame]]:
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


def _opened(path: Path) -> InputContainer:
    import av

    return av.open(str(path), options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"})


def _check_file(path: Path, fix: str) -> None:
    regular_file(path, "a whole video", fix)
    try:
        claimed = too_many_frames(path)
    except OSError as error:
        raise unreadable(path, error, fix) from error
    if claimed:
        raise DataError(path, f"a table of {claimed} frames", "no more than the file can hold", fix)


def _check_size(path: Path, stream: VideoStream, fix: str) -> None:
    height, width = stream.codec_context.height, stream.codec_context.width
    if height * width > MOST_PIXELS:
        most = f"at most {MOST_PIXELS // 10**6} million pixels"
        raise DataError(path, f"pictures of {width}x{height} pixels", most, fix)


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    container = _opened(path)
    stream = container.streams.video[0]
    # The size may also change within the video.
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
    if stream.codec_context.width * stream.codec_context.height < _LARGE:
        stream.codec_context.thread_count = 1
    else:
        stream.thread_type = "AUTO"
    return container, stream


def unreadable(path: Path, error: Exception, fix: str, where: str = "") -> DataError:
    """Turns an error of PyAV into one that names the file."""
    # `streams.video[0]` of a file that has sound alone.
    told = "no pictures in it" if isinstance(error, IndexError) else getattr(error, "strerror", None) or str(error)
    found = f"{where + ': ' if where else ''}{told}"
    return DataError(path, found, "a whole video", fix)
