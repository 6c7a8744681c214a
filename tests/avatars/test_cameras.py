"""Cameras around a person."""

import math

import pytest
import torch

from nerfstudio_avatars.avatars import cameras as camera_path


@pytest.fixture
def path():
    targets = torch.randn(16, 3)
    return targets, camera_path.orbit(targets, torch.linspace(0, 2 * math.pi, 16), elevation=0.3, distance=4.5)


def test_axes_are_rotations(path):
    rotation = path[1][..., :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(16, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(16), atol=1e-6, rtol=0)


def test_every_camera_looks_at_its_target_from_its_distance(path):
    targets, matrices = path
    looking = targets - matrices[..., 3]
    torch.testing.assert_close(looking.norm(dim=-1), torch.full((16,), 4.5))
    torch.testing.assert_close(looking / 4.5, -matrices[..., 2], atol=1e-6, rtol=0)


def test_the_horizon_is_level_and_up_is_up(path):
    right, up = path[1][..., 0], path[1][..., 1]
    torch.testing.assert_close(right[:, 2], torch.zeros(16), atol=1e-6, rtol=0)
    assert (up[:, 2] > 0.9).all()


def test_azimuth_zero_stands_where_the_training_camera_stood():
    """The dataparser turns a camera looking along its +z into one looking along the world's -y."""
    matrix = camera_path.orbit(torch.zeros(1, 3), torch.zeros(1), elevation=0.0, distance=2.0)[0]
    torch.testing.assert_close(matrix[:, 3], torch.tensor([0.0, 2.0, 0.0]))
    torch.testing.assert_close(matrix[:, 0], torch.tensor([-1.0, 0.0, 0.0]))


@pytest.mark.parametrize("azimuth", [0.0, 1.0, 4.0])
def test_a_ball_of_the_given_radius_fills_the_picture(azimuth):
    """Points of a sphere, projected: the furthest just reaches the border."""
    radius, height, width = 1.1, 120, 200
    matrix = camera_path.orbit(torch.zeros(1, 3), torch.tensor([azimuth]), elevation=0.2)[0].double()
    points = torch.nn.functional.normalize(torch.randn(200_000, 3, dtype=torch.float64), dim=-1) * radius
    local = (points - matrix[:, 3]) @ matrix[:, :3]
    focal = camera_path.focal_length(radius, height, width)
    offset = (focal * local[:, 1] / -local[:, 2]).abs().max().item()
    assert offset == pytest.approx(height / 2, rel=2e-3)


def test_reach_holds_every_point_of_every_frame():
    points, targets = torch.randn(5, 24, 3), torch.randn(5, 3)
    radius = camera_path.reach(points, targets)
    assert radius == pytest.approx((points - targets[:, None]).norm(dim=-1).max().item() + camera_path.MARGIN)


def test_cameras_are_float32_and_centred(path):
    cameras = camera_path.cameras(path[1], 100.0, 60, 80)
    assert cameras.shape == (16,) and cameras.fx.dtype == torch.float32
    rays = cameras[3:4].generate_rays(camera_indices=0, keep_shape=True)
    middle = rays.directions[29:31, 39:41].mean(dim=(0, 1))
    torch.testing.assert_close(torch.nn.functional.normalize(middle, dim=0), -path[1][3, :, 2], atol=1e-5, rtol=0)
