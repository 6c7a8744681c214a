"""Rotations as axis-angle vectors, matrices and unit quaternions (w, x, y, z); differentiable, including at zero."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Below this squared angle (rad^2) three terms of the Taylor series are exact to float64 precision.
_SMALL = 1e-5


def axis_angle_to_matrix(rotation: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula: R = cos a I + (sin a / a) [r]x + ((1 - cos a) / a^2) r r^T, with a = |r| in radians.

    >>> quarter_turn_about_z = torch.tensor([0.0, 0.0, torch.pi / 2])
    >>> (axis_angle_to_matrix(quarter_turn_about_z) @ torch.tensor([1.0, 0.0, 0.0])).round().int().tolist()
    [0, 1, 0]
    """
    squared = rotation.square().sum(-1)[..., None, None]
    small = squared < _SMALL
    # Both branches must stay finite in the backward pass, so the unused one gets an argument of one.
    angle = torch.where(small, 1.0, squared).sqrt()
    sine = torch.where(small, 1 - squared / 6 + squared.square() / 120, angle.sin() / angle)
    half = (angle / 2).sin() / (angle / 2)
    versine = torch.where(small, 0.5 - squared / 24 + squared.square() / 720, 0.5 * half.square())
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    outer = rotation[..., :, None] * rotation[..., None, :]
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return (1 - versine * squared) * identity + sine * cross + versine * outer


def axis_angle_to_quaternion(rotation: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z) of a rotation vector in radians."""
    squared = rotation.square().sum(-1, keepdim=True)
    small = squared < _SMALL
    angle = torch.where(small, 1.0, squared).sqrt()
    scale = torch.where(small, 0.5 - squared / 48 + squared.square() / 3840, (angle / 2).sin() / angle)
    real = torch.where(small, 1 - squared / 8 + squared.square() / 384, (angle / 2).cos())
    return torch.cat([real, scale * rotation], -1)


def quaternion_to_axis_angle(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector of a unit quaternion (w, x, y, z), of at most pi radians."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    squared = imaginary.square().sum(-1, keepdim=True)
    small = squared < _SMALL
    norm = torch.where(small, 1.0, squared).sqrt()
    scale = torch.where(small, 2 + squared / 3 + 3 * squared.square() / 20, 2 * torch.atan2(norm, real) / norm)
    return scale * imaginary


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector of a rotation matrix, of at most pi radians."""
    xx, yy, zz = matrix.diagonal(dim1=-2, dim2=-1).unbind(-1)
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], -1)
    wx, wy, wz = (matrix[..., k, j] - matrix[..., j, k] for j, k in ((1, 2), (2, 0), (0, 1)))
    xy, xz, yz = (matrix[..., j, k] + matrix[..., k, j] for j, k in ((0, 1), (0, 2), (1, 2)))
    a, b, c, d = squares.unbind(-1)
    # Each row is the quaternion times four times one of its entries; the largest entry gives the best row.
    rows = torch.stack([a, wx, wy, wz, wx, b, xy, xz, wy, xy, c, yz, wz, xz, yz, d], -1).unflatten(-1, (4, 4))
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return quaternion_to_axis_angle(F.normalize(rows.gather(-2, best)[..., 0, :], dim=-1))


def compose_axis_angle(
    second: Float[Tensor, "*batch 3"], first: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """The rotation that does `first`, then `second`; precise at every angle (a product of quaternions)."""
    a, b = axis_angle_to_quaternion(torch.stack(torch.broadcast_tensors(second, first))).unbind()
    aw, av, bw, bv = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    real = aw * bw - (av * bv).sum(-1, keepdim=True)
    return quaternion_to_axis_angle(torch.cat([real, aw * bv + bw * av + torch.linalg.cross(av, bv)], -1))


def slerp_axis_angle(
    first: Float[Tensor, "*batch 3"], last: Float[Tensor, "*batch 3"], share: float | Tensor
) -> Float[Tensor, "*batch 3"]:
    """The rotation a share (0..1) of the shorter way from `first` to `last`, at constant angular speed."""
    # Relative rotation, scaled, put back: exact at both ends and safe for equal rotations.
    return compose_axis_angle(first, share * compose_axis_angle(-first, last))
