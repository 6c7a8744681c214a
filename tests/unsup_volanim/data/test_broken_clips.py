"""Downloads break: what cannot be read is left out and listed, and training goes on without it."""

import shutil
from copy import deepcopy

import numpy as np
import pytest

from nerfstudio_avatars.avatars.inspection.clips import read_clips
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips


@pytest.fixture
def clips(tmp_path):
    """Four clips to learn from, one never trained on."""
    import av

    for number in range(5):
        folder = tmp_path / ("test" if number == 4 else "train")
        folder.mkdir(exist_ok=True)
        noise = np.random.default_rng(number)
        with av.open(str(folder / f"id{number}#v#0#12.mp4"), "w", options={"movflags": "faststart"}) as file:
            stream = file.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 32
            for _ in range(12):
                picture = noise.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode())
    return tmp_path


def _manager(data):
    config = deepcopy(unsup_volanim_tiny.config.pipeline.datamanager)
    config.data, config.dataparser.image_size, config.prefetch = data, 32, False
    config.identities_per_batch, config.frames_per_identity = 2, 2
    return config.setup()


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)),
    "a web page": lambda path: path.write_bytes(b"<!DOCTYPE html><html></html>"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_clip_is_left_out_and_named_and_the_others_are_found(clips, kind, capsys):
    path = clips / "train" / "id1#v#0#12.mp4"
    BROKEN[kind](path)
    assert [clip.name[:3] for clip in find_clips(clips)] == ["id0", "id2", "id3", "id4"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 5 clips cannot be read" in shown and path.name in shown.replace(" ", "")
    report = read_clips(clips)
    assert any(path.name in note for note in report.notes)


def test_where_no_clip_can_be_read_the_first_is_named(clips):
    for path in clips.rglob("*.mp4"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)id0.*none of 5 clips"):
        find_clips(clips)


def _cut_in_the_middle(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
    path.write_bytes(bytes(whole))


def _gone(path):
    path.unlink()


@pytest.mark.parametrize("spoil", [_cut_in_the_middle, _gone])
def test_what_breaks_while_training_is_left_out_and_training_goes_on(clips, spoil, capsys):
    manager = _manager(clips)
    manager.next_train(0)
    manager.reader._forget()
    spoil(clips / "train" / "id2#v#0#12.mp4")
    names = [clip.name[:3] for clip in manager.reader.table]
    drawn = set()
    for step in range(1, 13):
        cameras, batch = manager.next_train(step)
        assert batch["image"].isfinite().all() and len(cameras) == len(batch["image"]) == 4
        drawn |= {names[clip] for clip in batch["clip"][-4:].tolist()} if step > 6 else set()
    assert drawn == {"id0", "id1", "id3"}
    assert " ".join(capsys.readouterr().out.split()).count("is left out from now on") == 1


def test_when_all_clips_are_gone_the_reason_is_told(clips):
    manager = _manager(clips)
    shutil.rmtree(clips / "train")
    with pytest.raises(DataError, match="no such file"):
        for step in range(8):
            manager.next_train(step)


@pytest.mark.parametrize("ending", ["mov", "avi", "mkv", "webm", "m4v", "mpg", "3gp", "MTS", "MP4"])
def test_videos_of_every_usual_ending_are_clips(clips, ending):
    import subprocess

    import imageio_ffmpeg

    source = clips / "train" / "id1#v#0#12.mp4"
    kind = {"MTS": "mpegts", "MP4": "mp4"}.get(ending)
    codec = {"mpg": "mpeg1video", "MTS": "mpeg2video", "webm": "libvpx-vp9"}.get(ending, "mpeg4")
    size = ["-s", "176x144"] if ending == "3gp" else []
    named = ["-f", kind] if kind else []
    target = clips / "train" / f"id7#v#0#12.{ending}"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-loglevel",
        "error",
        "-i",
        source,
        "-c:v",
        codec,
        *size,
        *named,
        target,
    ]
    subprocess.run([str(word) for word in command], check=True)
    found = {clip.name[:3]: clip for clip in find_clips(clips)}
    assert found["id7"].frames == 12
