"""PSNR against its closed form and torchmetrics."""

import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from nerfstudio_avatars.metrics.psnr import IDENTICAL_DB, psnr


def test_a_constant_offset_has_the_closed_form_of_its_size():
    truth = torch.rand(20, 30, 3) * 0.5
    assert psnr(truth + 0.1, truth) == pytest.approx(-20 * math.log10(0.1), abs=1e-4)


def test_it_is_torchmetrics_figure():
    prediction, truth = torch.rand(2, 40, 25, 3)
    assert psnr(prediction, truth) == pytest.approx(
        peak_signal_noise_ratio(prediction, truth, data_range=1.0).item(), abs=1e-4
    )


def test_identical_pictures_get_a_finite_figure():
    assert psnr(torch.ones(8, 8, 3), torch.ones(8, 8, 3)) == IDENTICAL_DB
