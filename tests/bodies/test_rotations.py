"""Rotations against scipy, and their gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from nerfstudio_avatars.bodies.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    compose_axis_angle,
    matrix_to_axis_angle,
    quaternion_to_axis_angle,
    slerp_axis_angle,
)

AXIS = torch.nn.functional.normalize(torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64), dim=0)
ANGLES = (0.0, 1e-12, 1e-6, 2e-3, 3.1e-3, 3.3e-3, 0.1, 1.0, 3.0, 3.14159, 5.0)


@pytest.mark.parametrize("angle", ANGLES)
def test_matrices_are_those_of_scipy(angle):
    expected = Rotation.from_rotvec((angle * AXIS).numpy()).as_matrix()
    np.testing.assert_allclose(axis_angle_to_matrix(angle * AXIS).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("function", [axis_angle_to_matrix, axis_angle_to_quaternion])
def test_gradients_are_those_of_finite_differences(function, angle):
    assert torch.autograd.gradcheck(function, (angle * AXIS).requires_grad_())


def test_the_gradient_at_zero_is_finite_in_float32():
    rotation = torch.zeros(4, 3, requires_grad=True)
    (axis_angle_to_matrix(rotation) * torch.arange(9.0).view(3, 3)).sum().backward()
    # d/dr of tr(A^T [r]x): the antisymmetric part of A.
    torch.testing.assert_close(rotation.grad, torch.tensor([2.0, -4.0, 2.0]).expand(4, 3))


@pytest.mark.parametrize("angle", [0.0, 1e-6, 3e-3, 0.5, 3.0, 3.14159])
def test_matrix_and_quaternion_lead_back_to_the_axis_and_angle(angle):
    rotation = angle * torch.cat([AXIS[None], -AXIS[None], torch.eye(3, dtype=torch.float64)])
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(rotation)), rotation, atol=1e-7, rtol=0)
    torch.testing.assert_close(quaternion_to_axis_angle(axis_angle_to_quaternion(rotation)), rotation)


def test_the_composed_rotation_is_scipys_product():
    first, second = np.random.default_rng(0).normal(size=(2, 20, 3))
    expected = (Rotation.from_rotvec(second) * Rotation.from_rotvec(first)).as_rotvec()
    composed = compose_axis_angle(torch.from_numpy(second), torch.from_numpy(first))
    np.testing.assert_allclose(composed.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_slerp_is_scipys(share):
    first, last = np.random.default_rng(1).normal(size=(2, 10, 3))
    ours = slerp_axis_angle(torch.from_numpy(first), torch.from_numpy(last), share).numpy()
    for row, (a, b) in enumerate(zip(first, last, strict=True)):
        expected = Slerp([0, 1], Rotation.from_rotvec([a, b]))(share)
        assert (Rotation.from_rotvec(ours[row]) * expected.inv()).magnitude() < 1e-12


def test_slerp_takes_the_shorter_way():
    first, last = torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, -3.0])
    halfway = slerp_axis_angle(first, last, 0.5)
    torch.testing.assert_close(halfway.norm(), torch.tensor(torch.pi), atol=1e-5, rtol=0)
