"""The paper's search on a jointed rod, whose skinning is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from nerfstudio_avatars.instant_avatar.articulation.broyden import (
    TransformGrid,
    later_duplicates,
    pack_roots,
    search_roots,
    unpose_in_grid,
)
from nerfstudio_avatars.instant_avatar.articulation.implicit_gradient import implicit_canonical
from nerfstudio_avatars.instant_avatar.articulation.snarf_weights import WeightVolume


def rod(dtype: torch.dtype = torch.float32) -> WeightVolume:
    """A rod along x, one metre long, with a joint in its middle: weights change smoothly over 20 cm."""
    x = torch.linspace(-0.6, 0.6, 41, dtype=dtype)
    second = torch.sigmoid(x / 0.04)
    weights = torch.stack((1 - second, second))[:, None, None, :].expand(2, 9, 13, 41).contiguous()
    low = torch.tensor([-0.6, -0.3, -0.2], dtype=dtype)
    return WeightVolume(weights, low, torch.tensor([1.2 / 40, 0.6 / 12, 0.4 / 8], dtype=dtype))


def bend(angle: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
    """The rod's second half turned about z, the whole shifted."""
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rotation = torch.stack(
        [torch.cos(angle), -torch.sin(angle), zero, torch.sin(angle), torch.cos(angle), zero, zero, zero, one]
    ).view(3, 3)
    turned = torch.block_diag(rotation, torch.ones(1, 1, dtype=angle.dtype))
    both = torch.stack((torch.eye(4, dtype=angle.dtype), turned))
    if shift is None:
        return both
    return both + torch.nn.functional.pad(shift[:, None], (3, 0, 0, 1))


def broyden_unpose(x_posed, transforms, volume, init_bones):
    """All searches of all points: roots, whether each is valid, inverse Jacobians."""
    roots, valid, inverse = search_roots(x_posed, TransformGrid.of_pose(volume, transforms.detach()), init_bones)
    return roots, valid & ~later_duplicates(roots, valid, 1e-4), inverse


def inverse_jacobian(x_canonical, warp):
    """Exact inverse of the Jacobian of the forward map, from three backward passes."""
    x = x_canonical.detach().requires_grad_(True)
    moved = warp(x)
    rows = [torch.autograd.grad(moved[:, i].sum(), x, retain_graph=True)[0] for i in range(3)]
    return torch.linalg.inv(torch.stack(rows, dim=1))


def points(count: int = 400, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    unit = torch.rand(count, 3, generator=torch.Generator().manual_seed(2), dtype=dtype) * 2 - 1
    return unit * torch.tensor([0.55, 0.08, 0.08], dtype=dtype)


def test_without_a_pose_the_only_root_is_the_point():
    x = points()
    roots, point, inverse = pack_roots(*broyden_unpose(x, torch.eye(4).repeat(2, 1, 1), rod(), init_bones=(0, 1)))
    assert torch.equal(point, torch.arange(len(x)))
    torch.testing.assert_close(roots, x, atol=1e-6, rtol=0)
    torch.testing.assert_close(inverse, torch.eye(3).expand(len(x), 3, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [20, 60])
def test_points_of_a_bent_rod_come_back(degrees):
    x, transforms = points(), bend(torch.tensor(math.radians(degrees)), torch.tensor([0.3, -0.2, 1.0]))
    grid = TransformGrid.of_pose(rod(), transforms)
    roots, valid, _ = broyden_unpose(grid.warp(x), transforms, rod(), init_bones=(0, 1))
    distance = torch.where(valid, (roots - x[:, None]).norm(dim=-1), torch.inf).amin(1)
    assert (distance < 1e-4).float().mean() > 0.99
    assert (grid.warp(roots[valid]) - grid.warp(x)[valid.nonzero()[:, 0]]).norm(dim=-1).max() < 1e-5


def test_a_blended_pose_serves_many_calls():
    transforms, volume = bend(torch.tensor(0.9)), rod()
    grid = TransformGrid.of_pose(volume, transforms)
    x_posed = grid.warp(points())
    expected = pack_roots(*broyden_unpose(x_posed, transforms, volume, init_bones=(0, 1)))
    for found, truth in zip(unpose_in_grid(x_posed, grid, init_bones=(0, 1)), expected, strict=True):
        assert torch.equal(found, truth)


def test_the_blend_is_grid_samples():
    """Inside the volume and beyond it, where both are zero."""
    volume, transforms = rod(), bend(torch.tensor(0.7))
    x = points() * 1.5
    grid = TransformGrid.of_pose(volume, transforms)
    dense = grid.table.view(11, 15, 43, 12)[1:-1, 1:-1, 1:-1].permute(3, 0, 1, 2)
    unit = (x - volume.origin) / (volume.spacing * (torch.tensor(grid.size) - 1)) * 2 - 1
    truth = torch.nn.functional.grid_sample(dense[None], unit[None, None, None], align_corners=True)[0, :, 0, 0].T
    torch.testing.assert_close(grid.transforms(x).flatten(1), truth, atol=1e-5, rtol=0)
    assert (~grid.contains(x)).any()


def test_roots_outside_the_volume_are_not_valid():
    outside = torch.tensor([[0.0, 0.4, 0.0], [0.0, 0.0, 0.0]])
    _, valid, _ = broyden_unpose(outside, torch.eye(4).repeat(2, 1, 1), rod(), init_bones=(0,))
    assert valid[:, 0].tolist() == [False, True]


def test_a_vanishing_denominator_leaves_numbers():
    """Far off, the map is constant zero: no change of the residual, which the paper's update divides by."""
    roots, valid, inverse = search_roots(
        torch.full((3, 3), 9.0), TransformGrid.of_pose(rod(), bend(torch.tensor(0.5))), (0, 1), diverged=1e9
    )
    assert not valid.any()
    assert roots.isfinite().all() and inverse.isfinite().all()


def test_of_a_cluster_the_last_root_stays():
    roots = torch.tensor([[[0.0, 0, 0], [5e-5, 0, 0], [0.1, 0, 0], [0, 5e-5, 0], [0.1, 0, 0]]])
    valid = torch.tensor([[True, True, True, True, False]])
    assert later_duplicates(roots, valid, 1e-4).tolist() == [[True, True, False, False, False]]


def test_no_points_give_no_roots():
    roots, valid, inverse = broyden_unpose(torch.zeros(0, 3), bend(torch.tensor(0.1)), rod(), init_bones=(0, 1))
    assert roots.shape == (0, 2, 3) and valid.shape == (0, 2) and inverse.shape == (0, 2, 3, 3)


def test_exact_inverse_is_what_broyden_only_approaches():
    x, transforms = points(), bend(torch.tensor(0.8))
    grid = TransformGrid.of_pose(rod(), transforms)
    roots, _, approximate = pack_roots(*broyden_unpose(grid.warp(x), transforms, rod(), init_bones=(0, 1)))
    exact = inverse_jacobian(roots, grid.warp)
    step = 1e-3 * torch.randn_like(roots)
    moved = grid.warp(roots + step) - grid.warp(roots)
    back = (exact @ moved[..., None])[..., 0]
    assert (back - step).norm(dim=-1).median() < 5e-5
    assert (approximate - exact).flatten(1).norm(dim=-1).median() < 0.5


def test_implicit_gradient_matches_finite_differences():
    """To the bend, to the translation and to the posed points: float64, a fresh search on either side."""
    volume = rod(torch.float64)
    pose = torch.tensor([0.6, 0.1, -0.2, 0.3], dtype=torch.float64)
    start = points(40, torch.float64)
    x_posed = TransformGrid.of_pose(volume, bend(pose[0], pose[1:])).warp(start)

    def canonical(at: torch.Tensor, x: torch.Tensor, attach: bool = False) -> torch.Tensor:
        grid = TransformGrid.of_pose(volume, bend(at[0], at[1:]))
        found = search_roots(x.detach(), grid_without_gradient(grid), (0, 1), max_iterations=40, converged=1e-12)
        roots, valid, _ = found
        distance = torch.where(valid, (roots - start[:, None]).norm(dim=-1), torch.inf)
        assert (distance.amin(1) < 1e-2).all()
        root = roots[torch.arange(len(start)), distance.argmin(1)]
        return implicit_canonical(root, inverse_jacobian(root, grid.warp), x, grid.warp) if attach else root

    inputs = (pose.requires_grad_(True), x_posed.requires_grad_(True))
    attached = canonical(*inputs, attach=True)
    weight = torch.randn(attached.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    to_pose, to_points = torch.autograd.grad((attached * weight).sum(), inputs)

    def difference(to_which: int, index: tuple[int, ...], step: float = 1e-7) -> torch.Tensor:
        values = []
        for sign in (1, -1):
            shifted = [value.detach().clone() for value in inputs]
            shifted[to_which][index] += sign * step
            values.append((canonical(*shifted) * weight).sum())
        return (values[0] - values[1]) / (2 * step)

    for i in range(4):
        assert to_pose[i].item() == pytest.approx(difference(0, (i,)).item(), rel=1e-4)
    for i, axis in ((0, 0), (7, 1), (19, 2), (33, 0)):
        assert to_points[i, axis].item() == pytest.approx(difference(1, (i, axis)).item(), rel=1e-4)


def test_translation_of_the_body_is_the_opposite_of_the_rays():
    """The paper's own rule gives zero here."""
    volume, shift = rod(), torch.zeros(3, requires_grad=True)
    grid = TransformGrid.of_pose(volume, bend(torch.tensor(0.4), shift))
    x = points(50)
    x_posed = grid.warp(x).detach().requires_grad_(True)
    attached = implicit_canonical(x, inverse_jacobian(x, grid.warp), x_posed, grid.warp)
    to_shift, to_points = torch.autograd.grad(attached.square().sum(), (shift, x_posed))
    torch.testing.assert_close(to_shift, -to_points.sum(0), atol=1e-4, rtol=1e-4)
    assert to_shift.abs().max() > 0.1


def grid_without_gradient(grid: TransformGrid) -> TransformGrid:
    return TransformGrid(grid.table.detach(), grid.size, grid.origin, grid.spacing, grid.joint_transforms.detach())
