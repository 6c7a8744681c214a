"""Compares the colours of a body's skin between the frames of a video, by which its poses are told more exactly.

Photometric consistency, as in direct bundle adjustment (Alismail et al. 2016): each vertex has one colour, whatever it
is, and in right poses every frame that shows it shows that colour. Unlike outlines, this tells how limbs are twisted
and how deep they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from nerfstudio_avatars.media.rasteriser import rasterise
from nerfstudio_avatars.media.vertex_normals import vertex_normals

_TALL = 360
"""Height in pixels of the person at which colours are compared; larger pictures are shrunk."""
_DIFFERENT = 0.1
"""Difference of colours (0 to 1) above which a frame shows something else than the skin, or other light."""
_LEAST_FACING = 0.25
"""Cosine of the angle between the skin's normal and the camera, below which colours are those of the outline."""
_BEFORE = 0.02
"""Distance in metres by which other skin has to be nearer to the camera to hide a vertex."""
_INSIDE = 0.9
"""Share of the person in a blurred mask above which a colour is not that of the outline."""


class SkinColours:
    """The pictures of a video, in which places of the skin are looked up.

    Args:
        pictures: of one size.
        masks: share of each pixel that shows the person, from 0 to 255.
        faces: triangles of the body.
        compared: the vertices whose colours are compared.
    """

    def __init__(
        self,
        pictures: Sequence[UInt8[np.ndarray, "height width 3"]],
        masks: Sequence[UInt8[np.ndarray, "height width"]],
        faces: Int[np.ndarray, "faces 3"],
        compared: Int[Tensor, " s"],
    ) -> None:
        tall = max(int(np.ptp(np.flatnonzero((mask > 0).any(1)))) + 1 for mask in masks)
        self._scale = min(_TALL / tall, 1.0)
        self._size = tuple(round(side * self._scale) for side in masks[0].shape)
        self._masked = [_premultiplied(*pair, self._size) for pair in zip(pictures, masks, strict=True)]
        self._faces, self._compared = faces, compared
        self._images = torch.empty(0)
        self._facing = torch.empty(0)

    def look(
        self, vertices: Float[np.ndarray, "frames vertices 3"], intrinsic: Float[np.ndarray, "3 3"], blur: float
    ) -> None:
        """Finds which places of the skin each frame shows, and blurs the pictures.

        Args:
            vertices: of the body in each frame, metres, in camera axes.
            intrinsic: in pixels of the pictures; the centre of the first pixel is at one half.
            blur: standard deviation in metres on the person. Errors of poses up to some twice as large are seen.
        """
        camera = np.diag([self._scale, self._scale, 1.0]) @ intrinsic
        sigma = blur * camera[0, 0] / float(vertices[..., 2].mean())
        self._images = torch.stack([_blurred(one, sigma) for one in self._masked])
        camera[:2, 2] -= 0.5
        facing = [self._facing_camera(one, camera) for one in vertices.astype(np.float64)]
        self._facing = torch.from_numpy(np.stack(facing)).float()

    def _facing_camera(
        self, vertices: Float[np.ndarray, "vertices 3"], camera: Float[np.ndarray, "3 3"]
    ) -> Float[np.ndarray, " s"]:
        """Cosine of the angle at which the camera sees each compared vertex; 0 if it does not."""
        height, width = self._size
        depth = rasterise(vertices, self._faces, camera, width, height).depth
        chosen = vertices[self._compared]
        towards = -chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        cosine = (vertex_normals(vertices, self._faces)[self._compared] * towards).sum(1)
        pixels = np.rint((chosen @ camera.T)[:, :2] / chosen[:, 2:]).astype(int)
        inside = ((pixels >= 0) & (pixels < [width, height])).all(1)
        column, row = pixels.clip(0, [width - 1, height - 1]).T
        seen = inside & (cosine > _LEAST_FACING) & (chosen[:, 2] < depth[row, column] + _BEFORE)
        return np.where(seen, cosine, 0.0)

    def disagreement(self, places: Float[Tensor, "frames s 2"]) -> Float[Tensor, ""]:
        """How much colours of the same places of the skin differ between frames, from 0 to 1, with gradient.

        Args:
            places: of the compared vertices, as shares of the pictures' width and height.
        """
        grid = 2 * places[:, None] - 1
        found = F.grid_sample(self._images, grid, padding_mode="border", align_corners=False)[:, :, 0]
        colours, share = found[:, :3], found[:, 3].detach()
        weight = self._facing * (share > _INSIDE)
        mean = (weight[:, None] * colours).sum(0) / weight.sum(0).clamp(min=1e-6)
        square = (colours - mean).square().sum(1)
        return (weight * square / (square + _DIFFERENT**2)).sum() / weight.sum().clamp(min=1e-6)


def _premultiplied(
    picture: UInt8[np.ndarray, "tall wide 3"], mask: UInt8[np.ndarray, "tall wide"], size: tuple[int, ...]
) -> UInt8[np.ndarray, "height width 4"]:
    """Colours times the mask, and the mask, shrunk."""
    colours = (picture.astype(np.uint16) * mask[..., None] // 255).astype(np.uint8)
    return cv2.resize(np.dstack([colours, mask]), size[::-1], interpolation=cv2.INTER_AREA)


def _blurred(masked: UInt8[np.ndarray, "height width 4"], sigma: float) -> Float[Tensor, "4 height width"]:
    """Straight colours and mask, from 0 to 1, blurred without what is outside the mask."""
    wide = cv2.GaussianBlur(masked.astype(np.float32) / 255, (0, 0), max(sigma, 0.3))
    wide[..., :3] /= np.maximum(wide[..., 3:], 0.05)
    return torch.from_numpy(wide).permute(2, 0, 1)
