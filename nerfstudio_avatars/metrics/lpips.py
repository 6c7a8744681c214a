"""LPIPS with the AlexNet trunk, if the user has its weights; they are never downloaded."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

TRUNK = "alexnet-owt-7be5be79.pth"
"""Name of torchvision's file with its ImageNet AlexNet."""

logger = logging.getLogger(__name__)


def trunk_path() -> Path:
    """The path of the trunk, in torch hub's checkpoint folder (`TORCH_HOME` moves it)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / TRUNK


def lpips_alex(prediction: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> dict[str, float]:
    """Both figures that papers call LPIPS (Zhang et al. 2018, AlexNet), for pictures in [0, 1].

    Returns:
        `lpips_alex`: pictures scaled to [-1, 1], as the metric is defined. `lpips_alex_unnormalised`: pictures in
        [0, 1], which gives lower figures and is reported by InstantAvatar and Anim-NeRF. Without the trunk, the result
        is empty, which is logged once.
    """
    if not trunk_path().is_file():
        _say_trunk_is_absent(str(trunk_path()))
        return {}
    network = _network(str(trunk_path()), str(prediction.device))
    pair = [image.permute(2, 0, 1)[None].float().clamp(0, 1) for image in (prediction, truth)]
    with torch.no_grad():
        return {
            "lpips_alex": network(*(2 * image - 1 for image in pair)).item(),
            "lpips_alex_unnormalised": network(*pair).item(),
        }


@functools.lru_cache(maxsize=2)
def _network(_trunk: str, device: str) -> nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    # The metric object sums over calls; its bare network compares one pair.
    return LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(device)


@functools.lru_cache
def _say_trunk_is_absent(path: str) -> None:
    logger.warning(
        "LPIPS is left out, because its AlexNet trunk is not at %s. To add it, put torchvision's %s there. "
        "ST-LPIPS works offline: pip install 'nerfstudio-avatars[stlpips]'.",
        path,
        TRUNK,
    )
