"""The figures' names and what they measure."""

import pytest
import torch

from nerfstudio_avatars.metrics.image import composite, image_metrics


@pytest.fixture
def body():
    """A grey rectangle, opaque, in a transparent picture whose hidden colour is garbage."""
    rgba = torch.rand(80, 60, 4)
    rgba[..., 3] = 0
    rgba[20:60, 20:40, :3] = 0.5
    rgba[20:60, 20:40, 3] = 1
    return rgba


@pytest.mark.parametrize("background", ["white", "black"])
def test_every_key_ends_with_the_background(body, background):
    figures = image_metrics(composite(body, background), body, background, perceptual="off")
    assert set(figures) == {f"{name}_{background}" for name in ("psnr", "ssim", "psnr_box", "ssim_box")}
    assert all(isinstance(value, float) for value in figures.values())


def test_hidden_colour_does_not_count(body):
    assert image_metrics(composite(body, "white"), body, perceptual="off")["psnr_white"] == 100


def test_an_error_on_the_body_weighs_more_inside_its_box(body):
    prediction = composite(body, "white")
    prediction[20:60, 20:40] += 0.1
    figures = image_metrics(prediction, body, perceptual="off")
    whole, box = 80 * 60, 48 * 28
    expected_gap = 10 * torch.log10(torch.tensor(whole / box)).item()
    assert figures["psnr_white"] - figures["psnr_box_white"] == pytest.approx(expected_gap, abs=1e-3)
    assert figures["ssim_box_white"] < figures["ssim_white"]


def test_soft_alpha_is_composited_once():
    rgba = torch.tensor([0.2, 0.4, 0.6, 0.5]).expand(4, 4, 4)
    torch.testing.assert_close(composite(rgba, "white")[0, 0], torch.tensor([0.6, 0.7, 0.8]))
    torch.testing.assert_close(composite(rgba, "black")[0, 0], torch.tensor([0.1, 0.2, 0.3]))
