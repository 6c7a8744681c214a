"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

IDENTICAL_DB = 100.0
"""PSNR of two identical pictures: finite, so that it can be averaged and written as JSON."""


def psnr(prediction: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> float:
    """-10 log10 of the mean squared error of two pictures in [0, 1], in decibels, at most `IDENTICAL_DB`."""
    mean_squared_error = (prediction - truth).square().mean().item()
    if mean_squared_error < 10 ** (-IDENTICAL_DB / 10):
        return IDENTICAL_DB
    return -10 * math.log10(mean_squared_error)
