"""Perspective-n-Point: the rigid motion that projects known 3D points onto their 2D places; differentiable."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim.epnp import epnp

PnpMethod = Literal["gn", "epnp", "epnp-gn"]
_NEAREST, _FARTHEST = 0.75, 1.35
"""Limits of the initial depth relative to the expected one, because an object out of sight gives no gradient."""


def solve_poses(
    image_points: Float[Tensor, "*batch points 2"],
    points: Float[Tensor, "*batch points 3"],
    focal: float,
    depth: float,
    method: PnpMethod = "gn",
    steps: int = 5,
    prior: float = 0.01,
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Finds poses of rigid parts from 2D-3D correspondences; computed in float64 for any input.

    `gn` starts from the closed-form weak-perspective pose and refines it by damped Gauss-Newton without gradient; one
    last step with a constant Jacobian carries the gradient, which at the solution is the implicit derivative up to
    the residual's curvature. Its size is bounded, where EPnP's grows with the noise. `epnp` is Lepetit et al. 2009,
    as Unsupervised Volumetric Animation uses it; `epnp-gn` refines that.

    Args:
        image_points: x right, y down, with picture edges at -1 and 1.
        points: relative to the middle of the object, in camera axes.
        focal: in half pictures.
        depth: expected distance of the middle of the object from the camera.
        prior: pull of the object towards (0, 0, depth), in image units per unit of displacement: a ridge for what
            keypoints hardly determine, above all depth. Not used by `epnp`.

    Returns:
        Rotation and translation: x_camera = R x + t + (0, 0, depth).
    """
    dtype = image_points.dtype
    y, x = image_points.double(), points.double()
    middle = torch.tensor([0.0, 0.0, depth], dtype=torch.float64, device=y.device)
    if method == "gn":
        rotation, translation = _weak_perspective(y.detach(), x.detach(), focal, depth)
    else:
        with torch.set_grad_enabled(torch.is_grad_enabled() and method == "epnp"):
            rotation, translation = epnp(y, x, focal)
    if method == "epnp":
        return rotation.to(dtype), (translation - middle).to(dtype)
    rotation, translation = rotation.detach(), translation.detach()
    with torch.no_grad():
        for _ in range(steps):
            rotation, translation = _gauss_newton_step(rotation, translation, y, x, focal, middle, prior)
    rotation, translation = _gauss_newton_step(rotation, translation, y, x, focal, middle, prior)
    return rotation.to(dtype), (translation - middle).to(dtype)


def project(
    points: Float[Tensor, "*batch points 3"],
    rotation: Float[Tensor, "*batch 3 3"],
    translation: Float[Tensor, "*batch 3"],
    focal: float,
    depth: float,
) -> Float[Tensor, "*batch points 2"]:
    """Projects the points to the picture."""
    x_camera = points @ rotation.mT + translation[..., None, :]
    return focal * x_camera[..., :2] / (x_camera[..., 2:] + depth)


@torch.no_grad()
def _weak_perspective(
    y: Float[Tensor, "*batch n 2"], x: Float[Tensor, "*batch n 3"], focal: float, depth: float
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Closed form for a distant object: an affine fit, made orthonormal."""
    x_mean, y_mean = x.mean(-2, keepdim=True), y.mean(-2, keepdim=True)
    x_centred = x - x_mean
    ridge = 1e-6 * torch.eye(3, dtype=y.dtype, device=y.device)
    affine = torch.linalg.solve(x_centred.mT @ x_centred + ridge, x_centred.mT @ (y - y_mean)).mT
    u, scale, v = torch.linalg.svd(affine, full_matrices=False)
    rows = u @ v
    rotation = torch.cat([rows, torch.linalg.cross(rows[..., 0, :], rows[..., 1, :])[..., None, :]], -2)
    distance = focal / scale.mean(-1).clamp_min(1e-6)
    distance = distance.clamp(_NEAREST * depth, _FARTHEST * depth)[..., None]
    seen = torch.cat([y_mean[..., 0, :] * distance / focal, distance], -1)
    return rotation, seen - (rotation @ x_mean.mT)[..., 0]


def _gauss_newton_step(
    rotation: Float[Tensor, "*batch 3 3"],
    translation: Float[Tensor, "*batch 3"],
    y: Float[Tensor, "*batch n 2"],
    x: Float[Tensor, "*batch n 3"],
    focal: float,
    middle: Float[Tensor, "3"],
    prior: float,
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """One damped step; differentiable in the points through the residual alone."""
    turned = x @ rotation.mT
    x_camera = turned + translation[..., None, :]
    z = x_camera[..., 2].clamp_min(0.1 * float(middle[2]))
    seen = focal * x_camera[..., :2] / z[..., None]
    with torch.no_grad():
        zero = torch.zeros_like(z)
        towards_x = torch.stack([focal / z, zero, -seen[..., 0] / z], -1)
        towards_y = torch.stack([zero, focal / z, -seen[..., 1] / z], -1)
        by_shift = torch.stack([towards_x, towards_y], -2)
        by_turn = torch.linalg.cross(turned[..., None, :].expand_as(by_shift), by_shift)
        jacobian = torch.cat([by_turn, by_shift], -1).flatten(-3, -2)
        weight = prior**2 * y.shape[-2]
        normal = jacobian.mT @ jacobian
        pull = torch.zeros(6, dtype=y.dtype, device=y.device)
        pull[3:] = weight
        normal = normal + torch.diag(pull + 1e-6)
    gradient = (jacobian.mT @ (y - seen).flatten(-2)[..., None])[..., 0]
    gradient = torch.cat([gradient[..., :3], gradient[..., 3:] - weight * (translation - middle)], -1)
    step = torch.linalg.solve(normal, gradient[..., None])[..., 0]
    return axis_angle_to_matrix(step[..., :3]) @ rotation, translation + step[..., 3:]
