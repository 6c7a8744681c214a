"""Frames of clips by number, whatever they are stored in, and what is kept of them."""

import copy
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_files import number_of, numbered, write_folder, write_mask, write_video

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import by_number
from nerfstudio_avatars.unsup_volanim.data import clip_reader
from nerfstudio_avatars.unsup_volanim.data.clip_reader import OPEN_VIDEOS, ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable

FRAMES = 20


def reader_of(*paths, size=32, cache_gb=1.0, mask=None):
    clips = [Clip(path.stem, str(path), FRAMES, mask=None if mask is None else str(mask)) for path in paths]
    return ClipReader(ClipTable(clips), size, cache_gb)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "one.mp4", FRAMES)


@pytest.mark.parametrize("cache_gb", [0, 1])
def test_frames_of_videos_and_folders_are_found_by_number(tmp_path, video, cache_gb):
    reader = reader_of(video, write_folder(tmp_path / "two", FRAMES), cache_gb=cache_gb)
    for clip, frame in np.random.default_rng(0).permutation([(c, f) for c in (0, 1) for f in range(FRAMES)]).tolist():
        rgb, mask = reader.read(clip, frame)
        assert rgb.shape == (32, 32, 3) and rgb.dtype == np.uint8 and mask is None
        assert number_of(rgb) == frame
    assert [number_of(rgb) for rgb in reader.read_clip(0)] == list(range(FRAMES))


def test_names_without_padding_are_sorted_as_numbers(tmp_path):
    reader = reader_of(write_folder(tmp_path / "one", FRAMES, name="frame{}.png"))
    assert [number_of(rgb) for rgb in reader.read_clip(0)] == list(range(FRAMES))
    assert sorted(["b2", "a10", "10", "a9", "a"], key=by_number) == ["10", "a", "a9", "a10", "b2"]


def test_what_fits_is_decoded_once(video):
    reader = reader_of(video)
    first = reader.read(0, 12)[0]
    video.unlink()
    assert reader.read(0, 12)[0] is first
    assert number_of(reader.read(0, 12)[0]) == 12


def test_the_cache_keeps_to_its_size_and_to_what_was_asked_for_last(video):
    reader = reader_of(video, cache_gb=3.5 * 32 * 32 * 3 / 2**30)
    for frame in (4, 9, 17, 9, 2):
        assert number_of(reader.read(0, frame)[0]) == frame
    assert len(reader._cache) == 3
    video.unlink()
    assert number_of(reader.read(0, 9)[0]) == 9
    assert reader._cache.get(0, 4) is None


def test_few_videos_are_open_at_a_time(tmp_path, video):
    others = [shutil.copy(video, tmp_path / f"{number}.mp4") for number in range(OPEN_VIDEOS + 3)]
    reader = reader_of(*others, cache_gb=0)
    for frame in (3, 15):
        for clip in range(len(others)):
            assert number_of(reader.read(clip, frame)[0]) == frame
    assert sum(file._shown is not None for file in reader._videos.values()) == OPEN_VIDEOS


@pytest.mark.parametrize("open_videos", [1, OPEN_VIDEOS])
def test_threads_may_share_it(tmp_path, video, monkeypatch, open_videos):
    monkeypatch.setattr(clip_reader, "OPEN_VIDEOS", open_videos)
    others = [Path(shutil.copy(video, tmp_path / f"{number}.mp4")) for number in range(3)]
    reader = reader_of(video, write_folder(tmp_path / "two", FRAMES), *others, cache_gb=0)
    wanted = np.random.default_rng(0).integers([5, FRAMES], size=(200, 2)).tolist()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda row: number_of(reader.read(*row)[0]), wanted))
    assert found == [frame for _, frame in wanted]


def test_many_frames_come_in_the_order_asked_for_and_cost_one_walk_a_clip(tmp_path, video):
    reader = reader_of(video, write_folder(tmp_path / "two", FRAMES), cache_gb=0)
    rows = [(0, 9), (1, 4), (0, 2), (1, 19), (0, 9), (0, 6)]
    walked = []
    walk_to = reader._video(str(video)).walk_to
    reader._video(str(video)).walk_to = lambda frame: (walked.append(step[0]) or step for step in walk_to(frame))
    assert [number_of(rgb) for rgb, _ in reader.read_many(rows)] == [frame for _, frame in rows]
    assert walked == list(range(10))
    assert [number_of(rgb) for rgb, _ in reader.read_many([(0, 3)])] == [3]


def test_copies_share_the_frames_and_pickles_leave_them_behind(video):
    reader = reader_of(video)
    reader.read(0, 0)
    assert copy.deepcopy({"a": reader})["a"] is reader
    other = pickle.loads(pickle.dumps(reader))
    assert len(other._cache) == 0
    assert number_of(other.read(0, 3)[0]) == 3


def test_odd_and_oblong_pictures_become_square_and_that_is_said_once(tmp_path, capsys):
    write_folder(tmp_path / "one", 3)
    for frame in range(3):
        wide = np.pad(numbered(frame, 51, 51), ((0, 0), (15, 16), (0, 0)))
        cv2.imwrite(str(tmp_path / "one" / f"{frame:07d}.png"), wide)
    reader = ClipReader(ClipTable([Clip("one", str(tmp_path / "one"), 3)]), 33)
    assert [number_of(rgb) for rgb in reader.read_clip(0)] == [0, 1, 2]
    assert capsys.readouterr().out.count("82x51") == 1


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_masks_belong_to_frames_by_name_or_number(tmp_path, video, kind):
    clip = video if kind == "video" else write_folder(tmp_path / "two", FRAMES)
    masks = tmp_path / "masks"
    write_mask(masks / "0000003.png", 0.25)
    write_mask(masks / "0000010.png", 0.5)
    reader = reader_of(clip, mask=masks)
    assert reader.read(0, 2)[1] is None
    for frame, columns in ((3, 8), (10, 16)):
        mask = reader.read(0, frame)[1]
        assert mask.shape == (32, 32)
        assert (mask[:, :columns] == 255).all() and not mask[:, columns:].any()


def test_masks_of_all_frames_belong_to_them_in_order(tmp_path, video):
    for frame in range(FRAMES):
        write_mask(tmp_path / "masks" / f"m{frame}.png", (frame + 1) / 64, size=64)
    reader = reader_of(video, size=64, mask=tmp_path / "masks")
    assert [int((reader.read(0, frame)[1][0] > 0).sum()) for frame in range(FRAMES)] == list(range(1, FRAMES + 1))


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_video_can_be_the_mask(tmp_path, video, kind):
    clip = video if kind == "video" else write_folder(tmp_path / "two", FRAMES)
    reader = reader_of(clip, mask=write_video(tmp_path / "masks" / "one.mp4", FRAMES, options={"crf": "1"}))
    for frame in (13, 2, 19):
        rgb, mask = reader.read(0, frame)
        assert number_of(mask[..., None]) == number_of(rgb) == frame


def test_alpha_is_the_mask_where_no_other_is_given(tmp_path):
    folder = write_folder(tmp_path / "one", FRAMES)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:32] = 255
    for frame in range(10):
        cv2.imwrite(str(folder / f"{frame:07d}.png"), np.dstack([numbered(frame), alpha]))
    rgb, mask = reader_of(folder).read(0, 5)
    assert mask[:16].min() == 255 and not mask[16:].any() and not rgb[16:].any()
    assert reader_of(folder).read(0, 15)[1] is None
    write_mask(tmp_path / "masks" / "0000005.png")
    assert not reader_of(folder, mask=tmp_path / "masks").read(0, 5)[1][:, 16:].any()


def test_clips_that_went_away_or_changed_are_named(tmp_path, video):
    folder = write_folder(tmp_path / "two", FRAMES)
    reader = reader_of(video, folder, cache_gb=0)
    video.unlink()
    with pytest.raises(DataError, match="one.mp4"):
        reader.read(0, 0)
    (folder / "0000000.png").unlink()
    with pytest.raises(DataError, match="19 pictures"):
        reader.read(1, 0)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="two"):
        reader_of(folder).read(0, 0)
    with pytest.raises(DataError, match="frames 0 to 19"):
        reader_of(folder).read(0, 20)
