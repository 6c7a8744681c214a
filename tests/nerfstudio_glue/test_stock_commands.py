"""What nerfstudio's commands do differently for our methods, apart from reading runs."""

import pytest
import torch
from nerfstudio.cameras import camera_paths
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.nerfstudio_glue.stock_commands import move_between_cameras


@pytest.fixture
def path_between():
    stock = camera_paths.get_interpolated_camera_path
    move_between_cameras()
    move_between_cameras()
    assert camera_paths.get_interpolated_camera_path is not stock or hasattr(stock, "keeps_frames")
    yield camera_paths.get_interpolated_camera_path
    camera_paths.get_interpolated_camera_path = stock


def cameras(**metadata):
    matrices = torch.eye(4)[:3].repeat(3, 1, 1)
    matrices[:, 0, 3] = torch.tensor([0.0, 1.0, 2.0])
    numbers = {name: torch.tensor(values)[:, None] for name, values in metadata.items()}
    return Cameras(matrices, 20.0, 20.0, 8.0, 8.0, times=torch.tensor([[0.0], [0.5], [1.0]]), metadata=numbers)


def test_paths_between_cameras_take_frames_and_times_along(path_between):
    path = path_between(cameras(frame=[0, 10, 30]), 3, False)
    assert path.metadata["frame"].flatten().tolist() == [0, 5, 10, 10, 20, 30]
    assert path[4:5].metadata["frame"].tolist() == [[20.0]]
    assert path.times.flatten().tolist() == [0, 0.25, 0.5, 0.5, 0.75, 1]
    torch.testing.assert_close(path.camera_to_worlds[:, 0, 3], torch.tensor([0, 0.5, 1, 1, 1.5, 2]))


def test_between_two_clips_a_path_stays_in_the_first(path_between):
    path = path_between(cameras(clip=[4, 4, 7], frame=[0, 10, 30]), 3, False)
    assert path.metadata["clip"].flatten().tolist() == [4, 4, 4, 4, 4, 4]
    assert path.metadata["frame"].flatten().tolist() == [0, 5, 10, 10, 10, 10]


def test_cameras_without_frames_stay_as_nerfstudio_makes_them(path_between):
    path = path_between(cameras(), 2, False)
    assert path.metadata is None and len(path) == 4
