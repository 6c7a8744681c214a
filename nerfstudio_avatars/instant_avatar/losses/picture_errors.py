"""Errors of rendered rays: colours on a random background, and the silhouette."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from nerfstudio_avatars.instant_avatar.rendering.compositing import over


def picture_errors(
    premultiplied: Float[Tensor, "rays 3"],
    accumulation: Float[Tensor, "rays 1"],
    truth: Float[Tensor, "rays 4"],
    huber_delta: float,
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 1"]]:
    """The robust error of colours, and the squared error between accumulation and mask.

    Each ray has a random background of its own, so that rays learn to be clear where the mask is empty.

    Args:
        premultiplied: rendered colours, multiplied by the accumulation.
        accumulation: how opaque the rays are.
        truth: straight colours, and the mask.
        huber_delta: colour difference above which the error grows linearly.
    """
    mask, background = truth[:, 3:], torch.rand_like(premultiplied)
    prediction = over(premultiplied, accumulation, background)
    target = over(truth[:, :3] * mask, mask, background)
    colour = F.huber_loss(prediction, target, delta=huber_delta, reduction="none") / huber_delta
    return colour, F.mse_loss(accumulation, mask, reduction="none")
