"""Multiresolution hash encoding (Müller et al. 2022) with tiny-cuda-nn's table layout.

The layout is that of tiny-cuda-nn's `HashGrid`: dense coarse levels, level sizes `min(roundup8(res^3), 2^T)`, half-cell
offset, coherent prime hashing. One flat table therefore serves torch, numba, Triton and tinycudann alike.
"""

from __future__ import annotations

from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.backend import use_numba, use_triton
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import PRIMES, HashGridLayout


def _corner_indices(node: Tensor, layout: HashGridLayout, level: int) -> Tensor:
    """Table rows of integer grid nodes `(*n, 3)` at one level."""
    size = layout.offsets[level + 1] - layout.offsets[level]
    if layout.is_dense(level):
        resolution = layout.resolutions[level]
        index = node[..., 0] + resolution * (node[..., 1] + resolution * node[..., 2])
    else:
        x, y, z = (node * torch.tensor(PRIMES, device=node.device)).bitwise_and(0xFFFFFFFF).unbind(-1)
        index = x ^ y ^ z
    return index % size + layout.offsets[level]


def hash_encode_torch(x: Tensor, table: Tensor, layout: HashGridLayout) -> Tensor:
    """The specification: differentiable in `x` and `table`, any device, any float type."""
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)], device=x.device)
    features = []
    for level, scale in enumerate(layout.scales):
        position = x * scale + 0.5
        lower = position.detach().floor()
        fraction = (position - lower)[:, None, :]
        index = _corner_indices(lower.long()[:, None, :] + corners, layout, level)
        weight = torch.where(corners.bool(), fraction, 1.0 - fraction).prod(-1)
        features.append((table[index] * weight[..., None]).sum(1))
    return torch.cat(features, -1)


class _HashEncodeTwin(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, table: Tensor, layout: HashGridLayout, twin: ModuleType) -> Tensor:
        ctx.layout, ctx.twin = layout, twin
        ctx.save_for_backward(x, table)
        return twin.hash_forward(x, table, layout)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, table = ctx.saved_tensors
        grad = grad.contiguous()
        grad_table = ctx.twin.hash_backward_table(x, grad, ctx.layout) if ctx.needs_input_grad[1] else None
        grad_x = ctx.twin.hash_backward_position(x, table, grad, ctx.layout) if ctx.needs_input_grad[0] else None
        return grad_x, grad_table, None, None


def _twin(x: Tensor) -> ModuleType | None:
    if use_numba(x):
        from nerfstudio_avatars.instant_avatar.field import _numba_hash_grid as _numba

        return _numba
    if use_triton(x):
        from nerfstudio_avatars.instant_avatar.field import _triton_hash_grid as _triton

        return _triton
    return None


def hash_encode(
    x: Float[Tensor, "points 3"], table: Float[Tensor, "entries 2"], layout: HashGridLayout
) -> Float[Tensor, "points features"]:
    """Encodes points of the unit cube (specification: `hash_encode_torch`; twins: numba on the CPU, Triton on CUDA).

    Args:
        x: positions in [0, 1].
        table: two features per entry, all levels one after the other.
        layout: the layout of the levels.

    Returns:
        `2 * levels` features per point, coarse levels first.
    """
    if table.dtype == torch.float32 and (twin := _twin(x)):
        return _HashEncodeTwin.apply(x.contiguous(), table.contiguous(), layout, twin)
    return hash_encode_torch(x, table, layout)
