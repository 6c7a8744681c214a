"""Normals of a sphere, and the numba twin."""

import pytest
import torch

from nerfstudio_avatars.instant_avatar.rendering.normals import _normals_torch, normals_from_depth


def sphere(size: int = 64):
    """Parallel rays along y onto a unit sphere: origins, directions, depth, accumulation."""
    axis = torch.linspace(-1.2, 1.2, size)
    z, x = torch.meshgrid(-axis, axis, indexing="ij")
    origins = torch.stack([x, torch.full_like(x, -3.0), z], -1)
    directions = torch.tensor([0.0, 1.0, 0.0]).expand(size, size, 3).contiguous()
    hit = x.square() + z.square() < 1
    depth = torch.where(hit, 3 - (1 - x.square() - z.square()).clamp(min=0).sqrt(), 0.0)
    return origins, directions, depth[..., None], hit[..., None].float()


@pytest.mark.parametrize("normals", [normals_from_depth, _normals_torch])
def test_a_spheres_normals_point_from_its_centre(normals):
    origins, directions, depth, accumulation = sphere()
    found = normals(origins, directions, depth, accumulation)
    truth = (origins + depth * directions) * 0.5 + 0.5
    inner = origins[..., 0].square() + origins[..., 2].square() < 0.7
    torch.testing.assert_close(found[inner], truth[inner], atol=0.02, rtol=0)
    assert (found[accumulation[..., 0] == 0] == 0).all()


def test_the_twin_equals_the_specification():
    torch.manual_seed(0)
    origins, directions, depth, accumulation = sphere()
    depth, accumulation = depth + 0.01 * torch.rand_like(depth), accumulation * torch.rand_like(accumulation)
    arguments = (origins[:1, :1].expand(64, 64, 3), directions, depth, accumulation)
    torch.testing.assert_close(normals_from_depth(*arguments), _normals_torch(*arguments), atol=2e-4, rtol=0)
