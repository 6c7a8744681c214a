"""Pixel centres and resizing against closed forms and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize, pixel_grid


def test_pixels_are_squares_between_the_pictures_edges():
    grid = pixel_grid(4)
    assert grid.shape == (4, 4, 2)
    torch.testing.assert_close(grid[0, :, 0], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    torch.testing.assert_close(grid[:, 1, 1], torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    assert (grid[1, :, 1] == grid[1, 0, 1]).all(), "x runs along rows, y across them"


def test_the_grid_is_grid_samples_own():
    picture = torch.rand(1, 2, 6, 6)
    same = torch.nn.functional.grid_sample(picture, pixel_grid(6)[None], align_corners=False)
    torch.testing.assert_close(same, picture)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_whole_factors_are_area_averages(size):
    picture = np.random.default_rng(0).random((16, 16, 3), np.float32)
    expected = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    small = antialiased_resize(torch.from_numpy(picture).permute(2, 0, 1)[None], size)
    torch.testing.assert_close(small[0].permute(1, 2, 0), torch.from_numpy(expected).reshape(size, size, 3))


def test_the_same_size_is_the_same_picture():
    picture = torch.rand(2, 3, 7, 7)
    assert antialiased_resize(picture, 7) is picture


@pytest.mark.parametrize("size", [3, 5, 12, 24])
def test_constants_stay_constant(size):
    torch.testing.assert_close(
        antialiased_resize(torch.full((1, 1, 12, 12), 0.3), size), torch.full((1, 1, size, size), 0.3)
    )


@pytest.mark.parametrize("size", [4, 6, 9, 10])
def test_things_stay_where_they_are(size):
    """A ramp of coordinates becomes the smaller picture's coordinates, except at the edge of uneven factors."""
    ramp = pixel_grid(12).permute(2, 0, 1)[None]
    inner = slice(1, -1)
    small = antialiased_resize(ramp, size)[..., inner, inner]
    torch.testing.assert_close(small, pixel_grid(size).permute(2, 0, 1)[None, :, inner, inner], atol=0.02, rtol=0)


def test_fine_stripes_turn_grey_instead_of_aliasing():
    stripes = (torch.arange(30) % 2).float().expand(1, 1, 30, 30)
    for size in (15, 10, 7):
        grey = antialiased_resize(stripes, size)[..., 1:-1]
        assert (grey - 0.5).abs().max() < 0.2
    assert (antialiased_resize(stripes, 15) == 0.5).all()
