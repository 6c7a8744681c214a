"""SSIM against torchmetrics' default."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from nerfstudio_avatars.metrics.ssim import ssim


@pytest.mark.parametrize("size", [(64, 48), (12, 90), (6, 7)])
def test_it_is_torchmetrics_default(size):
    truth = torch.rand(*size, 3)
    prediction = (truth + 0.2 * torch.randn(*size, 3)).clamp(0, 1)
    as_batch = [image.permute(2, 0, 1)[None] for image in (prediction, truth)]
    expected = structural_similarity_index_measure(*as_batch, data_range=1.0).item()
    assert ssim(prediction, truth) == pytest.approx(expected, abs=2e-5)


def test_identical_pictures_are_one():
    image = torch.rand(30, 30, 3)
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-5)


def test_a_picture_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="more than 5 pixels"):
        ssim(torch.zeros(5, 40, 3), torch.zeros(5, 40, 3))
