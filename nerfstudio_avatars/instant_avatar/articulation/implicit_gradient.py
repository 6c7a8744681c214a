"""Gradients through a root search by the implicit function theorem.

A canonical root solves warp(x_canonical, pose) = x_posed. The search is not differentiated; the equation itself gives
    d x_canonical = J^-1 (d x_posed - d warp / d pose * d pose),    J = d warp / d x_canonical.
InstantAvatar drops d x_posed. Orientation and translation, which reach the root only through the rays, would then have
no gradient, so it is kept here.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Warp = Callable[[Tensor], Tensor]
"""Maps canonical points (n, 3) to posed points (n, 3), in metres; differentiable in points and pose."""


def implicit_canonical(
    x_canonical: Float[Tensor, "roots 3"],
    jacobian_inverse: Float[Tensor, "roots 3 3"],
    x_posed: Float[Tensor, "roots 3"],
    warp: Warp,
) -> Float[Tensor, "roots 3"]:
    """Attaches gradients to roots, with respect to the pose inside `warp` and to the posed points.

    Args:
        x_canonical: roots of `warp(x) = x_posed`; their own gradients are dropped.
        jacobian_inverse: d x_canonical / d x_posed at the roots, which the gradient is as exact as.
        x_posed: the posed point of each root, with gradients to the rays.
        warp: the forward map.
    """
    root = x_canonical.detach()
    mismatch = x_posed - warp(root)
    change = mismatch - mismatch.detach()  # zero, but not its gradient
    return root + (jacobian_inverse.detach() * change[:, None, :]).sum(-1)
