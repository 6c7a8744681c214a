"""How a picture looks: which output, in which colours, before which background."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Output = Literal["rgb", "depth", "normal", "canonical", "accumulation"]
OUTPUTS: tuple[Output, ...] = ("rgb", "depth", "normal", "canonical", "accumulation")
Background = Literal["white", "black", "colour", "picture", "transparent"]
BACKGROUNDS: tuple[Background, ...] = ("white", "black", "colour", "picture", "transparent")
_CHECKS = 24
"""Number of squares, along the picture's height, that stand for transparency."""


@dataclass(frozen=True, eq=False)
class Look:
    """What to show of what was rendered."""

    output: Output = "rgb"
    background: Background = "white"
    colour: tuple[int, int, int] = (120, 150, 190)
    """The background `colour`."""
    picture: UInt8[np.ndarray, "height width 3"] | None = None
    """The background `picture`; white until there is one."""


def _premultiplied_colours(
    outputs: dict[str, Tensor], output: Output
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 1"]]:
    """Colours of an output multiplied by the accumulation, and the accumulation.

    Args:
        outputs: (height, width, channels) each, as `InstantAvatarModel.render_pose` gives them.
        output: the one to show.
    """
    covered = outputs["accumulation"].clamp(0, 1)
    if output == "rgb":
        return outputs["premultiplied"], covered
    if output == "normal":
        return outputs["normal"], covered
    if output == "canonical":
        return outputs["canonical"].clamp(0, 1) * covered, covered
    if output == "accumulation":
        return covered.expand(*covered.shape[:2], 3), torch.ones_like(covered)
    return depth_colours(outputs["depth"], covered) * covered, covered


def paint(outputs: dict[str, Tensor], look: Look) -> UInt8[np.ndarray, "height width 3"]:
    """The picture that the page shows."""
    colours, covered = _premultiplied_colours(outputs, look.output)
    height, width = covered.shape[:2]
    behind = _background(look, height, width).to(colours.device)
    return _bytes(colours + (1 - covered) * behind)


def cut(outputs: dict[str, Tensor], look: Look) -> UInt8[np.ndarray, "height width 4"]:
    """The picture without a background: straight colours, and how opaque the person is."""
    colours, covered = _premultiplied_colours(outputs, look.output)
    return _bytes(torch.cat([colours / covered.clamp(min=1e-6), covered], -1))


def depth_colours(depth: Float[Tensor, "h w 1"], covered: Float[Tensor, "h w 1"]) -> Float[Tensor, "h w 3"]:
    """Turbo's colours, from the nearest point of the person, red, to the farthest."""
    solid = covered > 0.5
    if not bool(solid.any()):
        return torch.zeros(*depth.shape[:2], 3, device=depth.device)
    near, far = depth[solid].min(), depth[solid].max()
    share = 1 - ((depth[..., 0] - near) / (far - near).clamp(min=1e-6)).clamp(0, 1)
    return _turbo().to(depth.device)[(share * 255).long()]


@cache
def _turbo() -> Float[Tensor, "256 3"]:
    import matplotlib

    return torch.tensor(matplotlib.colormaps["turbo"](np.arange(256))[:, :3], dtype=torch.float32)


def _background(look: Look, height: int, width: int) -> Tensor:
    if look.background == "black":
        return torch.zeros(3)
    if look.background == "colour":
        return torch.tensor(look.colour) / 255
    if look.background == "picture" and look.picture is not None:
        return _filling(look.picture, height, width)
    if look.background == "transparent":
        row, column = torch.arange(height)[:, None], torch.arange(width)
        side = max(height / _CHECKS, 1.0)
        odd = ((row / side).long() + (column / side).long()) % 2
        return torch.where(odd == 1, 0.75, 0.95)[..., None].expand(height, width, 3)
    return torch.ones(3)


def _filling(picture: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> Float[Tensor, "height width 3"]:
    """The picture scaled until it fills the view, what is too much cut off on both sides."""
    source = torch.from_numpy(picture).permute(2, 0, 1).float()[None] / 255
    scale = max(height / source.shape[2], width / source.shape[3])
    size = max(round(source.shape[2] * scale), height), max(round(source.shape[3] * scale), width)
    large = torch.nn.functional.interpolate(source, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[top : top + height, left : left + width]


def _bytes(picture: Tensor) -> np.ndarray:
    return (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
