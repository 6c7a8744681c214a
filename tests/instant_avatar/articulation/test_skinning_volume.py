"""The distance to the template, of a ball: closed form, finite differences in float64, and the numba twin."""

import pytest
import torch
import trimesh

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh, SkinningVolume

RADIUS = 0.2


@pytest.fixture(scope="module")
def ball():
    mesh = trimesh.creation.icosphere(4, RADIUS)
    vertices, faces = torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces)
    return SkinningVolume(Mesh(vertices, faces, torch.ones(len(vertices), 1)), spacing=0.03, band=0.05)


def _places(volume, count, dtype=torch.float32):
    """Points in and around the grid, none of them on a face between two cells, where the slope jumps."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(count, 3, dtype=dtype, generator=generator) * 1.4 - 0.2
    cells = cells * volume.distance_cells
    cells = cells.floor() + (cells - cells.floor()).clamp(0.01, 0.99)
    return volume.origin + volume.spacing / 2 * cells


def test_distance_to_a_ball_and_its_slope(ball):
    x = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1) * torch.linspace(0.12, 0.24, 500)[:, None]
    x.requires_grad_()
    distance = ball.distance_at(x)
    torch.testing.assert_close(distance, x.norm(dim=-1) - RADIUS, atol=2e-3, rtol=0)
    distance.sum().backward()
    outwards = torch.nn.functional.normalize(x.detach(), dim=-1)
    assert (x.grad - outwards).norm(dim=-1).mean() < 0.1


def test_slope_is_that_of_finite_differences(ball):
    x = _places(ball, 60, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(ball.distance_at, x)


def test_numba_twin_equals_the_specification(ball):
    fast, slow = (_places(ball, 3000).requires_grad_() for _ in range(2))
    upstream = torch.randn(3000)
    distance, expected = ball.distance_at(fast), ball._distance_torch(slow)
    torch.testing.assert_close(distance, expected, atol=1e-5, rtol=1e-5)
    (distance * upstream).sum().backward()
    (expected * upstream).sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-3, rtol=1e-3)
    cells = (fast.detach() - ball.origin) / (ball.spacing / 2)
    beyond = (cells < 0) | (cells > ball.distance_cells)
    assert beyond.any() and not beyond.all()
    assert (fast.grad[beyond] == 0).all() and (slow.grad[beyond] == 0).all()


def test_without_gradient_the_twin_gives_the_same_distance(ball):
    x = _places(ball, 100)
    with torch.no_grad():
        torch.testing.assert_close(ball.distance_at(x), ball.distance_at(x.clone().requires_grad_()), atol=0, rtol=0)
    assert not ball.distance_at(x).requires_grad


def test_what_is_no_number_is_not_looked_up_outside_of_the_grid(ball):
    x = torch.full((4, 3), torch.nan, requires_grad=True)
    ball.distance_at(x).sum().backward()
    assert x.grad.shape == (4, 3)
