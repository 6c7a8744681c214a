"""Parts' poses and their blending, against scipy's rotations and exact cases of linear blend skinning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, blend_parts, identity_poses


@pytest.fixture
def poses():
    rotation = Rotation.random(6, random_state=0).as_matrix().reshape(2, 3, 3, 3)
    return PartPoses(torch.from_numpy(rotation), torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 3))))


@pytest.fixture
def points():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(2, 7, 3)))


def moved(poses, x_canonical):
    """x_posed = R x + t of every part, by numpy."""
    turned = np.einsum("bpij,bpnj->bpni", poses.rotation.numpy(), x_canonical.numpy())
    return torch.from_numpy(turned + poses.translation.numpy()[:, :, None])


def test_canonical_is_the_motion_undone(poses, points):
    x_canonical = poses.canonical(points)
    assert x_canonical.shape == (2, 3, 7, 3)
    torch.testing.assert_close(moved(poses, x_canonical), points[:, None].expand(-1, 3, -1, -1))


def test_the_inverse_is_the_papers_camera_to_canonical(poses, points):
    """C = [R^T | -R^T t] applied to posed points."""
    torch.testing.assert_close(moved(poses.inverse(), points[:, None].expand(-1, 3, -1, -1)), poses.canonical(points))


def test_one_motion_after_another(poses, points):
    first = poses[[1, 0]]
    x = points[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(moved(poses.after(first), x), moved(poses, moved(first, x)))
    nothing = poses.after(poses.inverse())
    torch.testing.assert_close(nothing.rotation, torch.eye(3, dtype=torch.float64).expand(2, 3, 3, 3))
    torch.testing.assert_close(nothing.translation, torch.zeros(2, 3, 3, dtype=torch.float64))


def test_identity_poses_move_nothing():
    points = torch.randn(2, 5, 3)
    poses = identity_poses(2, 4)
    torch.testing.assert_close(poses.canonical(points), points[:, None].expand(-1, 4, -1, -1))


def test_rows_of_a_batch(poses):
    row = poses[1:]
    torch.testing.assert_close(row.rotation, poses.rotation[1:])
    torch.testing.assert_close(row.translation, poses.translation[1:])


def test_detached_poses_stop_the_gradient():
    poses = PartPoses(torch.eye(3)[None].requires_grad_(), torch.zeros(1, 3).requires_grad_())
    assert not poses.detach().rotation.requires_grad and not poses.detach().translation.requires_grad


def test_weights_are_a_partition_of_unity():
    hypotheses, logits = torch.randn(2, 4, 9, 3), 5 * torch.randn(2, 4, 9)
    _, weights = blend_parts(hypotheses, logits)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 9))
    assert (weights.argmax(1) == logits.argmax(1)).all()


def test_equal_poses_blend_to_the_same_pose_whatever_the_logits(poses, points):
    alike = PartPoses(poses.rotation[:, :1].expand(-1, 3, -1, -1), poses.translation[:, :1].expand(-1, 3, -1))
    hypotheses = alike.canonical(points)
    x_canonical, _ = blend_parts(hypotheses, torch.randn(2, 3, 7, dtype=torch.float64))
    torch.testing.assert_close(x_canonical, hypotheses[:, 0])


def test_a_confident_part_decides_alone(poses, points):
    hypotheses, logits = poses.canonical(points), torch.zeros(2, 3, 7, dtype=torch.float64)
    logits[:, 2] = 50
    torch.testing.assert_close(blend_parts(hypotheses, logits)[0], hypotheses[:, 2])


def test_equal_logits_average(poses, points):
    hypotheses = poses.canonical(points)
    x_canonical, _ = blend_parts(hypotheses, torch.full((2, 3, 7), 4.0, dtype=torch.float64))
    torch.testing.assert_close(x_canonical, hypotheses.mean(1))


def test_shifts_blend_as_exact_linear_blend_skinning():
    """With pure translations and weights that are the same everywhere, the approximate inverse is exact."""
    shifts = torch.randn(1, 3, 3)
    weights = torch.tensor([0.2, 0.5, 0.3])
    x_canonical = torch.randn(1, 6, 3)
    x_posed = x_canonical + (weights[:, None] * shifts[0]).sum(0)
    poses = PartPoses(torch.eye(3).expand(1, 3, 3, 3), shifts)
    back, _ = blend_parts(poses.canonical(x_posed), weights.log()[None, :, None].expand(1, 3, 6))
    torch.testing.assert_close(back, x_canonical, atol=1e-6, rtol=1e-5)


def test_blending_is_differentiable_in_everything(poses, points):
    inputs = [poses.rotation[:1, :2], poses.translation[:1, :2], points[:1, :2], torch.randn(1, 2, 2).double()]
    inputs = [value.clone().requires_grad_() for value in inputs]

    def blended(rotation, translation, x_posed, logits):
        return blend_parts(PartPoses(rotation, translation).canonical(x_posed), logits)[0]

    assert torch.autograd.gradcheck(blended, inputs)


def test_turning_goes_about_a_point_and_to_the_pictures_right():
    poses = PartPoses(torch.eye(3).expand(1, 2, 3, 3), torch.tensor([[[0.3, 0.1, 0.2], [0.1, 0.1, 0.2]]]))
    middle = torch.tensor([[[0.2, 0.1, 0.2]]])
    turned = poses.turned(math.radians(90), 0.0, middle)
    expected = torch.tensor([[[0.2, 0.1, 0.3], [0.2, 0.1, 0.1]]])
    torch.testing.assert_close(turned.translation, expected, atol=1e-5, rtol=0)
    nose = torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(turned.rotation[0, 0] @ nose, torch.tensor([1.0, 0.0, 0.0]), atol=1e-5, rtol=0)
    lifted = poses.turned(0.0, math.radians(90), middle).rotation[0, 0] @ nose
    torch.testing.assert_close(lifted, torch.tensor([0.0, -1.0, 0.0]), atol=1e-5, rtol=0)
