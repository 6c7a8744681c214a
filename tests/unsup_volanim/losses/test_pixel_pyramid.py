"""The pixel pyramid against closed forms and scipy's box filter."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from nerfstudio_avatars.unsup_volanim.losses.pixel_pyramid import halve, pixel_pyramid_loss


def test_a_constant_offset_counts_once_a_size():
    target = torch.rand(2, 16, 24, 3, dtype=torch.float64)
    loss = pixel_pyramid_loss(target + 0.25, target, scales=4)
    torch.testing.assert_close(loss, torch.tensor(1.0, dtype=torch.float64))


def test_a_chequerboard_is_seen_at_the_full_size_only():
    board = torch.arange(16)[:, None] + torch.arange(16)
    rendered = (board % 2).double()[None, :, :, None].expand(1, 16, 16, 3)
    flat = torch.full((1, 16, 16, 3), 0.5, dtype=torch.float64)
    assert pixel_pyramid_loss(rendered, flat, scales=3).item() == pytest.approx(0.5)


def test_halving_is_scipys_box_filter():
    image = torch.rand(1, 2, 12, 10, dtype=torch.float64)
    boxed = ndimage.uniform_filter(image[0].numpy(), size=(1, 2, 2), origin=(0, -1, -1))[:, ::2, ::2]
    torch.testing.assert_close(halve(image)[0], torch.from_numpy(boxed.copy()))


def test_gradient_reaches_the_rendered_pictures_only():
    rendered, target = torch.rand(2, 1, 8, 8, 3).unbind(0)
    rendered.requires_grad_(), target.requires_grad_()
    pixel_pyramid_loss(rendered, target, scales=2).backward()
    assert rendered.grad is not None and rendered.grad.abs().sum() > 0 and target.grad is None


@pytest.mark.parametrize("scales", [0, 4])
def test_sizes_that_do_not_exist_are_refused(scales):
    with pytest.raises(ValueError, match="4x9 pixels"):
        pixel_pyramid_loss(torch.zeros(1, 4, 9, 3), torch.zeros(1, 4, 9, 3), scales=scales)
