"""Frames in files, read back."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.frame_writer import FrameWriter, check_output


def _frames(channels, size=(48, 64)):
    rows = np.linspace(0, 255, size[0])[:, None, None]
    return [np.broadcast_to(rows, (*size, channels)).astype(np.uint8) // (1 + index) for index in range(5)]


def test_a_video_holds_the_frames_in_order(tmp_path):
    path = tmp_path / "new" / "walk.mp4"
    with FrameWriter(path, fps=12) as writer:
        for frame in _frames(3):
            writer.write(frame)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 12
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 5
    for read, written in zip(decoded, _frames(3), strict=True):
        assert np.abs(read.astype(int) - written).mean() < 4


def test_odd_sides_are_rounded_down_for_the_codec(tmp_path):
    path = tmp_path / "odd.mp4"
    with FrameWriter(path, fps=10) as writer:
        writer.write(_frames(3, size=(49, 63))[0])
    with av.open(str(path)) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (48, 62)


def test_a_folder_gets_numbered_rgba_pictures(tmp_path):
    with FrameWriter(tmp_path / "frames", fps=10) as writer:
        for frame in _frames(4):
            writer.write(frame)
    files = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in files] == [f"frame_{index:05d}.png" for index in range(5)]
    assert np.array_equal(np.asarray(Image.open(files[2])), _frames(4)[2])


@pytest.mark.parametrize(
    ("output", "transparent", "message"),
    [
        ("a.mp4", True, "cannot be transparent"),
        ("a.avi", False, "unknown ending"),
        ("folder.mp4", False, "already a folder"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(output, transparent, message, tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=message):
        check_output(tmp_path / output, transparent)


@pytest.mark.parametrize("name", ["file/x.mp4", "file/frames", "file/deep/er/x.mp4"])
def test_places_below_a_file_are_refused(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{tmp_path / 'file'} is a file"):
        check_output(tmp_path / name, transparent=False)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that takes no file, of whoever")
def test_a_folder_that_takes_no_file_is_refused():
    with pytest.raises(UserError, match="/proc: cannot be written to"):
        check_output(Path("/proc/x.mp4"), transparent=False)


def test_an_existing_video_is_overwritten_and_an_existing_folder_is_used(tmp_path):
    (tmp_path / "a.mp4").touch()
    check_output(tmp_path / "a.mp4", transparent=False)
    check_output(Path(tmp_path), transparent=True)


@pytest.mark.parametrize("name", ["walk.mp4", "frames"])
def test_a_failure_leaves_no_half_of_a_video(name, tmp_path):
    path = tmp_path / name
    with FrameWriter(path, fps=10) as writer:
        for frame in _frames(3):
            writer.write(frame)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(KeyboardInterrupt), FrameWriter(path, fps=10) as writer:
        writer.write(_frames(3)[0])
        raise KeyboardInterrupt
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_frames_of_an_earlier_longer_video_do_not_stay_behind(tmp_path):
    (tmp_path / "frame_notes.txt").touch()
    for count in (5, 2):
        with FrameWriter(tmp_path, fps=10) as writer:
            for frame in _frames(3)[:count]:
                writer.write(frame)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["frame_00000.png", "frame_00001.png", "frame_notes.txt"]
