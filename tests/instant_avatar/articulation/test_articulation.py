"""Posed -> canonical on the stand-in body, against an independent dense search and finite differences."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from dense_search import DenseSearch

from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.instant_avatar.articulation.binning import _binning_torch
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh, SkinningVolume
from nerfstudio_avatars.instant_avatar.articulation.snarf import (
    _invert_cells,
    _unpose_torch,
    attach_pose_gradient,
    unpose,
    warp_in_cell,
)
from nerfstudio_avatars.instant_avatar.dynamic_sizes import run
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state

BAND = 0.08
MILD, HARD = 0.35, 0.7


class Rig:
    """The stand-in body in its canonical pose, its volume, and random poses of it."""

    def __init__(self) -> None:
        self.body = load_standin()
        state = canonical_state(torch.zeros(10))
        canonical = self.body.pose(state)
        self.rest_joints = self.body.rest(state.betas)[1]
        self.mesh = Mesh(canonical.vertices, self.body.faces, self.body.weights)
        self.volume = SkinningVolume(self.mesh, spacing=0.03, band=BAND)
        self.canonical_inverse = torch.linalg.inv(
            self.joints(torch.cat([torch.zeros(3), state.body_pose, torch.zeros(3)]))
        )

    def joints(self, pose: torch.Tensor) -> torch.Tensor:
        """Rest -> posed, of a pose of 75 numbers: orientation, body, translation."""
        rest = self.rest_joints.to(pose.dtype)
        return joint_transforms(rest, pose[:3], pose[3:72], pose[72:], self.body.parents)

    def transforms(self, pose: torch.Tensor) -> torch.Tensor:
        """Canonical -> posed."""
        return self.joints(pose) @ self.canonical_inverse.to(pose.dtype)

    def canonical_pose(self) -> torch.Tensor:
        return torch.cat([torch.zeros(3), canonical_state(torch.zeros(10)).body_pose, torch.zeros(3)])

    def random_pose(self, std: float, seed: int) -> torch.Tensor:
        pose = torch.randn(75, generator=torch.Generator().manual_seed(seed))
        return pose * torch.tensor([std] * 72 + [0.3] * 3)

    def points_near(self, pose: torch.Tensor, count: int, seed: int) -> torch.Tensor:
        """Points about the posed skin, 3 cm off it on average."""
        generator = torch.Generator().manual_seed(seed)
        blended = torch.einsum("vj,jab->vab", self.mesh.weights, self.transforms(pose))
        skin = (blended[:, :3, :3] @ self.mesh.vertices[..., None])[..., 0] + blended[:, :3, 3]
        chosen = torch.randint(len(skin), (count,), generator=generator)
        return skin[chosen] + 0.03 * torch.randn(count, 3, generator=generator)

    def posed_cells(self, pose: torch.Tensor) -> PosedCells:
        everywhere = torch.ones(len(self.volume.cells), dtype=torch.bool)
        nodes = self.volume.pose_nodes(self.transforms(pose))
        return run(_binning_torch(nodes, self.volume.cells, everywhere, 0.025))


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig()


def share_found(rig: Rig, std: float, seeds: range, count: int) -> tuple[float, float]:
    """Share of the dense search's roots that the cells found, and share of roots that only the cells found."""
    found, total, surplus = 0, 0, 0
    for seed in seeds:
        pose = rig.random_pose(std, seed)
        x_posed = rig.points_near(pose, count, seed)
        true_roots, true_point = DenseSearch(rig.volume, rig.transforms(pose), nearest=72).roots(x_posed)
        roots = unpose(x_posed, rig.posed_cells(pose), rig.volume)
        distance = torch.cdist(true_roots, roots.x_canonical.double())
        distance[true_point[:, None] != roots.point] = torch.inf
        near = rig.volume.distance_at(true_roots.float()) < BAND
        found += int((distance[near].amin(1) < 1e-3).sum())
        total += int(near.sum())
        body = rig.volume.distance_at(roots.x_canonical) < BAND
        surplus += int((distance.amin(0)[body] > 1e-3).sum())
    return found / total, surplus / total


def test_canonical_pose_is_the_identity_with_one_root_a_point(rig):
    x = rig.mesh.vertices[::7] + 0.01 * torch.randn(len(rig.mesh.vertices[::7]), 3)
    roots = unpose(x, rig.posed_cells(rig.canonical_pose()), rig.volume)
    assert torch.equal(roots.point, torch.arange(len(x)))
    torch.testing.assert_close(roots.x_canonical, x, atol=1e-5, rtol=0)


def test_mild_poses_lose_no_root(rig):
    share, surplus = share_found(rig, MILD, range(6), 500)
    assert share >= 0.999
    assert surplus < 0.005  # the dense search may miss some too


def test_hard_poses_lose_hardly_a_root(rig):
    share, surplus = share_found(rig, HARD, range(6), 500)
    assert share >= 0.995
    assert surplus < 0.01


def test_some_points_of_hard_poses_have_several_roots(rig):
    """Self-contact is in the test above, not only said to be."""
    pose = rig.random_pose(HARD, 5)
    roots = unpose(rig.points_near(pose, 1000, 5), rig.posed_cells(pose), rig.volume)
    assert (roots.point.bincount() > 1).float().mean() > 0.05


def test_every_root_leads_back_to_its_point(rig):
    pose = rig.random_pose(HARD, 11)
    x_posed = rig.points_near(pose, 2000, 11)
    roots = unpose(x_posed, rig.posed_cells(pose), rig.volume)
    image, _ = DenseSearch(rig.volume, rig.transforms(pose)).forward(
        roots.x_canonical.double().clamp(min=rig.volume.origin.double())
    )
    inside = image.isfinite().all(-1)  # a root on the very border of the active cells may count as outside
    assert inside.float().mean() > 0.99
    assert (image - x_posed[roots.point])[inside].norm(dim=-1).max() < 3e-4


def test_points_off_the_body_have_no_root(rig):
    pose = rig.random_pose(MILD, 1)
    far = rig.points_near(pose, 100, 1) + torch.tensor([0.0, 5.0, 0.0])
    assert len(unpose(far, rig.posed_cells(pose), rig.volume).point) == 0


def test_the_cells_map_moves_the_skin_like_linear_blend_skinning(rig):
    """The piecewise trilinear map stands for blended weights; on the skin they agree to millimetres."""
    pose = rig.random_pose(MILD, 2)
    blended = torch.einsum("vj,jab->vab", rig.mesh.weights, rig.transforms(pose))
    skin = (blended[:, :3, :3] @ rig.mesh.vertices[..., None])[..., 0] + blended[:, :3, 3]
    image, _ = DenseSearch(rig.volume, rig.transforms(pose)).forward(rig.mesh.vertices.double())
    error = (image - skin).norm(dim=-1)
    assert error.median() < 0.003 and error.quantile(0.99) < 0.03


@pytest.mark.parametrize(("std", "seed"), [(MILD, 21), (HARD, 22)])
def test_pose_gradient_matches_finite_differences(rig, std, seed):
    """Orientation, joints and translation, in float64, each against a fresh search on either side."""
    volume = copy.deepcopy(rig.volume).double()
    pose = rig.random_pose(std, seed).double()
    x_posed = rig.points_near(pose.float(), 60, seed).double()
    everywhere = torch.ones(len(volume.cells), dtype=torch.bool)

    def search(at: torch.Tensor) -> Roots:
        nodes = volume.pose_nodes(rig.transforms(at))
        return unpose(x_posed, run(_binning_torch(nodes, volume.cells, everywhere, 0.025)), volume)

    roots = search(pose)
    direction = torch.randn(roots.x_canonical.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # A finite difference must not cross a face of a cell, where the map bends, nor a fold, where roots die.
    clear = ((roots.local > 0.02) & (roots.local < 0.98)).all(-1)
    moving = pose.clone().requires_grad_(True)
    corners = volume.pose_nodes(rig.transforms(moving))[volume.cells[roots.cell]]
    attached = attach_pose_gradient(roots.x_canonical, roots.local, corners, volume.spacing, largest=1e9)
    torch.testing.assert_close(attached.detach(), roots.x_canonical)

    step, checked = 1e-6, 0
    columns = [0, 1, 2, *range(3 + seed % 7, 72, 7), 72, 73, 74]
    for column in columns:
        difference = []
        for sign in (1, -1):
            shifted = pose.clone()
            shifted[column] += sign * step
            difference.append(search(shifted))
        ahead, behind = difference
        if len(ahead.point) != len(roots.point) or len(behind.point) != len(roots.point):
            continue
        same = clear & (ahead.cell == roots.cell) & (behind.cell == roots.cell)
        numeric = ((ahead.x_canonical - behind.x_canonical) / (2 * step) * direction).sum(-1)
        for i in same.nonzero()[:3, 0].tolist():
            (gradient,) = torch.autograd.grad((attached[i] * direction[i]).sum(), moving, retain_graph=True)
            assert gradient[column].item() == pytest.approx(numeric[i].item(), rel=1e-3, abs=1e-4)
            checked += 1
    assert checked >= 2 * len(columns)


def test_folds_do_not_shout(rig):
    """The inverse Jacobian is capped, so one squeezed cell cannot outweigh all others."""
    corners = torch.rand(50, 8, 3) * 1e-4
    corners.requires_grad_(True)
    local = torch.rand(50, 3)
    attached = attach_pose_gradient(torch.zeros(50, 3), local, corners, spacing=0.03)
    (gradient,) = torch.autograd.grad(attached.sum(), corners)
    assert gradient.isfinite().all() and gradient.abs().max() <= 6.0 * 3**0.5


def test_warp_in_cell_is_trilinear():
    corners, local = torch.rand(5, 8, 3), torch.rand(5, 3)
    volume = corners.permute(0, 2, 1).reshape(5, 3, 2, 2, 2)  # z, y, x: x fastest
    truth = torch.nn.functional.grid_sample(volume, local[:, None, None, None] * 2 - 1, align_corners=True)
    torch.testing.assert_close(warp_in_cell(corners, local), truth[..., 0, 0, 0])


def test_weights_near_the_skin_are_the_skins(rig):
    """16.4: normalised, and a node beside a vertex has about that vertex's weights."""
    weights, positions = rig.volume.node_weights, rig.volume.node_positions
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)), atol=1e-5, rtol=0)
    assert (weights >= 0).all()
    weights, positions = weights[::5], positions[::5]
    distance, nearest = torch.cdist(positions, rig.mesh.vertices).min(1)
    close = distance < 0.008
    assert close.sum() > 20
    assert (weights[close] - rig.mesh.weights[nearest[close]]).abs().sum(-1).median() < 0.2


def test_the_numba_twin_finds_the_same_roots(rig, monkeypatch):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    twin = pytest.importorskip(
        "nerfstudio_avatars.instant_avatar.articulation._numba_unpose", reason="numba is not installed"
    )
    pose = rig.random_pose(HARD, 31)
    x_posed, posed = rig.points_near(pose, 3000, 31), rig.posed_cells(pose)
    truth, found = unpose(x_posed, posed, rig.volume), twin.unpose(x_posed, posed, rig.volume)
    distance = torch.cdist(truth.x_canonical.double(), found.x_canonical.double())
    distance[truth.point[:, None] != found.point] = torch.inf
    assert (distance.amin(1) < 1e-4).float().mean() > 0.999
    assert (distance.amin(0) < 1e-4).float().mean() > 0.999


@pytest.mark.slow
def test_the_triton_twin_finds_the_same_roots(rig, triton_device):
    pose = rig.random_pose(HARD, 31)
    x_posed, posed = rig.points_near(pose, 150, 31), rig.posed_cells(pose)
    x_posed[3] = torch.nan
    truth = _unpose_torch(x_posed, posed, rig.volume)
    assert (truth.point.bincount() > 1).any() and (posed.sides[truth.cell] >= 0).any()
    moved = {name: value.to(triton_device) for name, value in vars(posed).items() if isinstance(value, torch.Tensor)}
    volume = copy.deepcopy(rig.volume).to(triton_device)
    found = unpose(x_posed.to(triton_device), dataclasses.replace(posed, **moved), volume)
    assert torch.equal(found.point.cpu(), truth.point) and torch.equal(found.cell.cpu(), truth.cell)
    torch.testing.assert_close(found.x_canonical.cpu(), truth.x_canonical, atol=1e-5, rtol=0)


def test_implicit_gradient_is_that_of_the_inverse_map():
    """gradcheck in float64: each finite difference searches anew in the moved cells."""
    torch.manual_seed(0)
    spacing, corner = 0.03, torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).double()
    corners = (spacing * (corner + 0.15 * torch.randn(6, 8, 3, dtype=torch.float64))).requires_grad_()
    x_posed = warp_in_cell(corners.detach(), torch.rand(6, 3, dtype=torch.float64) * 0.8 + 0.1)

    def root(moved):
        with torch.no_grad():
            local, error = _invert_cells(moved, x_posed, torch.full((6,), -1))
        assert error.max() < 1e-10
        return attach_pose_gradient(spacing * local, local, moved, spacing, largest=1e9)

    assert torch.autograd.gradcheck(root, (corners,), eps=1e-8, atol=1e-5)
