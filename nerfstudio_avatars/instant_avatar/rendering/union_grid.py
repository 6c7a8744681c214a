"""The paper's occupancy grid: one for all frames, in the frame of the body's root.

InstantAvatar takes the global motion out of the rays, so a single grid can hold the union of all poses seen so far:
densities of the current pose enter by a maximum, old ones fade. nerfacc's `OccGridEstimator.update_every_n_steps` is
close but does not fit: it queries without gradient (the regulariser of `losses/occupancy_regulariser.py` needs it, and
a second query would double the cost), refreshes only a part of the cells after its warm-up, and knows neither the
dilation nor the largest component; its marching needs CUDA. What remains is short enough to write here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.instant_avatar.dynamic_sizes import Program
from nerfstudio_avatars.instant_avatar.rendering.ray_march import marching_points

_ROOT_FRAME_BOX = ((-1.25, -1.55, -1.25), (1.25, 0.95, 1.25))
"""Corners of the paper's grid in metres, relative to SMPL's origin (y up); the rest pelvis is 0.2 m below that."""


class UnionGrid(nn.Module):
    """Occupied cells of the space around the root, over all poses seen. All state lies in buffers."""

    aabb: Tensor
    cached: Tensor
    occupied: Tensor

    def __init__(
        self,
        aabb: tuple[tuple[float, float, float], tuple[float, float, float]] = _ROOT_FRAME_BOX,
        resolution: int = 64,
        decay: float = 0.8,
        opacity_step: float = 0.01,
        threshold: float = 0.01,
    ) -> None:
        """Starts empty: update it before the first march.

        Args:
            aabb: lower and upper corner in the root frame, in metres.
            resolution: cells per axis.
            decay: share of a cell's density that is left after an update that does not see it.
            opacity_step: path length in metres that converts density to opacity.
            threshold: opacity above which a cell is occupied; the mean opacity of the grid is used if it is lower.
        """
        super().__init__()
        self.resolution, self.decay = resolution, decay
        self.opacity_step, self.threshold = opacity_step, threshold
        shape = (resolution,) * 3
        self.register_buffer("aabb", torch.tensor(aabb))
        self.register_buffer("cached", torch.zeros(shape))
        self.register_buffer("occupied", torch.zeros(shape, dtype=torch.bool))

    def sample_cells(self, generator: torch.Generator | None = None) -> Float[Tensor, "cells 3"]:
        """One uniformly random point in each cell (order x, y, z), in metres in the root frame."""
        axis = torch.arange(self.resolution, device=self.aabb.device)
        corners = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        jitter = torch.rand(corners.shape, generator=generator, device=corners.device)
        return self.aabb[0] + (corners + jitter) * self._cell_size()

    @torch.no_grad()
    def update(self, density: Float[Tensor, " cells"]) -> Bool[Tensor, "x y z"]:
        """Takes in the densities at `sample_cells` in the current pose.

        Returns:
            The occupied cells before the update, which the regulariser needs once the grid has settled.
        """
        before = self.occupied.clone()
        self.cached.copy_(torch.maximum(self.cached * self.decay, density.reshape(self.cached.shape).clamp(min=0)))
        self.occupied.copy_(self.threshold_cells(self.cached))
        return before

    @torch.no_grad()
    def replace(self, density: Float[Tensor, " cells"]) -> None:
        """Forgets all other poses, as the paper does for a single image, and takes the maximum of several samples."""
        self.cached.zero_()
        self.update(density)

    def threshold_cells(self, density: Float[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
        """Dense cells and their neighbours in the largest component, or all cells if there are none."""
        opacity = dilate(1 - torch.exp(-self.opacity_step * density))
        cells = opacity > opacity.mean().clamp(max=self.threshold)
        return largest_component(cells) if cells.any() else torch.ones_like(cells)

    def is_occupied(self, x_root: Float[Tensor, "*points 3"]) -> Bool[Tensor, "*points"]:
        """Whether points are in occupied cells; beyond the box, the nearest border cell counts, as in the paper."""
        cell = ((x_root - self.aabb[0]) / self._cell_size()).floor().long().clamp(0, self.resolution - 1)
        return self.occupied[cell[..., 0], cell[..., 1], cell[..., 2]]

    def _cell_size(self) -> Float[Tensor, "3"]:
        return (self.aabb[1] - self.aabb[0]) / self.resolution


def marching_union(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    jitter: Float[Tensor, " rays"],
    step: float,
    transforms: Float[Tensor, "joints 4 4"],
    grid: UnionGrid,
) -> Program[tuple[Int[Tensor, " samples"], Float[Tensor, " samples"]]]:
    """Program: samples in occupied cells, within the paper's shell: one metre about the root, seen from the camera.

    Args:
        directions: unit vectors.
        transforms: transforms from canonical space to the pose; that of the root gives the root frame.
    """
    to_root = torch.linalg.inv(transforms[0].detach())
    centre = transforms[0, :3, 3].detach()
    distance = (origins - centre).norm(dim=-1)

    def is_occupied(x: Tensor) -> Tensor:
        return grid.is_occupied(x @ to_root[:3, :3].T + to_root[:3, 3])

    near = (distance - 1).clamp(min=0)
    far, longest = distance + 1, 2.0
    return (yield from marching_points(origins, directions, near, far, longest, jitter, step, is_occupied))


def dilate(cells: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Maximum over each cell's 3x3x3 neighbourhood."""
    spread = cells[None, None]
    for kernel in ((3, 1, 1), (1, 3, 1), (1, 1, 3)):
        spread = F.max_pool3d(spread, kernel, stride=1, padding=tuple(k // 2 for k in kernel))
    return spread[0, 0]


def largest_component(cells: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """The largest 26-connected set of true cells (of equal ones, that with the highest cell). Empty stays empty.

    Every cell takes the highest label around it, then its label's own label, until nothing changes. The second half
    makes the number of rounds logarithmic in a component's length rather than linear.
    """
    labels = torch.where(cells, torch.arange(1, cells.numel() + 1, device=cells.device).view(cells.shape), 0)
    while True:
        # float64: exact for every label
        spread = torch.where(cells, dilate(labels.double()).long(), 0)
        jumped = F.pad(spread.flatten(), (1, 0))[spread]
        if torch.equal(jumped, labels):
            break
        labels = jumped
    sizes = torch.bincount(labels[cells], minlength=1)
    return cells & (labels == (len(sizes) - 1 - sizes.flip(0).argmax()))
