"""What shows how good an avatar is: a small copy of the video, and one picture as every training shows it."""

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.avatars.results import VIDEO, compare_looks, next_commands, show_video
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.picture_files import read_picture, write_png
from nerfstudio_avatars.media.video_file import VideoFile
from nerfstudio_avatars.media.video_index import probe_video


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(60):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((120, 80, 3), 4 * number, np.uint8))
    return folder


def test_the_videos_copy_is_small_and_plays_at_the_videos_speed(pictures, tmp_path):
    show_video(pictures, tmp_path, 60, (0.0, None))
    facts = probe_video(tmp_path / VIDEO)
    assert facts.frames / facts.fps == pytest.approx(2.0, abs=0.06)  # Pictures count as 30 a second.
    assert VideoFile(tmp_path / VIDEO).size() == (60, 40)
    last = VideoFile(tmp_path / VIDEO).picture(facts.frames - 1).rgb
    assert last.mean() == pytest.approx(4 * 59, abs=8)


def test_only_the_part_that_is_used_is_shown(pictures, tmp_path):
    show_video(pictures, tmp_path, 60, (1.0, 1.5))
    facts = probe_video(tmp_path / VIDEO)
    assert facts.frames / facts.fps == pytest.approx(0.5, abs=0.1)
    assert VideoFile(tmp_path / VIDEO).picture(0).rgb.mean() == pytest.approx(120, abs=8)


def strip(truth, shown):
    """Truth, rendering and error side by side, on white; a person of 20 x 10 pixels in each."""
    row = np.full((3, 60, 40, 3), 255, np.uint8)
    row[0, 20:40, 15:25], row[1, 20:40, 15:25] = truth, shown
    row[2] = 0
    return np.concatenate(list(row), 1)


def test_looks_are_the_same_cut_of_truth_and_of_every_training(tmp_path):
    folders = [tmp_path / "short", tmp_path / "long"]
    for folder, shade in zip(folders, (100, 60), strict=True):
        folder.mkdir()
        write_png(folder / "novel_view-000003.png", strip(50, shade))
    compare_looks(folders, tmp_path)
    looks = [read_picture(tmp_path / "looks" / f"{number}.png").rgb for number in range(3)]
    assert [look.min() for look in looks] == [50, 100, 60]
    for look in looks:
        assert look.shape == (27, 17, 3) and (look < 255).any(-1).sum() == 200


def test_without_held_out_pictures_it_is_told(tmp_path):
    with pytest.raises(UserError, match="no held-out picture"):
        compare_looks([tmp_path], tmp_path)


def test_names_with_spaces_can_be_pasted():
    assert all("'my video" in line for line in next_commands("my video.avatar", "my video"))
