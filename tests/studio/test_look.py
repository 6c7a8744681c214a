"""How outputs become pictures."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars.studio.look import OUTPUTS, Look, cut, paint


@pytest.fixture
def outputs():
    """A pixel of red person, one half covered, one empty."""
    accumulation = torch.tensor([[[1.0], [0.5], [0.0]]])
    red = torch.tensor([1.0, 0.0, 0.0])
    return {
        "rgb": torch.rand(1, 3, 3),
        "premultiplied": accumulation * red,
        "accumulation": accumulation,
        "depth": torch.tensor([[[2.0], [3.0], [7.0]]]),
        "normal": 0.5 * accumulation.expand(1, 3, 3),
        "canonical": torch.full((1, 3, 3), 0.25),
    }


@pytest.mark.parametrize(
    ("background", "half", "empty"),
    [
        ("white", (255, 128, 128), (255, 255, 255)),
        ("black", (128, 0, 0), (0, 0, 0)),
        ("colour", (138, 10, 15), (20, 20, 30)),
    ],
)
def test_the_person_stands_before_the_background(outputs, background, half, empty):
    picture = paint(outputs, Look(background=background, colour=(20, 20, 30)))
    assert picture[0].tolist() == [[255, 0, 0], list(half), list(empty)]


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_ends_where_the_person_ends(outputs, output):
    picture = paint(outputs, Look(output=output, background="black"))
    assert picture.shape == (1, 3, 3) and picture.dtype == np.uint8
    assert picture[0, 2].tolist() == [0, 0, 0] and picture[0, 0].any()


def test_near_is_red_and_far_is_not(outputs):
    outputs["accumulation"] = torch.ones(1, 3, 1)
    near, _, far = paint(outputs, Look(output="depth"))[0].astype(int)
    assert near[0] > near[2] + 50 and far[2] > far[0]


def test_a_picture_fills_the_background_and_keeps_its_proportions(outputs):
    outputs = {name: torch.zeros(20, 10, value.shape[-1]) for name, value in outputs.items()}
    behind = np.zeros((10, 30, 3), np.uint8)
    behind[:, 10:20] = 255
    picture = paint(outputs, Look(background="picture", picture=behind))
    assert picture.shape == (20, 10, 3) and (picture > 250).mean() > 0.95


def test_a_cut_picture_has_straight_colours(outputs):
    picture = cut(outputs, Look())
    assert picture[0].tolist() == [[255, 0, 0, 255], [255, 0, 0, 128], [0, 0, 0, 0]]
