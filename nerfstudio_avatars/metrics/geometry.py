"""Compares learnt shape, parts and head poses with a synthetic ground truth.

A reconstruction error says nothing about depth: a flat picture that is animated like a poster scores just as well.
Here, the correlation of depths says whether the relief is right, and its gain whether there is any.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

_Maps = Float[Tensor, "pictures height width"]
_Masks = Bool[Tensor, "pictures height width"]


@dataclass(frozen=True)
class DepthAgreement:
    """One figure per picture; NaN where the mask is empty or the true depth is flat."""

    correlation: Float[Tensor, " pictures"]
    """Pearson correlation of predicted and true depth; 0 for a flat prediction."""
    relief_gain: Float[Tensor, " pictures"]
    """Slope of predicted on true depth: 1 is the true range, 0 is flat, and negative is inside out."""
    aligned_error: Float[Tensor, " pictures"]
    """Mean |a predicted + b - true| with the least-squares a >= 0 and b; in the unit of the true depth."""


def depth_agreement(predicted: _Maps, true: _Maps, mask: _Masks) -> DepthAgreement:
    """Compares depth inside the mask in each picture separately, so that the distance of the object does not matter."""
    share = mask / mask.sum((1, 2), keepdim=True)
    # Outside the mask anything may stand, even infinity.
    predicted, true = (_centred(torch.where(mask, depth, 0).double(), share) for depth in (predicted, true))
    covariance = (share * predicted * true).sum((1, 2))
    variance, true_variance = ((share * depth.square()).sum((1, 2)) for depth in (predicted, true))
    # Round-off of a constant is no relief.
    flat = variance <= 1e-12 * true_variance
    correlation = torch.where(flat, 0, covariance / (variance * true_variance).sqrt())
    factor = torch.where(flat, 0, covariance / variance).clamp(min=0)
    known = true_variance > 0
    residual = (share * (factor[:, None, None] * predicted - true).abs()).sum((1, 2))
    figures = (correlation, covariance / true_variance, residual)
    return DepthAgreement(*(torch.where(known, figure, torch.nan).float() for figure in figures))


def normal_error(
    predicted: Float[Tensor, "pictures height width 3"], true: Float[Tensor, "pictures height width 3"], mask: _Masks
) -> Float[Tensor, " pictures"]:
    """Mean angle in degrees between the normals inside the mask, one per picture; normals may have any length but zero.

    A predicted normal of length zero counts as 90 degrees. The result is NaN where the mask is empty.
    """
    predicted, true = (functional.normalize(normals.double(), dim=-1) for normals in (predicted, true))
    # The arc tangent keeps its accuracy for small angles, where the arc cosine loses it.
    angle = torch.atan2(torch.linalg.cross(predicted, true).norm(dim=-1), (predicted * true).sum(-1)).rad2deg()
    angle = torch.where((predicted == 0).all(-1), 90.0, angle)
    return (torch.where(mask, angle, 0).sum((1, 2)) / mask.sum((1, 2))).float()


@dataclass(frozen=True)
class PartOverlap:
    """How well unlabelled parts match the true ones."""

    iou: Float[Tensor, " true_parts"]
    """Intersection over union of each true part and its match; 0 if it has none."""
    match: Int[Tensor, " true_parts"]
    """Index of the predicted part, or -1."""

    @property
    def mean(self) -> float:
        """Mean over the true parts."""
        return self.iou.mean().item()


def part_overlap(predicted: Int[Tensor, "*pixels"], true: Int[Tensor, "*pixels"]) -> PartOverlap:
    """Finds the one-to-one match of predicted and true parts with the largest sum of intersections over unions.

    Args:
        predicted: the index of the part at each pixel of all pictures, -1 for background.
        true: likewise, starting at 0. True parts that are never seen have an overlap of 0.
    """
    from scipy.optimize import linear_sum_assignment

    num_predicted, num_true = (int(labels.max()) + 1 for labels in (predicted, true))
    ours, theirs = (
        functional.one_hot(labels.flatten().long() + 1, count + 1)[:, 1:].double()
        for labels, count in ((predicted, num_predicted), (true, num_true))
    )
    shared = theirs.mT @ ours
    union = theirs.sum(0)[:, None] + ours.sum(0)[None] - shared
    iou = shared / union.clamp(min=1)
    rows, columns = linear_sum_assignment(iou.cpu().numpy(), maximize=True)
    found, match = torch.zeros(num_true), torch.full((num_true,), -1)
    for row, column in zip(rows, columns, strict=True):
        if iou[row, column] > 0:
            found[row], match[row] = iou[row, column].float(), int(column)
    return PartOverlap(found, match)


@dataclass(frozen=True)
class YawAgreement:
    """Agreement of estimated and true yaw."""

    per_identity: dict[int, float]
    """Pearson correlation within each identity; 0 if the estimate is constant, NaN if the truth is."""
    median: float
    """Median over the identities."""
    pooled: float
    """Correlation over all frames, after one constant angle for all identities is subtracted."""
    slope: float
    """Slope of the estimate on the truth over all frames: 1 turns as far as the truth, 0 not at all."""


def yaw_agreement(
    predicted: Float[Tensor, " frames"], true: Float[Tensor, " frames"], identity: Int[Tensor, " frames"]
) -> YawAgreement:
    """How well estimated yaws (degrees) follow the true ones.

    The zero is arbitrary, so a constant is free: one for each identity within it, and one for all in the pooled figure.
    The pooled figure is harder, because all identities have to share their zero. If the frame of the estimates is
    turned about another axis too, use `align_rotations` first.
    """
    per_identity = {}
    for number in identity.unique().tolist():
        own = identity == number
        within = _correlation(_about_their_mean(predicted[own]), _about_their_mean(true[own]))[0]
        if within == within:
            per_identity[int(number)] = within
    truth = _about_their_mean(true)
    pooled, slope = _correlation(truth + _about_their_mean(predicted - true), truth)
    ordered = torch.tensor(sorted(per_identity.values())) if per_identity else torch.tensor([torch.nan])
    return YawAgreement(per_identity, ordered.quantile(0.5).item(), pooled, slope)


def turn_agreement(
    predicted: Float[Tensor, " frames"], true: Float[Tensor, " frames"], identity: Int[Tensor, " frames"]
) -> tuple[float, float]:
    """Correlation and slope of estimated on true turns of a part, after each identity's mean is subtracted.

    Where a part is at rest is arbitrary. NaN if true turns are constant.
    """
    within = [torch.zeros_like(predicted, dtype=torch.float64) for _ in range(2)]
    for number in identity.unique():
        own = identity == number
        for centred, turns in zip(within, (predicted, true), strict=True):
            centred[own] = turns[own].double() - turns[own].double().mean()
    return _correlation(*within)


def align_rotations(
    predicted: Float[Tensor, "frames 3 3"], true: Float[Tensor, "frames 3 3"]
) -> Float[Tensor, "frames 3 3"]:
    """Expresses estimated rotations (object to camera) in the frame of the true object: predicted G, G shared by all.

    G minimises the sum of |predicted G - true|^2 (orthogonal Procrustes).
    """
    left, _, right = torch.linalg.svd((predicted.mT @ true).double().sum(0))
    sign = torch.linalg.det(left @ right).sign()
    turn = left @ torch.diag(torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign])) @ right
    return predicted @ turn.to(predicted)


def rotation_error(a: Float[Tensor, "*frames 3 3"], b: Float[Tensor, "*frames 3 3"]) -> Float[Tensor, "*frames"]:
    """Angle in degrees of the rotation between two rotations (geodesic distance)."""
    between = (a.mT @ b).double()
    axis = torch.stack([between[..., i, j] - between[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], dim=-1)
    cosine = between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(axis.norm(dim=-1), cosine).rad2deg().to(a)


def yaw_from_matrix(rotation: Float[Tensor, "*frames 3 3"]) -> Float[Tensor, "*frames"]:
    """Yaw in degrees of rotations from object to camera (x right, y down, z away), R = Rz(roll) Rx(-pitch) Ry(-yaw).

    Positive turns the front of the object towards the right of the picture.
    """
    return torch.atan2(rotation[..., 2, 0], rotation[..., 2, 2]).rad2deg()


def _centred(depth: Tensor, share: Tensor) -> Tensor:
    return depth - (share * depth).sum((1, 2), keepdim=True)


def _about_their_mean(degrees: Tensor) -> Tensor:
    """Angles minus their circular mean, in [-180, 180)."""
    radians = degrees.double().deg2rad()
    mean = torch.atan2(radians.sin().mean(), radians.cos().mean()).rad2deg()
    return (degrees.double() - mean + 180) % 360 - 180


def _correlation(predicted: Tensor, true: Tensor) -> tuple[float, float]:
    """Pearson correlation and slope of predicted on true: 0 if predicted is constant, NaN if true is."""
    predicted, true = (values - values.mean() for values in (predicted, true))
    covariance, variance, true_variance = (predicted * true).sum(), predicted.square().sum(), true.square().sum()
    if true_variance <= 1e-12 * len(true):
        return float("nan"), float("nan")
    if variance <= 1e-12 * true_variance:
        return 0.0, 0.0
    return (covariance / (variance * true_variance).sqrt()).item(), (covariance / true_variance).item()
