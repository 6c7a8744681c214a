"""The training picture beside the avatar: sizes, colours and figures, with a stage that paints one colour."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.instant_avatar.data.frame_source import FrameSource
from nerfstudio_avatars.instant_avatar.data.person_scene import SplitPictures
from nerfstudio_avatars.studio.comparison import Comparison

HEIGHT, WIDTH = 60, 80
FRAMES = (3, 5, 9)
MATRIX = torch.tensor([[-1.0, 0, 0, 0.3], [0, 0, 1, 4.5], [0, 1, 0, 0.2]])


def read(frames):
    """A person in rows 10 to 49 and columns 30 to 59, whose red is ten times the frame."""
    for frame in frames:
        picture = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        picture[10:50, 30:60] = (10 * frame, 0, 0, 255)
        yield picture


class Stage:
    """Sees a person of half the opacity everywhere, red as in frame 5."""

    version = 0

    def __init__(self):
        cameras = Cameras(MATRIX.expand(3, 3, 4), 70.0, 72.0, 41.0, 29.0, WIDTH, HEIGHT)
        states = SimpleNamespace(state=torch.tensor)
        self.model = SimpleNamespace(person=SimpleNamespace(cameras=cameras), poses=states)
        self.cameras = cameras
        self.asked = []

    def draw(self, sight, state, height, width, stop):
        self.asked.append((sight, int(state), height, width))
        red = torch.tensor([50 / 255, 0.0, 0.0]).expand(height, width, 3)
        return {"premultiplied": red, "accumulation": torch.ones(height, width, 1)}


@pytest.fixture
def comparison(unchecked_types):
    stage = Stage()
    return Comparison(stage, SplitPictures(FrameSource(read, HEIGHT, WIDTH), FRAMES, ("training",) * 3)), stage


def test_the_nearest_training_picture_is_compared_at_its_own_size(comparison):
    comparison, stage = comparison
    picture = comparison.draw(6.4, 200, 400, lambda: False)
    assert picture.shape == (200, 400, 3) and comparison.frame == 5 and comparison.share == 1
    (_, frame, height, width), *others = stage.asked
    assert frame == 5 and not others
    # The person, and four pixels of room or a share of the picture around it.
    assert (height, width) == (40 + 2 * 3, 30 + 2 * 3)
    wrong = height * width - 40 * 30
    # Around the person the truth is white and the avatar is not.
    error = wrong * ((205 / 255) ** 2 + 2) / (3 * height * width)
    assert comparison.figure == pytest.approx(-10 * math.log10(error), abs=1e-3)
    middle = picture[100]
    left, centre, right = middle[66], middle[200], middle[333]
    assert np.abs(left - [50, 0, 0.0]).max() < 3 and np.abs(centre - [50, 0, 0.0]).max() < 3 and right.max() < 3


def test_a_rendering_of_a_part_sees_what_the_whole_camera_sees_there(comparison):
    comparison, stage = comparison
    comparison.draw(3.0, 200, 400, lambda: False)
    sight, _, height, width = stage.asked[0]
    part = sight.camera(height, width).generate_rays(0).directions
    whole = stage.cameras.generate_rays(0).directions
    top, left = 10 - 3, 30 - 3
    torch.testing.assert_close(part, whole[top : top + height, left : left + width])
    strips = torch.cat([camera.generate_rays(0).directions for camera in sight.strips(height, width, 200)])
    torch.testing.assert_close(strips, part)


def test_little_room_means_fewer_pixels_and_a_narrow_page_a_column(comparison):
    comparison, stage = comparison
    picture = comparison.draw(9.0, 90, 15, lambda: False)
    assert picture.shape == (90, 15, 3) and comparison.share == pytest.approx(math.sqrt(90 * 15 / (46 * 36)))
    assert stage.asked[-1][2] < 46
    column = picture[:, 7].astype(int)
    assert (np.abs(column - [90, 0, 0]).max(1) < 12).any() and (np.abs(column - [50, 0, 0]).max(1) < 12).any()


def test_nothing_is_drawn_twice(comparison):
    comparison, stage = comparison
    first = comparison.draw(5.0, 100, 200, lambda: False)
    assert comparison.draw(5.0, 100, 200, lambda: False) is first and len(stage.asked) == 1
    stage.version += 1
    comparison.draw(5.0, 100, 200, lambda: False)
    assert len(stage.asked) == 2
