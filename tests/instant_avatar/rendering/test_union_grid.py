"""The paper's shared occupancy grid against scipy and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage

from nerfstudio_avatars.instant_avatar.rendering.union_grid import UnionGrid, dilate, largest_component

UNIT_BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


def small_grid() -> UnionGrid:
    return UnionGrid(aabb=UNIT_BOX, resolution=32)


def cell_centres(grid: UnionGrid) -> torch.Tensor:
    axis = (torch.arange(grid.resolution) + 0.5) / grid.resolution * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def ball(grid: UnionGrid, centre: tuple[float, float, float], radius: float) -> torch.Tensor:
    return (cell_centres(grid) - torch.tensor(centre)).norm(dim=-1) < radius


def test_it_starts_empty():
    assert not small_grid().occupied.any()


def test_a_sphere_of_density_is_occupied_with_one_cell_around_it():
    grid = small_grid()
    sphere = ball(grid, (0.1, 0.0, -0.2), 0.5)
    before = grid.update((sphere * 100.0).flatten())
    assert not before.any()
    assert torch.equal(
        grid.occupied,
        torch.from_numpy(ndimage.binary_dilation(sphere.numpy(), iterations=1, structure=torch.ones(3, 3, 3).numpy())),
    )


def test_a_floater_goes_with_the_largest_component():
    grid = small_grid()
    body, floater = ball(grid, (-0.3, 0.0, 0.0), 0.4), ball(grid, (0.7, 0.7, 0.7), 0.1)
    grid.update(((body | floater) * 100.0).flatten())
    assert grid.occupied[body].all()
    assert not grid.occupied[floater].any()


def test_a_vanished_blob_fades_after_the_updates_that_its_density_is_worth():
    """sigma 0.8^k 0.01 < -log(1 - 0.01): the count follows from the decay and the threshold alone."""
    grid = small_grid()
    stays, vanishes = ball(grid, (-0.5, 0.0, 0.0), 0.4), ball(grid, (0.5, 0.0, 0.0), 0.45)
    grid.update(((stays | vanishes) * 100.0).flatten())
    assert grid.occupied[vanishes].all()  # the larger one; the smaller touches it or is cut
    updates = math.ceil(math.log(-math.log(1 - 0.01) / (0.01 * 100)) / math.log(0.8))
    for k in range(1, updates + 1):
        grid.update((stays * 100.0).flatten())
        assert grid.occupied[16 + 8, 16, 16] == (k < updates)
    assert grid.occupied[stays].all()


def test_poses_add_up():
    grid = small_grid()
    first, second = ball(grid, (-0.2, 0.0, 0.0), 0.3), ball(grid, (0.2, 0.0, 0.0), 0.3)
    grid.update((first * 100.0).flatten())
    grid.update((second * 100.0).flatten())
    assert grid.occupied[first | second].all()
    grid.replace((second * 100.0).flatten())
    assert not grid.occupied[first & (cell_centres(grid)[..., 0] < -0.3)].any()


def test_nothing_dense_falls_back_to_everything():
    grid = small_grid()
    grid.update(torch.full((32**3,), -5.0))
    assert grid.occupied.all()


def test_lookups_are_by_cell_and_clamped_outside():
    grid = small_grid()
    grid.occupied[31, 4, 0] = True
    y = -1 + (4 + 0.5) / 16
    inside, beyond = torch.tensor([0.99, y, -0.99]), torch.tensor([7.0, y, -3.0])
    found = grid.is_occupied(torch.stack((inside, beyond, torch.zeros(3)))[None])
    assert found.tolist() == [[True, True, False]]


def test_samples_lie_one_in_each_cell():
    grid = small_grid()
    points = grid.sample_cells(torch.Generator().manual_seed(1))
    cells = ((points + 1) * 16).floor().long().clamp(0, 31)
    assert torch.equal(cells @ torch.tensor([1024, 32, 1]), torch.arange(32**3))


def test_state_travels_in_a_checkpoint():
    grid, other = small_grid(), small_grid()
    grid.update((ball(grid, (0.0, 0.0, 0.0), 0.3) * 100.0).flatten())
    other.load_state_dict(grid.state_dict())
    assert torch.equal(grid.occupied, other.occupied) and torch.equal(grid.cached, other.cached)


def test_dilation_is_scipys():
    cells = torch.rand(9, 12, 7)
    truth = ndimage.maximum_filter(cells.numpy(), size=3, mode="constant", cval=-1)
    assert torch.equal(dilate(cells), torch.from_numpy(truth))


@pytest.mark.parametrize("fill", [0.02, 0.08, 0.2])
def test_largest_component_is_scipys(fill):
    """At these fillings random cells form many components of about equal size, snakes among them."""
    cells = torch.rand(24, 20, 28, generator=torch.Generator().manual_seed(3)) < fill
    labels, count = ndimage.label(cells.numpy(), structure=torch.ones(3, 3, 3).numpy())
    sizes = ndimage.sum_labels(cells.numpy(), labels, range(1, count + 1))
    found = largest_component(cells).numpy()
    assert found.sum() == sizes.max()
    assert len(set(labels[found])) == 1


def test_largest_component_of_nothing_is_nothing():
    assert not largest_component(torch.zeros(4, 4, 4, dtype=torch.bool)).any()
