"""Random access against decoding from the beginning to the end."""

import subprocess

import av
import imageio_ffmpeg
import numpy as np
import pytest
from clip_files import number_of, numbered, write_video

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.video_file import VideoFile, to_picture
from nerfstudio_avatars.media.video_index import probe_video

FRAMES = 60
KINDS = {
    "b-frames.mp4": {},
    "open-gop.mp4": {"options": {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0"}},
    "one-keyframe.mov": {"options": {"g": "1000", "bf": "2"}},
    "uneven.mp4": {"times": np.cumsum(np.random.default_rng(0).integers(1, 9, FRAMES)).tolist()},
    "late.mp4": {"times": list(range(500, 500 + FRAMES))},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "qscale": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8", "b": "1M"}},
    "unseekable.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "12", "cpu-used": "8", "b": "1M"},
        "container_options": {"live": "1"},
    },
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "colours.gif": {"codec": "gif", "pix_fmt": "rgb8", "options": {}},
}


@pytest.fixture(scope="module", params=KINDS)
def video(request, tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / request.param, FRAMES, **KINDS[request.param])


def last(walk):
    *_, (number, frame) = walk
    return number, to_picture(frame).rgb


def test_any_frame_in_any_order_is_the_one_asked_for(video):
    file = VideoFile(video)
    with av.open(str(video)) as container:
        expected = [to_picture(frame).rgb for frame in container.decode(video=0)]
    assert file.index.frames == len(expected) == FRAMES
    for frame in [*np.random.default_rng(1).permutation(FRAMES), 0, FRAMES - 1, 0, 11, 12, 13]:
        number, rgb = last(file.walk_to(int(frame)))
        assert number == frame == number_of(rgb)
        np.testing.assert_array_equal(rgb, expected[frame])


def test_frames_are_counted_without_decoding(video):
    facts = probe_video(video)
    assert facts.frames == FRAMES
    assert facts.fps > 5


def test_reading_on_decodes_every_frame_once(video):
    file = VideoFile(video)
    assert [number for frame in range(0, FRAMES, 2) for number, _ in file.walk_to(frame)] == list(range(FRAMES - 1))


def test_a_jump_decodes_from_the_nearest_keyframe(tmp_path):
    file = VideoFile(write_video(tmp_path / "a.mp4", FRAMES))
    assert [number for number, _ in file.walk_to(50)] == [48, 49, 50]
    assert [number for number, _ in file.walk_to(14)] == [12, 13, 14]


def test_a_walk_given_up_halfway_does_no_harm(tmp_path):
    file = VideoFile(write_video(tmp_path / "a.mp4", FRAMES))
    next(iter(file.walk_to(20)))
    assert last(file.walk_to(17))[0] == 17
    file.close()
    assert last(file.walk_to(18))[0] == 18


FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_videos_held_sideways_are_shown_upright_as_ffmpeg_does(tmp_path, degrees):
    plain, turned, count, size = tmp_path / "plain.mp4", tmp_path / "turned.mov", 6, (64, 96)
    with av.open(str(plain), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")))
        container.mux(stream.encode())
    subprocess.run([*FFMPEG, "-display_rotation", str(degrees), "-i", plain, "-c", "copy", turned], check=True)
    raw = subprocess.run([*FFMPEG, "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, stdout=-1)
    upright = size if degrees % 180 == 0 else size[::-1]
    expected = np.frombuffer(raw.stdout, np.uint8).reshape(count, *upright, 3)
    file, facts = VideoFile(turned), probe_video(turned)
    assert (file.size(), facts.frames, facts.fps) == (upright, count, 25)
    for number, picture in zip((1, 4), file.pictures((1, 4)), strict=True):
        assert np.abs(picture.rgb.astype(int) - expected[number]).max() < 16


def test_a_transparent_video_gives_a_mask(tmp_path):
    path = tmp_path / "masked.mov"
    rgba = np.dstack([numbered(3), np.where(np.arange(64) < 32, 255, 0)[None].repeat(64, 0)]).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "argb"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode())
    picture = VideoFile(path).picture(0)
    np.testing.assert_array_equal(picture.mask, rgba[..., 3])
    assert not picture.rgb[:, 32:].any()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "sound", "missing"])
def test_a_file_that_is_no_video_is_named(tmp_path, damage):
    path = write_video(tmp_path / "a.mp4")
    whole = path.read_bytes()
    if damage == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 44100
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no video", "empty": b""}[damage])
    for read in (probe_video, lambda path, fix: VideoFile(path, fix).size()):
        with pytest.raises(DataError, match=r"(?s)a\.mp4.*a whole video.*copy it again") as error:
            read(path, "copy it again")
        assert damage != "sound" or error.value.found.endswith("no pictures in it")


def test_a_video_with_a_hole_is_named_when_the_frame_is_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, options={"g": "6", "bf": "0", "movflags": "faststart"})
    values = bytearray(path.read_bytes())
    start = values.index(b"mdat") + 4
    values[start + 200 : -2000] = bytes(len(values) - 2000 - start - 200)
    path.write_bytes(values)
    assert probe_video(path).frames == FRAMES
    with pytest.raises(DataError, match="a.mp4"):
        for frame in range(FRAMES):
            list(VideoFile(path).walk_to(frame))


def test_pictures_are_those_asked_for_and_each_frame_is_decoded_once(tmp_path, monkeypatch):
    file, wanted = VideoFile(write_video(tmp_path / "a.mp4", FRAMES)), [0, 3, 4, 20, 59]
    walked, walk_to = [], file.walk_to
    monkeypatch.setattr(file, "walk_to", lambda frame: (walked.append(one) or one for one in walk_to(frame)))
    assert [number_of(picture.rgb) for picture in file.pictures(wanted)] == wanted
    numbers = [number for number, _ in walked]
    assert len(numbers) == len(set(numbers)) and list(VideoFile(tmp_path / "a.mp4").pictures([])) == []


def test_frames_that_there_are_not_are_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", 5)
    for read in (
        lambda file: list(file.walk_to(5)),
        lambda file: file.picture(-1),
        lambda file: list(file.pictures([2, 9])),
    ):
        with pytest.raises(DataError, match=r"(?s)a\.mp4.*no frame.*frames 0 to 4.*cut less"):
            read(VideoFile(path, "cut less"))
