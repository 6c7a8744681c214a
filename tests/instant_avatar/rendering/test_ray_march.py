"""Marching a bent capsule: the numba twin, empty space, early ends."""

import dataclasses

import pytest
import torch
from bent_capsule import LENGTH, bend, bin_cells, capsule_distance, capsule_mesh

from nerfstudio_avatars.instant_avatar.articulation.binning import _binning_torch, bin_all
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.articulation.snarf import unpose
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget, run, run_together
from nerfstudio_avatars.instant_avatar.rendering.occupancy import CanonicalOccupancy
from nerfstudio_avatars.instant_avatar.rendering.ray_march import _marching_torch, march
from nerfstudio_avatars.instant_avatar.rendering.samples import MarchSettings, PosedSpace

SETTINGS = MarchSettings(step=0.01, max_samples=128, cut=1e9)


@pytest.fixture(scope="module")
def scene():
    torch.manual_seed(0)
    volume = SkinningVolume(capsule_mesh(), spacing=0.03, band=0.05)
    occupancy = CanonicalOccupancy(volume)
    occupancy.start(lambda x: torch.where(capsule_distance(x) < 0, 50.0, 0.5))
    nodes = volume.pose_nodes(bend(1.0))
    posed = bin_cells(nodes, volume.cells, occupancy.occupied_cells(volume))
    origins = torch.tensor([[0.0, -2.0, LENGTH / 2]]).repeat(300, 1)
    targets = torch.randn(300, 3) * torch.tensor([0.1, 0.1, 0.25]) + torch.tensor([0.0, 0.0, LENGTH / 2])
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    return volume, occupancy, posed, origins, directions, torch.rand(300)


def _by_sample(samples):
    """{(ray, step): canonical roots}."""
    keys = list(zip(samples.ray.tolist(), (samples.t / SETTINGS.step * 8).round().int().tolist(), strict=True))
    roots: dict = {key: [] for key in keys}
    for x, point in zip(samples.roots.x_canonical, samples.roots.point.tolist(), strict=True):
        roots[keys[point]].append(x)
    return roots


def _same(a, b):
    """Equal but for roots on the very face of a cell, where the last bit of a float decides."""
    first, second = _by_sample(a), _by_sample(b)
    common = [key for key in first if key in second and len(first[key]) == len(second[key])]
    assert len(common) >= 0.998 * max(len(first), len(second))
    for key in common:
        torch.testing.assert_close(torch.stack(first[key]), torch.stack(second[key]), atol=1e-3, rtol=0)
    for samples in (a, b):
        assert torch.equal(samples.roots.point.unique_consecutive(), torch.arange(len(samples.ray)))


@pytest.mark.parametrize(
    "settings", [SETTINGS, dataclasses.replace(SETTINGS, cut=2.0), dataclasses.replace(SETTINGS, max_samples=9)]
)
def test_numba_twin_equals_the_specification(scene, settings):
    volume, occupancy, posed, origins, directions, jitter = scene
    arguments = (origins, directions, jitter, PosedSpace(posed, volume, occupancy.cached(), settings))
    fast, slow = march(*arguments), run(_marching_torch(*arguments))
    assert len(slow.ray) > 500
    _same(fast, slow)


def test_binning_twins_agree(scene):
    """Several poses side by side, one of them so bent that cells fold."""
    volume, occupancy, *_ = scene
    occupied = occupancy.occupied_cells(volume)
    nodes = torch.stack([volume.pose_nodes(bend(angle)) for angle in (1.0, 0.4, 2.6)])
    for of_pose, posed in zip(nodes, bin_all(nodes, volume.cells, occupied, 0.025), strict=True):
        slow = run(_binning_torch(of_pose, volume.cells, occupied, 0.025))
        assert slow.dims == posed.dims and torch.equal(slow.box, posed.box)
        assert torch.equal(slow.offsets, posed.offsets)
        for b in (slow.offsets[1:] > slow.offsets[:-1]).nonzero()[:200, 0].tolist():
            members = slice(int(slow.offsets[b]), int(slow.offsets[b + 1]))
            assert set(slow.members[members].tolist()) == set(posed.members[members].tolist())
        binned = occupied
        for name in ("lower", "upper"):
            assert torch.equal(getattr(slow, name)[binned], getattr(posed, name)[binned]), name
        # Where two corners are folded alike, the last bit decides between them.
        sides, expected = posed.sides[binned], slow.sides[binned]
        assert torch.equal(sides < 0, expected < 0)
        assert (sides != expected).any(1).sum() <= 0.1 * (expected[:, 0] >= 0).sum()
    assert (expected >= 0).any()


def test_padding_comes_last_and_is_not_seen(scene):
    volume, occupancy, posed, origins, directions, jitter = scene

    def both(budget):
        occupied = occupancy.occupied_cells(volume)
        (cells,) = run_together([_binning_torch(posed.nodes, volume.cells, occupied, posed.bin_size)], budget)
        space = PosedSpace(cells, volume, occupancy.cached(), SETTINGS)
        return cells, *run_together([_marching_torch(origins, directions, jitter, space)], budget)

    budget = Budget()
    cells, exact = both(budget)
    budget.settle()
    padded_cells, padded = both(budget)
    assert budget.fits
    assert all(padded > d for d, padded in zip(cells.dims, padded_cells.dims, strict=True))
    assert cells.members.unique().equal(padded_cells.members[: padded_cells.offsets[-1]].unique())
    samples, roots = len(exact.ray), len(exact.roots.point)
    assert len(padded.ray) > samples and len(padded.roots.point) > roots
    assert torch.equal(padded.ray[:samples], exact.ray) and torch.equal(padded.t[:samples], exact.t)
    assert (padded.ray[samples:] == len(origins)).all()
    for name in ("x_canonical", "point", "cell", "local"):
        assert torch.equal(getattr(padded.roots, name)[:roots], getattr(exact.roots, name)), name
    assert (padded.roots.point[roots:] == len(padded.ray) - 1).all()


def test_every_sample_of_an_unbent_capsule_is_its_own_root(scene):
    volume, occupancy, _, origins, directions, jitter = scene
    posed = bin_cells(volume.pose_nodes(bend(0.0)), volume.cells, occupancy.occupied_cells(volume))
    samples = march(origins, directions, jitter, PosedSpace(posed, volume, occupancy.cached(), SETTINGS))
    x = origins[samples.ray] + samples.t[:, None] * directions[samples.ray]
    assert len(samples.ray) == len(samples.roots.point)
    torch.testing.assert_close(samples.roots.x_canonical, x, atol=2e-4, rtol=0)


def test_nothing_inside_the_body_is_skipped(scene):
    """Posed points of canonical ones within the occupied band are found by the cells: nothing falls through a face."""
    volume, _, posed, *_ = scene
    x = torch.rand(4000, 3) * torch.tensor([0.3, 0.3, 0.8]) - torch.tensor([0.15, 0.15, 0.15])
    x = x[capsule_distance(x) < 0.04]
    i = ((x - volume.origin) / volume.spacing).floor().int()
    lookup = {tuple(c): n for n, c in enumerate(volume.cell_index.tolist())}
    rows = torch.tensor([lookup[tuple(c)] for c in i.tolist()])
    local = (x - volume.origin) / volume.spacing - i
    from nerfstudio_avatars.instant_avatar.articulation.snarf import warp_in_cell

    x_posed = warp_in_cell(posed.nodes[volume.cells[rows].long()], local)
    roots = unpose(x_posed, posed, volume)
    error = (roots.x_canonical - x[roots.point]).norm(dim=-1)
    nearest = torch.full((len(x),), 1e9).scatter_reduce(0, roots.point, error, "amin")
    assert (nearest < 3e-4).float().mean() > 0.999


def test_the_cut_ends_rays_but_never_their_first_samples(scene):
    volume, occupancy, posed, origins, directions, jitter = scene
    whole = march(origins, directions, jitter, PosedSpace(posed, volume, occupancy.cached(), SETTINGS))
    early = PosedSpace(posed, volume, occupancy.cached(), dataclasses.replace(SETTINGS, cut=1.0))
    short = march(origins, directions, jitter, early)
    assert 0 < len(short.ray) < len(whole.ray)
    for ray in short.ray.unique().tolist():
        a, b = whole.t[whole.ray == ray], short.t[short.ray == ray]
        assert torch.equal(a[: len(b)], b)


def test_unoccupied_cells_are_skipped(scene):
    volume, _, _, origins, directions, jitter = scene
    occupancy = CanonicalOccupancy(volume)
    occupancy.recompute(lambda x: torch.where(x[:, 2] < 0.1, 80.0, 0.0))
    posed = bin_cells(volume.pose_nodes(bend(1.0)), volume.cells, occupancy.occupied_cells(volume))
    samples = march(origins, directions, jitter, PosedSpace(posed, volume, occupancy.cached(), SETTINGS))
    assert len(samples.ray) > 0
    assert samples.roots.x_canonical[:, 2].max() < 0.1 + 2 * volume.spacing
