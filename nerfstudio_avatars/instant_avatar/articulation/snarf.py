"""Finds all canonical roots of posed points by inverting the posed cells (the problem of Fast-SNARF, eq. 4).

Inside one cell the forward map is the trilinear blend of its eight posed corners: almost affine, so Newton from its
centre converges in two to four steps and there is no initial guess to choose. A cell that is folded in itself is tried
from both sides of the fold. See benchmarks/articulation.py.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.backend import use_numba, use_triton
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import NEWTON_STEPS, RESIDUAL, SAME_ROOT, TOLERANCE, Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Program, run

_LARGEST_INVERSE = 6.0
"""Largest Frobenius norm of an inverse Jacobian that gradients are multiplied by."""


def _trilinear_weights(local: Float[Tensor, "points 3"]) -> Float[Tensor, "points 8"]:
    """Weights of the corners of a cell; corner `c` has bit 0 for x, 1 for y, 2 for z."""
    x, y, z = local.unbind(-1)
    wx, wy, wz = (1 - x, x), (1 - y, y), (1 - z, z)
    return torch.stack([wx[c & 1] * wy[c >> 1 & 1] * wz[c >> 2 & 1] for c in range(8)], -1)


def warp_in_cell(corners: Float[Tensor, "points 8 3"], local: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """The forward map, from a canonical position in a cell to the posed position. Differentiable in both."""
    return (_trilinear_weights(local)[..., None] * corners).sum(1)


def _warp_jacobian(
    corners: Float[Tensor, "points 8 3"], local: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 3 3"]:
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


def _inverse_3x3(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3 3"]:
    """Closed-form inverse; singular matrices give a large finite one, not NaN."""
    a, b, c = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    determinant = (rows[..., 0, :] * a).sum(-1)
    tiny = torch.finfo(matrix.dtype).tiny ** 0.5
    determinant = torch.where(determinant.abs() < tiny, torch.full_like(determinant, tiny), determinant)
    return rows / determinant[..., None, None]


def unpose(x_posed: Float[Tensor, "points 3"], posed: PosedCells, volume: SkinningVolume) -> Roots:
    """Finds all canonical roots of posed points in the active cells, without gradient.

    The specification is `_unpose_torch`; on the CPU its numba twin runs, on CUDA its Triton twin.

    Returns:
        Roots whose image is within 0.1 mm of their point. Points away from the body have none.
    """
    return run(unposing(x_posed, posed, volume))


def unposing(x_posed: Tensor, posed: PosedCells, volume: SkinningVolume) -> Program[Roots]:
    """`unpose` as a program, for several poses at once."""
    if use_numba(x_posed):
        from nerfstudio_avatars.instant_avatar.articulation import _numba_unpose

        return _numba_unpose.unpose(x_posed, posed, volume)
    if use_triton(x_posed):
        from nerfstudio_avatars.instant_avatar.articulation import _triton_unpose

        return (yield from _triton_unpose.unposing(x_posed, posed, volume))
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
        # Rows rather than masks: a GPU is waited for at every use of a mask.
        keep = ((x >= posed.lower[cell]) & (x <= posed.upper[cell])).all(-1).nonzero()[:, 0]
        point, cell, x = point[keep], cell[keep], x[keep]
        # Folded cells are tried from their centre and from either side of the fold, all others from the centre.
        attempts = torch.where(posed.sides[cell, 0] < 0, 1, 3)
        lane = torch.repeat_interleave(torch.arange(len(cell), device=x.device), attempts)
        attempt = torch.arange(len(lane), device=x.device) - (attempts.cumsum(0) - attempts)[lane]
        point, cell, x = point[lane], cell[lane], x[lane]
        start = torch.where(attempt == 0, -1, posed.sides[cell, (attempt - 1).clamp(min=0)])
        local, error = _invert_cells(posed.nodes[posed.cells.long()[cell]], x, start)
        found = (error < RESIDUAL) & ((local >= -TOLERANCE) & (local <= 1 + TOLERANCE)).all(-1)
        found = found.nonzero()[:, 0]
        point, cell, local = point[found], cell[found], local[found]
        x_canonical = volume.origin + volume.spacing * (volume.cell_index[cell] + local)
        keep = (~_repeated(x_canonical, point)).nonzero()[:, 0]
        return Roots(x_canonical[keep], point[keep], cell[keep], local[keep])


def _invert_cells(
    corners: Float[Tensor, "points 8 3"], x: Float[Tensor, "points 3"], start: Int[Tensor, " points"]
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
    """Newton's method in each cell: local positions (fixed once close enough) and residuals in metres.

    Args:
        start: -1 for the centre of the cell, 0 to 7 for a place near a corner.
    """
    c0, c1, c2, c3, c4, c5, c6, c7 = corners.unbind(1)
    # The trilinear map as a polynomial: factors of 1, u, v, w, uv, uw, vw, uvw.
    b = torch.stack(
        [c0 - x, c1 - c0, c2 - c0, c4 - c0, c3 - c2 - c1 + c0, c5 - c4 - c1 + c0, c6 - c4 - c2 + c0,
         c7 - c6 - c5 + c4 - c3 + c2 + c1 - c0]
    )  # fmt: skip
    local, error = torch.empty_like(x), torch.empty_like(x[:, 0])
    corner = start[:, None] >> torch.arange(3, device=x.device) & 1
    at = torch.where(start[:, None] < 0, 0.5, 0.15 + 0.7 * corner).to(x)
    lane = torch.arange(len(x), device=x.device)
    close_enough = 0.1 * RESIDUAL if x.dtype == torch.float32 else 0.0
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    for step in range(NEWTON_STEPS + 1):
        u, v, w = at.split(1, dim=1)
        along_w = b[3] + v * b[6]
        du = b[1] + v * b[4] + w * (b[5] + v * b[7])
        dv = b[2] + u * b[4] + w * (b[6] + u * b[7])
        dw = along_w + u * (b[5] + v * b[7])
        f = b[0] + v * b[2] + w * along_w + u * du
        distance = f.norm(dim=-1)
        local[lane], error[lane] = at, distance
        going = (distance > close_enough).nonzero()[:, 0]
        if step == NEWTON_STEPS or len(going) == 0:
            break
        lane, at, b, f, du, dv, dw = lane[going], at[going], b[:, going], f[going], du[going], dv[going], dw[going]
        rows = [torch.linalg.cross(dv, dw), torch.linalg.cross(dw, du), torch.linalg.cross(du, dv)]
        determinant = (du * rows[0]).sum(-1, keepdim=True)
        determinant = torch.where(determinant.abs() < tiny, tiny, determinant)
        at = (at - torch.stack([(row * f).sum(-1) for row in rows], -1) / determinant).clamp(-0.5, 1.5)
    return local, error


def _repeated(x_canonical: Tensor, point: Tensor) -> Tensor:
    """Marks roots that repeat an earlier root of the same point (on a face shared by two cells)."""
    repeated = torch.zeros(len(point), dtype=torch.bool, device=point.device)
    for back in range(1, len(point)):
        same = point[back:] == point[:-back]
        if not same.any():
            break
        same &= (x_canonical[back:] - x_canonical[:-back]).norm(dim=-1) < SAME_ROOT
        repeated[back:] |= same & ~repeated[:-back]
    return repeated


def attach_pose_gradient(
    roots_canonical: Float[Tensor, "roots 3"],
    local: Float[Tensor, "roots 3"],
    corners: Float[Tensor, "roots 8 3"],
    spacing: float,
    largest: float = _LARGEST_INVERSE,
) -> Float[Tensor, "roots 3"]:
    """Canonical roots, differentiable in the posed nodes by implicit differentiation.

    From `warp(x_canonical; pose) = x_posed` follows `dx_canonical = -J^-1 d warp` with the exact Jacobian at the root.

    Args:
        corners: posed corners of the cell of each root, with gradients to pose, orientation and translation.
        spacing: edge length of a canonical cell, in metres.
        largest: Frobenius norm that `J^-1` is scaled down to, so that folds in joints do not dominate.
    """
    with torch.no_grad():
        inverse = spacing * _inverse_3x3(_warp_jacobian(corners.detach(), local))
        size = inverse.flatten(1).norm(dim=1)
        inverse = inverse * (largest / size.clamp(min=largest))[:, None, None]
    moved = warp_in_cell(corners, local)
    return roots_canonical - (inverse * (moved - moved.detach())[:, None, :]).sum(-1)


def with_pose_gradient(
    roots: Roots, nodes: Float[Tensor, "nodes 3"], cells: Int[Tensor, "cells 8"], spacing: float
) -> Float[Tensor, "roots 3"]:
    """Canonical roots, differentiable in the posed nodes (specification: `attach_pose_gradient`; numba twin).

    Args:
        nodes: posed nodes with gradients to the pose; without any, the roots are returned unchanged.
        cells: nodes of each cell.
        spacing: edge length of a canonical cell, in metres.
    """
    if not nodes.requires_grad:
        return roots.x_canonical
    if use_numba(nodes):
        return _PoseGradientNumba.apply(roots.x_canonical, roots.local, roots.cell, nodes, cells, spacing)
    return attach_pose_gradient(roots.x_canonical, roots.local, nodes[cells[roots.cell]], spacing)


class _PoseGradientNumba(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_canonical, local, cell, nodes, cells, spacing):
        ctx.save_for_backward(local, cell, nodes, cells)
        ctx.spacing = spacing
        return x_canonical.clone()

    @staticmethod
    def backward(ctx, grad):
        from nerfstudio_avatars.instant_avatar.articulation import _numba_gradient

        local, cell, nodes, cells = ctx.saved_tensors
        of_nodes = _numba_gradient.grad_of_nodes(grad, local, cell, cells, nodes, ctx.spacing, _LARGEST_INVERSE)
        return None, None, None, of_nodes, None, None
