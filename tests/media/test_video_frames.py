"""Frames by number, against what ffmpeg shows of the same file."""

import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.video_file import decoded, video_size

HEIGHT, WIDTH, FRAMES = 64, 96, 6
FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]


def _write(path):
    """A bright corner, above left, that brightens."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            values = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            values[:24, :40] = 100 + 25 * number
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_videos_held_sideways_are_shown_upright(tmp_path, degrees):
    plain, turned = _write(tmp_path / "plain.mp4"), tmp_path / "turned.mp4"
    subprocess.run([*FFMPEG, "-display_rotation", str(degrees), "-i", plain, "-c", "copy", turned], check=True)
    size = video_size(turned, "")
    expected = (HEIGHT, WIDTH) if degrees % 180 == 0 else (WIDTH, HEIGHT)
    assert (size.height, size.width, size.frames, size.fps) == (*expected, FRAMES, 25)
    raw = subprocess.run([*FFMPEG, "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, stdout=-1)
    shown = np.frombuffer(raw.stdout, np.uint8).reshape(FRAMES, *expected, 3)
    for number, frame in zip((1, 4), decoded(turned, (1, 4), ""), strict=True):
        assert np.abs(frame.astype(int) - shown[number]).max() < 16


def test_a_video_that_ends_early_is_named(tmp_path):
    path = _write(tmp_path / "a.mp4")
    assert list(decoded(path, [], "")) == []
    with pytest.raises(DataError, match=r"(?s)a\.mp4.*ends after frame 5.*frame 9.*cut less"):
        list(decoded(path, [2, 9], "cut less"))


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_a_file_that_is_no_video_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)a\.mp4.*a whole video.*copy it again"):
        video_size(tmp_path / "a.mp4", "copy it again")
