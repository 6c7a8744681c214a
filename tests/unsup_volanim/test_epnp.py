"""EPnP: its accuracy with the canonical keypoints, OpenCV as the truth, and its gradient against finite differences."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim.epnp import _nearest_rotation, epnp
from nerfstudio_avatars.unsup_volanim.perspective_n_point import solve_poses

FOCAL = 1 / math.tan(0.175 / 2)
DEPTH = 10.5
STEPS = torch.arange(-2.0, 3.0, dtype=torch.float64) / 3
GRID = torch.cartesian_prod(1.00883 * STEPS, 1.00883 * STEPS, STEPS)
"""The canonical keypoints of Unsupervised Volumetric Animation: 5 x 5 x 5 in the middle of the box."""


def look(count: int, noise: float, points: Tensor = GRID, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rotations (yaw 29, pitch 17, roll 11 degrees at most), translations, noisy image points, points."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor([17.0, 29.0, 11.0], dtype=torch.float64).deg2rad()
    pitch, yaw, roll = torch.diag_embed((2 * torch.rand(count, 3, generator=generator).double() - 1) * limits).unbind(1)
    rotation = axis_angle_to_matrix(yaw) @ axis_angle_to_matrix(pitch) @ axis_angle_to_matrix(roll)
    translation = 0.1 * torch.randn(count, 3, generator=generator).double() + torch.tensor([0.0, 0.0, DEPTH])
    points = points.expand(count, -1, 3)
    seen = project(rotation, translation, points)
    return rotation, translation, seen + noise * torch.randn(seen.shape, generator=generator).double(), points


def project(rotation: Tensor, translation: Tensor, points: Tensor) -> Tensor:
    x_camera = points @ rotation.mT + translation[..., None, :]
    return FOCAL * x_camera[..., :2] / x_camera[..., 2:]


def degrees_between(a: Tensor, b: Tensor) -> Tensor:
    """Angles between rotations; precise also where they are small."""
    return 2 * ((a - b).norm(dim=(-2, -1)) / 8**0.5).clamp(max=1).arcsin().rad2deg()


def opencv_pose(seen: Tensor, points: Tensor, flag: int) -> tuple[Tensor, Tensor]:
    poses = []
    for y, x in zip(seen.numpy(), points.numpy(), strict=True):
        found, turn, shift = cv2.solvePnP(x, y.copy(), np.diag([FOCAL, FOCAL, 1.0]), None, flags=flag)
        assert found
        poses.append(np.concatenate([cv2.Rodrigues(turn)[0], shift], 1))
    return torch.from_numpy(np.stack(poses)).split([3, 1], -1)


@pytest.mark.parametrize(
    ("noise", "median", "most", "depth_error"),
    [(0.0, 1e-6, 1e-5, 1e-6), (0.005, 0.1, 0.18, 0.006), (0.01, 0.18, 0.33, 0.011), (0.03, 0.58, 1.15, 0.038)],
)
def test_poses_are_as_precise_as_measured_with_the_canonical_keypoints(noise, median, most, depth_error):
    """specs/unsup_volanim.md, section 13: degrees (median, 95 %) and units of depth (median), noise in image units."""
    true_rotation, true_translation, seen, points = look(300, noise)
    rotation, translation = epnp(seen, points, FOCAL)
    error = degrees_between(rotation, true_rotation)
    assert error.median() < median
    assert error.quantile(0.95) < most
    assert (translation - true_translation)[:, 2].abs().median() < depth_error
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation).double(), atol=1e-12, rtol=0)
    assert (torch.linalg.det(rotation) > 0).all()


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.01, 0.03])
def test_poses_are_as_near_to_the_truth_as_those_of_opencvs_epnp(noise):
    true_rotation, _, seen, points = look(100, noise, seed=1)
    rotation, _ = epnp(seen, points, FOCAL)
    other, _ = opencv_pose(seen, points, cv2.SOLVEPNP_EPNP)
    ours, theirs = (degrees_between(r, true_rotation).median() for r in (rotation, other))
    assert ours < 1.1 * theirs + 1e-5


@pytest.mark.parametrize(("noise", "degrees"), [(0.0, 1e-4), (0.005, 0.1), (0.01, 0.2)])
def test_poses_are_near_the_least_squares_poses_of_opencv(noise, degrees):
    _, _, seen, points = look(50, noise, seed=2)
    rotation, translation = epnp(seen, points, FOCAL)
    other, shift = opencv_pose(seen, points, cv2.SOLVEPNP_ITERATIVE)
    assert degrees_between(rotation, other).median() < degrees
    torch.testing.assert_close(translation, shift[..., 0], atol=0.05 * degrees + 4 * noise, rtol=0)


@pytest.mark.parametrize("count", [6, 8, 20])
def test_any_few_points_close_to_the_camera_give_their_pose_back(count):
    generator = torch.Generator().manual_seed(count)
    points = torch.randn(40, count, 3, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 0.6, 0.3])
    rotation = axis_angle_to_matrix(2 * torch.randn(40, 3, generator=generator, dtype=torch.float64))
    translation = torch.tensor([0.5, -0.3, 6.0], dtype=torch.float64).expand(40, 3)
    found, shift = epnp(project(rotation, translation, points), points, FOCAL)
    assert degrees_between(found, rotation).max() < 1e-3
    torch.testing.assert_close(shift, translation, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_points_in_one_plane_give_a_pose_near_the_truth(tilt):
    plane = GRID * torch.tensor([1.0, 1.0, 0.0]) @ axis_angle_to_matrix(torch.tensor([tilt, 0.5 * tilt, 0])).double()
    for noise, degrees in ((0.0, 1e-5), (0.01, 5.0)):
        true_rotation, _, seen, points = look(50, noise, plane)
        seen.requires_grad_()
        rotation, translation = epnp(seen, points, FOCAL)
        assert degrees_between(rotation, true_rotation).median() < degrees
        (gradient,) = torch.autograd.grad(rotation.sum() + translation.sum(), seen)
        assert gradient.isfinite().all()


def test_the_unit_of_the_points_and_the_place_of_their_origin_do_not_matter():
    _, _, seen, points = look(10, 0.02)
    rotation, translation = epnp(seen, points, FOCAL)
    offset = torch.tensor([3.0, -2.0, 10.5], dtype=torch.float64)
    other, shift = epnp(seen, 1000 * (points + offset), FOCAL)
    torch.testing.assert_close(other, rotation, atol=1e-8, rtol=0)
    torch.testing.assert_close(shift / 1000, translation - rotation @ offset, atol=1e-6, rtol=0)


def test_a_weight_of_two_is_the_point_twice_and_a_weight_of_zero_is_no_point():
    _, _, seen, points = look(10, 0.02)
    weights = torch.ones(10, 125)
    weights[:, :40], weights[:, 40:50] = 2.0, 0.0
    seen[:, 40:50] += 3.0
    keep = torch.arange(125).repeat_interleave(weights[0].long())
    expected = epnp(seen[:, keep], points[:, keep], FOCAL)
    torch.testing.assert_close(epnp(seen, points, FOCAL, weights), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(epnp(seen, points, FOCAL, 7 * weights), expected, atol=1e-6, rtol=0)


def test_a_batch_is_its_poses_one_by_one():
    _, _, seen, points = look(200, 0.01)
    together = epnp(seen.view(20, 10, 125, 2), points.view(20, 10, 125, 3), FOCAL)
    for i in (0, 57, 199):
        seen_i = seen[i].requires_grad_()
        rotation, translation = epnp(seen_i, points[i], FOCAL)
        torch.testing.assert_close(together[0].view(200, 3, 3)[i], rotation, atol=1e-8, rtol=0)
        torch.testing.assert_close(together[1].view(200, 3)[i], translation, atol=1e-6, rtol=0)
        assert torch.autograd.grad(translation[2], seen_i)[0].norm() < 5


def test_float32_keypoints_give_float32_poses_and_gradients():
    _, _, seen, points = look(50, 0.01)
    expected, _ = epnp(seen, points, FOCAL)
    seen_32 = seen.float().requires_grad_()
    rotation, translation = epnp(seen_32, points.float(), FOCAL)
    assert rotation.dtype == translation.dtype == torch.float32
    assert degrees_between(rotation.double(), expected).max() < 1e-3
    assert torch.autograd.grad(rotation.sum(), seen_32)[0].dtype == torch.float32


def test_without_gradient_the_poses_are_the_same():
    _, _, seen, points = look(5, 0.01)
    with torch.no_grad():
        expected = epnp(seen, points, FOCAL)
    torch.testing.assert_close(epnp(seen.requires_grad_(), points, FOCAL), expected, atol=0, rtol=0)


@pytest.mark.parametrize("argument", ["image points", "points", "weights"])
@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_gradients_are_those_of_finite_differences(argument, noise):
    _, _, seen, points = look(4, noise, seed=5)
    generator = torch.Generator().manual_seed(0)
    weights = 0.1 + torch.rand(4, 125, generator=generator, dtype=torch.float64)
    given = [seen, points.clone(), weights]
    index = ["image points", "points", "weights"].index(argument)
    reading = torch.randn(3, 4, generator=generator, dtype=torch.float64)

    def read(value: Tensor) -> Tensor:
        """One random reading of each pose."""
        values = [value if i == index else given[i] for i in range(3)]
        rotation, translation = epnp(values[0], values[1], FOCAL, values[2])
        return (torch.cat([rotation, translation[..., None]], -1) * reading).sum((-2, -1))

    value = given[index].requires_grad_()
    (gradient,) = torch.autograd.grad(read(value).sum(), value)
    for _ in range(5):
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            expected = (read(value + 1e-5 * direction) - read(value - 1e-5 * direction)) / 2e-5
        found = (gradient * direction).flatten(1).sum(-1)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * gradient.flatten(1).norm(dim=-1).min())


def test_the_gradient_is_right_where_the_points_spread_alike_in_all_directions():
    """A differentiated SVD divides by zero there: a cube, seen from the front, without noise."""
    cube = torch.cartesian_prod(STEPS, STEPS, STEPS)
    seen = project(torch.eye(3).double(), torch.tensor([0.0, 0.0, DEPTH]).double(), cube).requires_grad_()
    rotation, _ = epnp(seen, cube, FOCAL)
    # A turn about the line of sight moves the picture so; the gradient must see it as one radian of roll.
    (gradient,) = torch.autograd.grad(rotation[1, 0], seen)
    roll = torch.stack([-seen[:, 1], seen[:, 0]], -1).detach()
    assert (gradient * roll).sum() == pytest.approx(1.0, abs=1e-6)


def test_the_nearest_rotation_has_the_gradient_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    for matrix in (torch.randn(6, 3, 3, generator=generator, dtype=torch.float64), torch.eye(3).double()):

        def turned(change: Tensor, matrix: Tensor = matrix) -> Tensor:
            return _nearest_rotation(matrix + change)

        assert torch.autograd.gradcheck(turned, torch.zeros_like(matrix).requires_grad_())


@pytest.mark.parametrize("spread", [0.5, 0.05, 0.005, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keypoints_without_a_pose_give_finite_and_limited_gradients(spread, dtype):
    """As a detector without training gives them; the float32 gradients of a plain EPnP reach 1e5 here."""
    generator = torch.Generator().manual_seed(0)
    seen = (0.3 + spread * torch.randn(60, 125, 2, generator=generator)).to(dtype).requires_grad_()
    points = GRID.expand(60, -1, -1).to(dtype)
    _check_finite_and_limited(seen, points)


@pytest.mark.parametrize("kind", ["mirrored", "on a line", "one 3D point", "few different"])
def test_impossible_keypoints_give_finite_and_limited_gradients(kind):
    _, _, seen, points = look(30, 0.01)
    points = points.clone()
    if kind == "mirrored":
        seen = seen * torch.tensor([-1.0, 1.0])
    elif kind == "on a line":
        seen = seen * torch.tensor([1.0, 0.0])
    elif kind == "one 3D point":
        points[:] = points[:, :1]
    else:
        seen, points = (value[:, torch.arange(125) % 3] for value in (seen, points))
    _check_finite_and_limited(seen.requires_grad_(), points.requires_grad_())


def _check_finite_and_limited(seen: Tensor, points: Tensor) -> None:
    """The limit of `_LimitedGradient`, in image points."""
    for loss_scale in (1.0, 1e6):
        rotation, translation = epnp(seen, points, FOCAL)
        assert rotation.isfinite().all() and translation.isfinite().all()
        inputs = [value for value in (seen, points) if value.requires_grad]
        gradients = torch.autograd.grad(loss_scale * rotation.sum(), inputs)
        assert all((gradient.abs() < 1e4 * loss_scale).all() for gradient in gradients)
        with torch.no_grad():
            middle = points.mean(-2, keepdim=True)
            size = (points - middle).square().sum(-1).mean(-1).sqrt()
            size = torch.where(size < 1e-9, 1.0, size)
            depth = (middle @ rotation.mT)[:, 0, 2] + translation[:, 2]
            incoming = 3 * loss_scale
            limit = incoming * 10 * (depth / size).square() / 125**0.5 / FOCAL
        assert (gradients[0].flatten(1).norm(dim=-1) <= 1.01 * limit).all()


def test_a_pose_whose_gradient_overflows_leaves_the_others_alone():
    _, _, seen, points = look(3, 0.01)
    seen.requires_grad_()
    factors = torch.tensor([1.0, torch.inf, 1.0])

    def gradient(factors: Tensor) -> Tensor:
        return torch.autograd.grad((factors * epnp(seen, points, FOCAL)[1][:, 2]).sum(), seen)[0]

    expected = gradient(torch.ones(3))
    expected[1] = 0.0
    torch.testing.assert_close(gradient(factors), expected)


def test_gauss_newton_steps_bring_noisy_poses_nearer_to_the_truth():
    """specs/unsup_volanim.md, section 13: 0.50 -> 0.39 degrees at noise .03, 5.3 -> 1.4 at .1."""
    for noise, most, better in ((0.005, 0.1, 1.02), (0.03, 0.45, 0.9), (0.1, 1.7, 0.4)):
        true_rotation, _, seen, points = look(200, noise)
        plain, polished = (
            degrees_between(solve_poses(seen, points, FOCAL, DEPTH, method)[0], true_rotation).median()
            for method in ("epnp", "epnp-gn")
        )
        assert polished < most
        assert polished < better * plain
