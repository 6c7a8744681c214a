"""All figures of a picture. Each name says what was measured, over which pixels, on which background."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.metrics.body_box import body_box
from nerfstudio_avatars.metrics.lpips import lpips_alex
from nerfstudio_avatars.metrics.psnr import psnr
from nerfstudio_avatars.metrics.ssim import ssim
from nerfstudio_avatars.metrics.st_lpips import st_lpips

Background = Literal["white", "black"]
"""Backgrounds that papers evaluate on. The name of every figure includes it, because they cannot be compared."""

_BACKGROUND_VALUE = {"white": 1.0, "black": 0.0}


def composite(rgba: Float[Tensor, "height width 4"], background: Background) -> Float[Tensor, "height width 3"]:
    """Composites a picture with straight (not premultiplied) alpha on a plain background."""
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1 - alpha) * _BACKGROUND_VALUE[background]


@torch.no_grad()
def image_metrics(
    prediction: Float[Tensor, "height width 3"],
    truth_rgba: Float[Tensor, "height width 4"],
    background: Background = "white",
    perceptual: Literal["auto", "off"] = "auto",
    margin: int = 4,
) -> dict[str, float]:
    """Compares a rendered picture with the true one.

    Args:
        prediction: the rendered picture, already on the background, in [0, 1].
        truth_rgba: the true picture, as straight colour and mask, in [0, 1].
        background: the background behind the true picture, and the last word of every key.
        perceptual: "auto" adds LPIPS and ST-LPIPS if their weights are found, "off" leaves them out.
        margin: the distance that the box extends beyond the body, in pixels.

    Returns:
        For the background "white": `psnr_white`, `ssim_white` over the whole picture, `psnr_box_white`,
        `ssim_box_white` inside the body's box, and, whole picture, `lpips_alex_white`,
        `lpips_alex_unnormalised_white`, `st_lpips_alex_white` as available.
    """
    truth = composite(truth_rgba, background)
    prediction = prediction.to(truth).clamp(0, 1)
    rows, columns = body_box(truth_rgba[..., 3], margin)
    boxed = prediction[rows, columns], truth[rows, columns]
    figures = {
        "psnr": psnr(prediction, truth),
        "ssim": ssim(prediction, truth),
        "psnr_box": psnr(*boxed),
        "ssim_box": ssim(*boxed),
    }
    if perceptual == "auto":
        figures |= lpips_alex(prediction, truth) | st_lpips(prediction, truth)
    return {f"{name}_{background}": value for name, value in figures.items()}
