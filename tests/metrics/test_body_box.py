"""The box around the body."""

import pytest
import torch

from nerfstudio_avatars.metrics.body_box import SMALLEST_SIDE, body_box


def _mask(rows, columns, size=(100, 80)):
    mask = torch.zeros(size)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = 1
    return mask


def test_it_is_tight_plus_the_margin():
    assert body_box(_mask((20, 60), (30, 55)), margin=4) == (slice(16, 64), slice(26, 59))


def test_it_stops_at_the_border():
    assert body_box(_mask((0, 60), (30, 80)), margin=4) == (slice(0, 64), slice(26, 80))


def test_half_transparent_pixels_are_no_body():
    mask = _mask((20, 60), (30, 55))
    mask[0, 0] = 0.4
    assert body_box(mask) == (slice(16, 64), slice(26, 59))


def test_a_picture_without_a_body_is_its_own_box():
    assert body_box(torch.zeros(30, 40)) == (slice(0, 30), slice(0, 40))


@pytest.mark.parametrize("start", [0, 1, 7, 40, 98, 99])
def test_small_boxes_grow_until_the_window_of_ssim_fits(start):
    rows, columns = body_box(_mask((start, start + 1), (0, 1)), margin=0)
    for extent, length in ((rows, 100), (columns, 80)):
        assert 0 <= extent.start < extent.stop <= length
        assert extent.stop - extent.start >= SMALLEST_SIDE
    assert rows.start <= start < rows.stop
