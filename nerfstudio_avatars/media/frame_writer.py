"""Writes rendered frames to an mp4 file or to a folder of PNG files."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_WRITTEN_VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv"})


class FrameWriter:
    """Writes frames one by one: a path ending in .mp4 becomes a video, any other a folder of frame_00000.png ...

    A video appears once it is complete. In a folder with earlier frames, those numbered beyond the new ones are
    deleted.
    """

    def __init__(self, output: Path, fps: int) -> None:
        """Opens the output, and creates folders as needed.

        Args:
            output: the video file, or the folder.
            fps: the frame rate of a video.
        """
        self.output = output
        self.is_video = output.suffix.lower() in _WRITTEN_VIDEO_SUFFIXES
        self._unfinished = ExitStack()
        self._fps = fps
        self._count = 0
        self._video: tuple[OutputContainer, VideoStream] | None = None
        (output.parent if self.is_video else output).mkdir(parents=True, exist_ok=True)

    def write(self, frame: UInt8[np.ndarray, "height width channels"]) -> None:
        """Adds one frame: RGB or, for folders only, RGBA."""
        if self.is_video:
            self._write_video(frame)
        else:
            from PIL import Image

            with whole_file(self._picture(self._count)) as partial:
                Image.fromarray(frame).save(partial)
        self._count += 1

    def _picture(self, number: int) -> Path:
        return self.output / f"frame_{number:05d}.png"

    def _write_video(self, frame: np.ndarray) -> None:
        import av

        # The codec halves the colour resolution, so sides are even: an odd last row or column is dropped.
        frame = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2, :3])
        if self._video is None:
            self._video = self._open_video(*frame.shape[:2])
        container, stream = self._video
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

    def _open_video(self, height: int, width: int) -> tuple[OutputContainer, VideoStream]:
        import av

        partial = self._unfinished.enter_context(whole_file(self.output))
        container = self._unfinished.enter_context(av.open(str(partial), "w"))
        stream = container.add_stream("libx264", rate=self._fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "18", "preset": "fast"}
        return container, stream

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._unfinished.__exit__(kind, error, trace)
            return
        with self._unfinished:
            if self._video is not None:
                container, stream = self._video
                container.mux(stream.encode())
        if not self.is_video:
            for number in count(self._count):
                if not self._picture(number).is_file():
                    break
                self._picture(number).unlink()


def check_output(output: Path, transparent: bool) -> None:
    """Refuses an output that cannot be written, before anything is rendered.

    Raises:
        UserError: the output is a video with transparency, has an unknown ending, or cannot be written.
    """
    is_video = output.suffix.lower() in _WRITTEN_VIDEO_SUFFIXES
    if transparent and is_video:
        raise UserError(f"{output}: an mp4 video cannot be transparent. Give a folder as --output to write RGBA PNGs.")
    if not is_video and output.suffix:
        raise UserError(
            f"{output}: unknown ending {output.suffix!r}. Expected .mp4 for a video, or the name of a folder for PNGs."
        )
    if output.is_file() != is_video and output.exists():
        raise UserError(f"{output}: is already a {'folder' if is_video else 'file'}. Choose another --output.")
    check_folder(output.parent if is_video else output)
