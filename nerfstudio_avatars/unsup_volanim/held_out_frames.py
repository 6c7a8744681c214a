"""Figures of reconstructed held-out frames."""

from __future__ import annotations

import math

from torch import Tensor

from nerfstudio_avatars.metrics.psnr import psnr
from nerfstudio_avatars.metrics.ssim import ssim

__all__ = ["held_out_figures"]


def held_out_figures(outputs: dict[str, Tensor], batch: dict[str, Tensor], has_masks: bool) -> dict[str, float]:
    """Compares a frame with the truth: L1, PSNR, SSIM and, with masks, the overlap of the object.

    Args:
        outputs: of the model, (height, width, channels) each.
        batch: the true frame, as `ClipFramesDataManager.next_eval_image` gives it.
        has_masks: whether the data have masks; if so, the overlap of a frame without one is NaN.
    """
    truth = batch["image"].to(outputs["rgb"].device)
    figures = {
        "l1": float((outputs["rgb"] - truth).abs().mean()),
        "psnr": float(psnr(outputs["rgb"], truth)),
        "ssim": float(ssim(outputs["rgb"], truth)),
    }
    if bool(batch["has_mask"]):
        ours, theirs = outputs["accumulation"][..., 0] > 0.5, batch["mask"][..., 0].to(truth.device) > 0.5
        figures["mask_iou"] = float((ours & theirs).sum() / (ours | theirs).sum().clamp_min(1))
    elif has_masks:
        figures["mask_iou"] = math.nan
    return figures
