"""Pictures of Gaussian splats, as viewers draw them, differentiable (Kerbl et al. 2023; on the CPU).

Splats are blurred by less than a pixel, and made fainter by as much as that makes them larger (Yu et al. 2024). Spark
does the same, and SPZ calls it `antialiased`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.export import _numba_splats

_BLUR = 0.3
"""Added to the variance of splats in the picture, squared pixels."""
_NEAREST = 0.05
"""Metres before the camera at which splats begin to be seen."""


class Flat(NamedTuple):
    """Splats in the plane of a picture."""

    places: Float[Tensor, "splats 2"]
    """Pixels, whose centres are at whole numbers."""
    spreads: Float[Tensor, "splats 3"]
    """Covariances after the blur: xx, xy, yy."""
    opacities: Float[Tensor, " splats"]
    depths: Float[Tensor, " splats"]
    """Metres along the optical axis."""


def flattened(
    centres: Float[Tensor, "splats 3"],
    axes: Float[Tensor, "splats 3 3"],
    opacities: Float[Tensor, " splats"],
    camera: Cameras,
) -> Flat:
    """Splats as a camera sees them (Zwicker et al. 2001).

    Args:
        centres: in the world, metres.
        axes: by columns; a splat's covariance is axes @ axes.T.
        opacities: 0 to 1.
        camera: one of nerfstudio's, without distortion.
    """
    pose = camera.camera_to_worlds.reshape(-1, 3, 4)[0].to(centres)
    to_camera = pose[:, :3].T * pose.new_tensor([1, -1, -1])[:, None]
    seen = (centres - pose[:, 3]) @ to_camera.T
    depth = seen[:, 2].clamp(min=_NEAREST)
    focal = torch.stack([camera.fx.flatten()[0], camera.fy.flatten()[0]]).to(centres)
    # nerfstudio's pixels have their centres at halves.
    middle = torch.stack([camera.cx.flatten()[0], camera.cy.flatten()[0]]).to(centres) - 0.5
    slope = seen[:, :2] / depth[:, None]
    axes = to_camera @ axes
    flat = focal[:, None] * (axes[:, :2] - slope[:, :, None] * axes[:, 2:]) / depth[:, None, None]
    spread = flat @ flat.mT
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    sharp = (xx * yy - xy * xy).clamp(min=1e-9)
    xx, yy = xx + _BLUR, yy + _BLUR
    fainter = (sharp / (xx * yy - xy * xy)).sqrt()
    return Flat(slope * focal + middle, torch.stack([xx, xy, yy], -1), opacities * fainter, seen[:, 2])


def picture(flat: Flat, colours: Float[Tensor, "splats 3"], height: int, width: int) -> Float[Tensor, "height width 4"]:
    """Splats over one another, nearest first: premultiplied colours and coverage, 0 to 1, with gradients.

    Args:
        flat: in the plane of the picture.
        colours: 0 to 1.
        height: pixels.
        width: pixels.
    """
    xx, xy, yy = flat.spreads.unbind(-1)
    conics = torch.stack([yy, -xy, xx], -1) / (xx * yy - xy * xy)[:, None]
    reach = (_numba_splats.REACH * flat.spreads[:, [0, 2]].detach()).sqrt()
    order = flat.depths.detach().argsort()
    order = order[(flat.depths > _NEAREST)[order] & (flat.opacities >= _numba_splats.FAINTEST)[order]]
    drawn = _Composed.apply(order, reach, flat.places, conics, colours, flat.opacities, height, width)
    return torch.cat([drawn[..., :3], 1 - drawn[..., 3:]], -1)


class _Composed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, order: Tensor, reach: Tensor, places: Tensor, conics: Tensor, colours: Tensor,
                opacities: Tensor, height: int, width: int) -> Tensor:  # fmt: skip
        drawn, last = torch.empty(height, width, 4), torch.empty(height, width, dtype=torch.int32)
        kept = [one.detach().contiguous() for one in (order, places, reach, conics, colours, opacities)] + [drawn, last]
        _numba_splats.compose(*(one.numpy() for one in kept))
        ctx.save_for_backward(*kept)
        return drawn

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor | None, ...]:
        arrays = [one.numpy() for one in (*ctx.saved_tensors, wanted[0].contiguous())]
        found = torch.from_numpy(_numba_splats.gradients(*arrays))
        return None, None, found[:, :2], found[:, 2:5], found[:, 5:8], found[:, 8], None, None
