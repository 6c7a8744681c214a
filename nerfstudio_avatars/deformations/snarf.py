"""Posed -> canonical: all canonical roots of posed points, by inverting the posed cells (Fast-SNARF's problem, eq. 4).

Inside one cell the forward map is the trilinear blend of its eight posed corners: almost affine, so Newton from the centre
converges in two to four steps, there is no initial guess to choose and no root is lost. See benchmarks/articulation.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.deformations.posed_cells import PosedCells
from nerfstudio_avatars.deformations.skinning_volume import SkinningVolume
from nerfstudio_avatars.ops.backend import use_numba

TOLERANCE = 1e-3
"""A root may lie this far outside its cell (in cell units): the faces two cells share must not leak."""
RESIDUAL = 1e-4
"""Largest accepted distance between the point and the image of its root, metres."""
NEWTON_STEPS = 8


@dataclass(frozen=True)
class Roots:
    """All canonical roots of a set of posed points, sorted by point."""

    x_canonical: Float[Tensor, "roots 3"]
    point: Int[Tensor, "roots"]
    """Which posed point each root belongs to."""
    cell: Int[Tensor, "roots"]
    """Row of the active cell that holds the root."""
    local: Float[Tensor, "roots 3"]
    """Position within the cell, in [0, 1]^3 up to the tolerance."""


def trilinear_weights(local: Float[Tensor, "points 3"]) -> Float[Tensor, "points 8"]:
    """Weights of a cell's corners; corner `c` has bit 0 for x, 1 for y, 2 for z."""
    x, y, z = local.unbind(-1)
    wx, wy, wz = (1 - x, x), (1 - y, y), (1 - z, z)
    return torch.stack([wx[c & 1] * wy[c >> 1 & 1] * wz[c >> 2 & 1] for c in range(8)], -1)


def warp_in_cell(corners: Float[Tensor, "points 8 3"], local: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """The forward map: canonical position in a cell -> posed position. Differentiable in both."""
    return (trilinear_weights(local)[..., None] * corners).sum(1)


def warp_jacobian(corners: Float[Tensor, "points 8 3"], local: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3 3"]:
    """d warp / d local: column `a` is the derivative along cell axis `a`."""
    x, y, z = local.unbind(-1)
    w = ((1 - x, x), (1 - y, y), (1 - z, z))
    columns = []
    for axis in range(3):
        b, c = [a for a in range(3) if a != axis]
        factor = torch.stack(
            [(1.0 if k >> axis & 1 else -1.0) * w[b][k >> b & 1] * w[c][k >> c & 1] for k in range(8)], -1
        )
        columns.append((factor[..., None] * corners).sum(1))
    return torch.stack(columns, -1)


def inverse_3x3(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3 3"]:
    """Closed-form inverse; a singular matrix gives a large finite one, not NaN."""
    a, b, c = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    determinant = (rows[..., 0, :] * a).sum(-1)
    tiny = torch.finfo(matrix.dtype).tiny ** 0.5
    determinant = torch.where(determinant.abs() < tiny, torch.full_like(determinant, tiny), determinant)
    return rows / determinant[..., None, None]


def unpose(x_posed: Float[Tensor, "points 3"], posed: PosedCells, volume: SkinningVolume) -> Roots:
    """All canonical roots of posed points within the active cells, without gradient.

    The specification is `_unpose_torch`; on the CPU its numba twin runs.

    Returns:
        Roots whose image lies within 0.1 mm of their point. Points off the body have none.
    """
    if use_numba(x_posed):
        from nerfstudio_avatars.deformations import _numba_unpose

        return _numba_unpose.unpose(x_posed, posed, volume)
    return _unpose_torch(x_posed, posed, volume)


def _unpose_torch(x_posed: Tensor, posed: PosedCells, volume: SkinningVolume) -> Roots:
    with torch.no_grad():
        bins, inside = posed.bin_of(x_posed)
        offsets = posed.offsets.long()
        count = torch.where(inside, offsets[bins + 1] - offsets[bins], 0)
        point = torch.repeat_interleave(torch.arange(len(x_posed), device=x_posed.device), count)
        rank = torch.arange(len(point), device=x_posed.device) - (count.cumsum(0) - count)[point]
        cell = posed.members.long()[offsets[bins[point]] + rank]
        x = x_posed[point]
        keep = ((x >= posed.lower[cell]) & (x <= posed.upper[cell])).all(-1)
        point, cell, x = point[keep], cell[keep], x[keep]
        corners = posed.nodes[posed.cells.long()[cell]]
        local = torch.full_like(x, 0.5)
        for _ in range(NEWTON_STEPS):
            error = warp_in_cell(corners, local) - x
            step = (inverse_3x3(warp_jacobian(corners, local)) * error[:, None, :]).sum(-1)
            local = (local - step).clamp(-0.5, 1.5)
        found = (warp_in_cell(corners, local) - x).norm(dim=-1) < RESIDUAL
        found &= ((local >= -TOLERANCE) & (local <= 1 + TOLERANCE)).all(-1)
        point, cell, local = point[found], cell[found], local[found]
        x_canonical = volume.origin + volume.spacing * (volume.cell_index[cell] + local)
        keep = ~_repeated(x_canonical, point)
        return Roots(x_canonical[keep], point[keep], cell[keep], local[keep])


def _repeated(x_canonical: Tensor, point: Tensor) -> Tensor:
    """Marks roots that an earlier root of the same point already gave (a face shared by two cells)."""
    repeated = torch.zeros(len(point), dtype=torch.bool, device=point.device)
    for back in range(1, 8):
        same = (point[back:] == point[:-back]) & ((x_canonical[back:] - x_canonical[:-back]).norm(dim=-1) < 1e-4)
        repeated[back:] |= same & ~repeated[:-back]
    return repeated


def attach_pose_gradient(
    roots_canonical: Float[Tensor, "roots 3"],
    local: Float[Tensor, "roots 3"],
    corners: Float[Tensor, "roots 8 3"],
    spacing: float,
    largest: float = 6.0,
) -> Float[Tensor, "roots 3"]:
    """Canonical roots, differentiable in the posed nodes by implicit differentiation.

    From `warp(x_canonical; pose) = x_posed` follows `dx_canonical = -J^-1 d warp`, `J` being the exact Jacobian at the root.

    Args:
        corners: posed corners of each root's cell, carrying the gradient to pose, orientation and translation.
        spacing: edge of a canonical cell, metres.
        largest: entries of `J^-1` are scaled down to this Frobenius norm: folds inside joints must not shout.
    """
    with torch.no_grad():
        inverse = spacing * inverse_3x3(warp_jacobian(corners.detach(), local))
        size = inverse.flatten(1).norm(dim=1)
        inverse = inverse * (largest / size.clamp(min=largest))[:, None, None]
    moved = warp_in_cell(corners, local)
    return roots_canonical - (inverse * (moved - moved.detach())[:, None, :]).sum(-1)
