"""EPnP: the pose of a rigid body from 2D-3D correspondences; differentiable, and without an initial guess.

Lepetit, Moreno-Noguer and Fua, "EPnP: An accurate O(n) solution to the PnP problem", IJCV 2009, without its
Gauss-Newton step, as Unsupervised Volumetric Animation (Siarohin et al. 2023) puts it between keypoints and poses.
Every point is a weighted sum of four control points. The condition that points lie on their rays is linear in the
twelve camera coordinates of the control points, which are therefore in the kernel of a 12 x 12 matrix; the known
distances between them choose the vector in that kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_WANTED = (
    (1, 1, 1, 1, 0, 0, 0, 0, 0, 0),
    (1, 1, 0, 0, 1, 0, 0, 0, 0, 0),
    (1, 1, 1, 0, 1, 1, 0, 0, 0, 0),
)
"""Which of the products beta_a beta_b (11, 12, 13, 14, 22, 23, 24, 33, 34, 44) three of the four guesses solve for."""
_SAME_EIGENVALUE = 1e-13
"""Relative difference of eigenvalues below which float64 cannot distinguish their eigenvectors."""
_TINY = 1e-12
_GAIN = 10.0
"""Largest gradient of a pose, relative to that of the depth without noise (see `_LimitedGradient`)."""
_PREFERENCE = 1e-9
"""Margin (in slopes of rays) by which another candidate must beat the first, which has the smallest gradient: without
noise, all four are right."""


def epnp(
    image_points: Float[Tensor, "*batch points 2"],
    points: Float[Tensor, "*batch points 3"],
    focal: float,
    weights: Float[Tensor, "*batch points"] | None = None,
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Finds the pose that projects points closest to where they were seen; computed in float64 for any input.

    Differentiable once, in the image points, the points and the weights, through the best of four candidates alone.
    Where keypoints have collapsed the gradient does not exist or may have any length. There, terms that divide by the
    difference of equal eigenvalues are left out, a pose's gradient that is not finite becomes zero, and one that is too
    long (`_LimitedGradient`) is shortened, in proportion to the gradient that comes in, so whatever the loss's scale.

    Args:
        image_points: principal point at the origin, x right, y down; finite.
        points: at least six, in any unit; finite.
        focal: in the unit of the image points.
        weights: of the squared residuals, non-negative; only their ratios matter. All alike when None.

    Returns:
        Rotation and translation, world to camera, in the points' unit: x_camera = R x + t and
        image = focal (X / Z, Y / Z); the points' mean depth is positive.
    """
    weights = torch.ones_like(points[..., 0]) if weights is None else weights
    rays, x, weights = image_points.double() / focal, points.double(), weights.double()
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(_TINY)
    # In the points' own unit the gradient has a natural length, against which to limit it.
    with torch.no_grad():
        middle, unit = _middle_and_size(x, weights)
    solve = _LimitedGradient.apply if torch.is_grad_enabled() else _solve
    rotation, translation = solve(rays, (x - middle) / unit, weights)
    translation = unit[..., 0] * translation - (rotation @ middle.mT)[..., 0]
    return rotation.to(image_points.dtype), translation.to(image_points.dtype)


def _middle_and_size(
    points: Float[Tensor, "*batch n 3"], weights: Float[Tensor, "*batch n"]
) -> tuple[Float[Tensor, "*batch 1 3"], Float[Tensor, "*batch 1 1"]]:
    """Mean, and root mean square distance from it (one if all points coincide up to rounding)."""
    weights = weights[..., None]
    middle = (weights * points).sum(-2, keepdim=True)
    squared = (weights * (points - middle).square()).sum((-2, -1), keepdim=True)
    rounding = _TINY**2 * (weights * points.square()).sum((-2, -1), keepdim=True).clamp_min(1.0)
    return middle, torch.where(squared <= rounding, 1.0, squared).sqrt()


def _solve(
    rays: Float[Tensor, "*batch n 2"], points: Float[Tensor, "*batch n 3"], weights: Float[Tensor, "*batch n"]
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """EPnP for rays (X / Z, Y / Z) and weights of sum one.

    The control points are the middle of the points, and one step of their size from there along each axis. So unit and
    origin do not matter, and neither do points in one plane, which would with principal axes.
    """
    middle, unit = _middle_and_size(points, weights)
    points = (points - middle) / unit
    alphas = torch.cat([points, 1 - points.sum(-1, keepdim=True)], -1)
    by_one, by_x, by_y, by_square = _moments(rays, alphas, weights).unbind(-3)
    zero = torch.zeros_like(by_one)
    # M^T M of section 3.2, of the equations X - x Z = 0 and Y - y Z = 0; sorted by coordinates, then control points.
    rows = [[by_one, zero, -by_x], [zero, by_one, -by_y], [-by_x, -by_y, by_square]]
    matrix = torch.cat([torch.cat(row, -1) for row in rows], -2)
    kernel = _eigenvectors(matrix)[..., :4].mT.unflatten(-1, (3, 4)).mT
    control_points = torch.einsum("...ck,...kjd->...cjd", _combinations(kernel), kernel)

    mean = torch.einsum("...j,...cjd->...cd", by_one.sum(-1), control_points)
    in_front = _sign(mean[..., 2:])
    mean, control_points = in_front * mean, in_front[..., None] * control_points
    # The similarity from the points to where the control points put them (Umeyama 1991), with the scene scaled back.
    covariance = control_points.mT @ by_one[..., None, :, :3]
    rotations = _nearest_rotation(covariance)
    translations = mean / (rotations * covariance).sum((-2, -1)).clamp_min(1e-9)[..., None]
    best = _errors(rotations, translations, rays, points, weights).argmin(-1)[..., None, None]
    rotation = rotations.take_along_dim(best[..., None], -3)[..., 0, :, :]
    translation = translations.take_along_dim(best, -2)[..., 0, :]
    return rotation, unit[..., 0] * translation - (rotation @ middle.mT)[..., 0]


def _moments(
    rays: Float[Tensor, "*batch n 2"], alphas: Float[Tensor, "*batch n 4"], weights: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch 4 4 4"]:
    """Weighted means of alpha alpha^T times 1, x, y and x^2 + y^2."""
    factors = torch.cat([torch.ones_like(rays[..., :1]), rays, rays.square().sum(-1, keepdim=True)], -1)
    factors = (weights[..., None] * factors)[..., None] * alphas[..., None, :]
    return (factors.flatten(-2).mT @ alphas).unflatten(-2, (4, 4))


@torch.no_grad()
def _errors(
    rotation: Float[Tensor, "*batch 4 3 3"],
    translation: Float[Tensor, "*batch 4 3"],
    rays: Float[Tensor, "*batch n 2"],
    points: Float[Tensor, "*batch n 3"],
    weights: Float[Tensor, "*batch n"],
) -> Float[Tensor, "*batch 4"]:
    """Mean distance between projected and observed points for each candidate, with a bonus for the first."""
    seen = points[..., None, :, :] @ rotation.mT + translation[..., None, :]
    # A point behind the camera must not look well placed by being mirrored.
    seen = seen[..., :2] / seen[..., 2:].clamp_min(_TINY)
    errors = (weights[..., None, :] * (seen - rays[..., None, :, :]).norm(dim=-1)).sum(-1)
    errors[..., 0] -= _PREFERENCE
    return errors.nan_to_num(nan=torch.inf)


def _eigenvectors(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Columns sorted by eigenvalue. Their gradient is first-order perturbation theory, written as a term of value zero:

    dv_k = sum_j v_j (v_j^T dA v_k) / (lambda_k - lambda_j), without the j whose eigenvalue is the same.
    """
    values, vectors = torch.linalg.eigh(matrix.detach())
    gaps = values[..., None, :] - values[..., :, None]
    same = gaps.abs() <= _SAME_EIGENVALUE * values[..., -1, None, None].clamp_min(_TINY)
    turn = vectors.mT @ _change(matrix) @ vectors / gaps.masked_fill(same, torch.inf)
    return vectors + vectors @ turn


def _combinations(kernel: Float[Tensor, "*batch 4 4 3"]) -> Float[Tensor, "*batch 4 4"]:
    """Four guesses of the kernel vectors' factors beta, up to a common scale (section 3.3).

    The squared distances of the control points are linear in the products beta_a beta_b, but six equations do not give
    ten of those; each guess solves for a few and takes the rest for zero. The first, where three vectors correct the
    smallest one, is the best for nearly all keypoints; the second is the smallest one alone, the others combine two and
    three of similar size.
    """
    first, second = torch.triu_indices(4, 4, 1, device=kernel.device)
    sides = kernel[..., first, :] - kernel[..., second, :]
    # Two between the ends of two axes, one to the origin, which is the last control point.
    squared = 2.0 - (second == 3).to(kernel)
    first, second = torch.triu_indices(4, 4, device=kernel.device)
    columns = (sides[..., first, :, :] * sides[..., second, :, :]).sum(-1).mT * (2.0 - (first == second).to(kernel))
    wanted = torch.tensor(_WANTED).to(kernel)
    columns = columns[..., None, :, :] * wanted[:, None, :]
    normal = columns.mT @ columns
    ridge = normal.detach().diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True).clamp_min(_TINY) * _TINY
    normal = normal + torch.diag_embed(torch.where(wanted > 0, ridge, 1.0))
    products = torch.linalg.solve(normal, columns.mT @ squared[:, None])[..., 0]

    # The common scale, here beta_1, does not matter; but its sign does, because beta_1 beta_1 is positive.
    four = _sign(products[..., 0, :1]) * products[..., 0, :4]
    one = torch.ones_like(four[..., :1]) * torch.tensor([1.0, 0.0, 0.0, 0.0]).to(kernel)
    b11, b12, b13, _, b22 = products[..., 1:, :5].unbind(-1)
    b1 = _root(b11)
    two_or_three = torch.stack([b1, _root(b22) * _sign(b12), b13 / b1, torch.zeros_like(b1)], -1)
    return torch.cat([four[..., None, :], one[..., None, :], two_or_three], -2)


def _root(product: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Root of a product whose sign noise may have turned."""
    return product.abs().clamp_min(_TINY).sqrt()


def _sign(product: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """-1 below zero, else 1."""
    return torch.where(product < 0, -1.0, 1.0).to(product)


def _nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """R that maximises tr(R^T H). Its gradient is that of R^T H staying symmetric, as a term of value zero:

    with H = U S V^T and signed s, dR = R V [W_ij / (s_i + s_j)] V^T, W = V^T (R^T dH - dH^T R) V. A differentiated SVD
    would divide by s_i - s_j, which is nothing where the points spread alike in two directions, as a grid does.
    """
    u, values, vt = torch.linalg.svd(matrix.detach())
    handedness = torch.ones_like(values)
    handedness[..., 2] = (torch.linalg.det(u) * torch.linalg.det(vt)).sign()
    rotation = (u * handedness[..., None, :]) @ vt
    values = values * handedness
    sums = values[..., None, :] + values[..., :, None]
    flat = sums <= _TINY * values[..., :1, None].clamp_min(_TINY)
    tilt = rotation.mT @ _change(matrix)
    tilt = vt @ (tilt - tilt.mT) @ vt.mT / sums.masked_fill(flat, torch.inf)
    return rotation + rotation @ (vt.mT @ tilt @ vt)


def _change(value: Tensor) -> Tensor:
    """Zero, with the gradient of the value."""
    return value - value.detach()


class _LimitedGradient(torch.autograd.Function):
    """`_solve` whose gradient, for points of size one, is at most `_GAIN` depth^2 / sqrt(n) times the one that came in.

    Without the first factor that is about how the depth follows n rays that all spread together, the most that healthy
    keypoints do. One factor for all of a pose's gradients keeps their direction.
    """

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps the graph of `_solve` for the backward pass."""
        with torch.enable_grad():
            ctx.given = [value.detach().requires_grad_() for value in given]
            ctx.pose = _solve(*ctx.given)
        return ctx.pose[0].detach(), ctx.pose[1].detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *incoming: Tensor) -> tuple[Tensor, ...]:
        """Limits the gradients of the graph."""
        gradients = torch.autograd.grad(ctx.pose, ctx.given, incoming, retain_graph=True)
        rank, n = incoming[1].dim() - 1, ctx.given[0].shape[-2]
        limit = _GAIN * ctx.pose[1][..., 2].detach().square() / n**0.5 * _length(incoming, rank)
        factor = (limit / _length(gradients[:2], rank).clamp_min(1e-300)).clamp_max(1.0)
        factor = factor.masked_fill(~_length(gradients, rank).isfinite(), 0.0)
        return tuple((g.flatten(rank).nan_to_num() * factor[..., None]).view_as(g) for g in gradients)


def _length(values: Sequence[Tensor], rank: int) -> Float[Tensor, "*batch"]:
    """Norm over all values of each item in a batch of `rank` dimensions."""
    return torch.cat([value.flatten(rank) for value in values], -1).norm(dim=-1)
