"""Clips that belong to no data set."""

import cv2
import numpy as np
import pytest
import torch
from clip_files import number_of, numbered, write_folder, write_video

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.loose_clip import read_loose_clip


def numbers(frames):
    return [number_of(frame) for frame in frames.numpy()]


def test_a_video_is_read_whole_with_its_rate(tmp_path):
    frames, fps = read_loose_clip(write_video(tmp_path / "a.mp4", 13), 32)
    assert frames.shape == (13, 32, 32, 3) and frames.dtype == torch.uint8 and fps == 25
    assert numbers(frames) == list(range(13))


def test_endings_may_be_shouted(tmp_path):
    write_video(tmp_path / "a.mp4", 3).rename(tmp_path / "A.MP4")
    assert len(read_loose_clip(tmp_path / "A.MP4", 32)[0]) == 3


def test_a_folder_of_pictures_is_a_clip(tmp_path):
    frames, fps = read_loose_clip(write_folder(tmp_path / "clip", 7), 64)
    assert numbers(frames) == list(range(7)) and fps == 25


def test_one_picture_is_a_clip_of_one_frame(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), numbered(77))
    frames, _ = read_loose_clip(tmp_path / "a.png", 48)
    assert frames.shape == (1, 48, 48, 3) and numbers(frames) == [77]


def test_as_many_seconds_are_read_as_are_wanted(tmp_path):
    folder = write_folder(tmp_path / "clip", 7)
    assert numbers(read_loose_clip(folder, 64, 0.12)[0]) == [0, 1, 2]
    assert len(read_loose_clip(folder, 64, 0.001)[0]) == 1
    assert len(read_loose_clip(folder, 64, 60)[0]) == 7


def test_the_middle_square_is_taken(tmp_path):
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = 255
    cv2.imwrite(str(tmp_path / "wide.png"), picture)
    frames, _ = read_loose_clip(tmp_path / "wide.png", 20)
    assert (frames == 255).all()


def test_what_is_no_clip_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for name, found in (
        ("empty", "a folder without pictures"),
        ("missing.mp4", "no such file"),
        ("notes.txt", "the ending .txt"),
        ("broken.mp4", "broken.mp4"),
    ):
        with pytest.raises(DataError, match=found):
            read_loose_clip(tmp_path / name, 32)
