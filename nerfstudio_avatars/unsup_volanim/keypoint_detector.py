"""Predicts the 2D keypoints of every part from a picture."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize, pixel_grid


@dataclass
class KeypointDetectorConfig:
    """Options of the keypoint network."""

    input_size: int = 64
    """Side length in pixels of the square picture that the detector is given, and of its heat maps."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Numbers of channels to use on the way down; each entry halves the resolution."""
    head: int = 7
    """Kernel size of the last convolution, given in pixels."""
    temperature: float = 0.1
    """Temperature to divide the logits of the heat maps by; smaller values make peaks sharper."""
    norm: str = "batch"
    """Normalisation to use: `batch`, as in the paper, or `group`, which suits batches with few identities."""
    positional_bias: float = 0.0
    """Width of the initial peaks of the heat maps, around the keypoints of an unmoved object, in half pictures.
    With 0, there are no such peaks, as in the paper."""


class KeypointDetector(nn.Module):
    """An hourglass with skip connections and a soft-argmax (Unsupervised Volumetric Animation, section 3.2)."""

    grid: Tensor

    def __init__(self, config: KeypointDetectorConfig, keypoints: Float[Tensor, "parts points 2"]) -> None:
        """Args:
        keypoints: positions of the keypoints of an unmoved object, for the positional bias.
        """
        super().__init__()
        self.config = config
        self.parts, self.points = keypoints.shape[:2]
        widths = (3, *config.widths)
        self.down = nn.ModuleList(_Convolution(i, o, config.norm) for i, o in zip(widths[:-1], widths[1:], strict=True))
        narrowing = [max(width // 2, config.widths[0] // 2) for width in reversed(config.widths)]
        wide, self.up = widths[-1], nn.ModuleList()
        for narrow, skip in zip(narrowing, reversed(widths[:-1]), strict=True):
            self.up.append(_Convolution(wide, narrow, config.norm))
            wide = narrow + skip
        self.head = nn.Conv2d(wide, self.parts * self.points, config.head, padding=config.head // 2)
        grid = pixel_grid(config.input_size)
        if config.positional_bias > 0:
            distance = (grid.flatten(0, 1) - keypoints.flatten(0, 1)[:, None]).square().sum(-1)
            # The output is small at first, so that the peaks stay where they should be.
            nn.init.normal_(self.head.weight, std=1e-3)
            nn.init.zeros_(self._head_bias)
            self.bias: nn.Parameter | None = nn.Parameter(-distance / (2 * config.positional_bias**2))
        else:
            self.bias = None
        self.register_buffer("grid", grid.flatten(0, 1), persistent=False)

    @property
    def _head_bias(self) -> Tensor:
        assert self.head.bias is not None
        return self.head.bias

    def per_part(self) -> list[Tensor]:
        """Parameters whose rows belong to one part after the other."""
        return [self.head.weight, self._head_bias] + ([] if self.bias is None else [self.bias])

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], parts: int | None = None
    ) -> Float[Tensor, "batch parts points 2"]:
        """Keypoints of the first parts (by default all): x right, y down, with picture edges at -1 and 1."""
        parts = parts or self.parts
        rows = parts * self.points
        x = antialiased_resize(images, self.config.input_size)
        skips = []
        for down in self.down:
            skips.append(x)
            x = F.avg_pool2d(down(x), 2)
        for up in self.up:
            x = torch.cat([up(F.interpolate(x, scale_factor=2, mode="nearest")), skips.pop()], 1)
        logits = F.conv2d(x, self.head.weight[:rows], self._head_bias[:rows], padding=self.config.head // 2)
        # Positions need more digits than bfloat16 has, where that is what layers are computed in.
        logits = logits.float().flatten(2) / self.config.temperature
        if self.bias is not None:
            logits = logits + self.bias[:rows]
        here = logits.device.type
        with torch.autocast(here, enabled=False) if here in ("cpu", "cuda") else nullcontext():
            return (logits.softmax(-1) @ self.grid).unflatten(1, (parts, self.points))


class _Convolution(nn.Sequential):
    def __init__(self, wide: int, narrow: int, norm: str) -> None:
        group = nn.GroupNorm(math.gcd(narrow, 8), narrow)
        super().__init__(
            nn.Conv2d(wide, narrow, 3, padding=1), nn.BatchNorm2d(narrow) if norm == "batch" else group, nn.ReLU()
        )
