"""ST-LPIPS, a shift-tolerant variant of LPIPS, which works offline because its weights come in a package.

Ghildyal and Liu 2022. It is another metric on another scale: never compare its figures with LPIPS. Only the weights of
`stlpips_pytorch` (BSD-2-Clause) are read; none of its code is imported.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

PACKAGE = "stlpips_pytorch"
WEIGHTS = Path("weights", "vST0.0", "alex_shift_tolerant.pth")

logger = logging.getLogger(__name__)


def weights_path() -> Path | None:
    """Path of the weights in the installed package, which is located but not imported; None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / WEIGHTS
    return path if path.is_file() else None


def st_lpips(prediction: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"]) -> dict[str, float]:
    """`st_lpips_alex` of two pictures in [0, 1]; empty, which is logged once, if the weights are missing."""
    path = weights_path()
    if path is None:
        _say_weights_are_absent()
        return {}
    weights = _load(str(path), str(prediction.device))
    images = torch.stack([prediction, truth]).permute(0, 3, 1, 2).float().clamp(0, 1)
    return {"st_lpips_alex": _perceptual_distance(2 * images - 1, weights).item()}


@torch.no_grad()
def _perceptual_distance(images: Float[Tensor, "2 3 height width"], weights: dict[str, Tensor]) -> Float[Tensor, ""]:
    """Distance of two pictures in [-1, 1]: weighted squared differences of unit feature vectors, summed over layers."""
    distance = images.new_zeros(())
    for layer, features in enumerate(_features(images, weights)):
        unit = features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
        difference = (unit[:1] - unit[1:]).square()
        distance = distance + functional.conv2d(difference, weights[f"lin{layer}.model.1.weight"]).mean()
    return distance


def _features(images: Float[Tensor, "2 3 height width"], weights: dict[str, Tensor]) -> Iterator[Tensor]:
    """The five feature maps of AlexNet, with every stride replaced by a blur and a reflected border of two pixels."""

    def convolve(x: Tensor, name: str, padding: int) -> Tensor:
        return functional.conv2d(x, weights[f"net.{name}.weight"], weights[f"net.{name}.bias"], padding=padding)

    def blur(x: Tensor, name: str) -> Tensor:
        kernel = weights[f"net.{name}.filt"]
        return functional.conv2d(functional.pad(x, (2,) * 4, mode="reflect"), kernel, stride=2, groups=x.shape[1])

    x = (images - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"]
    yield (x := blur(convolve(x, "slice1.0", 2), "slice1.1").relu())
    yield (x := convolve(blur(functional.max_pool2d(x, 3, 1), "slice2.4"), "slice2.5", 2).relu())
    yield (x := convolve(blur(functional.max_pool2d(x, 3, 1), "slice3.8"), "slice3.9", 1).relu())
    yield (x := convolve(x, "slice4.11", 1).relu())
    yield convolve(x, "slice5.13", 1).relu()


@functools.lru_cache(maxsize=2)
def _load(path: str, device: str) -> dict[str, Tensor]:
    # weights_only: a weights file of others is data; nothing in it may run.
    return torch.load(path, map_location=device, weights_only=True)


@functools.lru_cache
def _say_weights_are_absent() -> None:
    logger.warning(
        "ST-LPIPS is left out, because the package %s, which holds its weights, is not installed. To add it: "
        "pip install 'nerfstudio-avatars[stlpips]'.",
        PACKAGE,
    )
