"""The canonical occupancy: what becomes occupied, what fades, what never dies."""

import math

import pytest
import torch
from bent_capsule import capsule_distance, capsule_mesh

from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.rendering.occupancy import CanonicalOccupancy


@pytest.fixture
def volume():
    return SkinningVolume(capsule_mesh(), spacing=0.03, band=0.06)


def test_band_is_the_neighbourhood_of_the_template(volume):
    occupancy = CanonicalOccupancy(volume)
    centres = occupancy.origin + occupancy.cell_size * (occupancy.band.nonzero() + 0.5)
    assert capsule_distance(centres).max() < 0.06 + 0.005
    outside = occupancy.origin + occupancy.cell_size * ((~occupancy.band).nonzero() + 0.5)
    assert capsule_distance(outside).min() > 0.06 - 0.005


def test_a_solid_becomes_its_cells_and_one_ring(volume):
    occupancy = CanonicalOccupancy(volume)
    occupancy.recompute(lambda x: torch.where(capsule_distance(x) < 0, 100.0, 0.0))
    centres = occupancy.origin + occupancy.cell_size * (occupancy.occupied.nonzero() + 0.5)
    distance = capsule_distance(centres)
    assert distance.max() < 2 * occupancy.cell_size * math.sqrt(3)
    inside = occupancy.origin + occupancy.cell_size * (occupancy.band.nonzero() + 0.5)
    assert int((capsule_distance(inside) < -0.01).sum()) <= int((distance < -0.01).sum())


def test_a_vanished_blob_fades_after_the_computed_number_of_updates(volume):
    occupancy = CanonicalOccupancy(volume)
    occupancy.recompute(lambda x: torch.full((len(x),), 20.0))
    threshold = -math.log(1 - occupancy.threshold) / 0.01
    needed = math.ceil(math.log(threshold / 20.0) / math.log(occupancy.decay))
    low = lambda x: torch.where(x[:, 2] > 0.25, 20.0, 0.0)  # noqa: E731
    for _ in range(needed - 1):
        occupancy.update(low)
    assert occupancy.occupied[:, :, : occupancy.occupied.shape[2] // 4].any()
    occupancy.update(low)
    assert not occupancy.occupied[:, :, : occupancy.occupied.shape[2] // 4].any()


def test_an_empty_field_does_not_close_the_grid_for_ever(volume):
    occupancy = CanonicalOccupancy(volume)
    occupancy.recompute(lambda x: torch.zeros(len(x)))
    assert torch.equal(occupancy.occupied, occupancy.band)


def test_points_in_the_band_know_whether_their_cells_are_empty(volume):
    occupancy = CanonicalOccupancy(volume)
    points, empty = occupancy.points_in_band(500)
    assert points.shape == (500, 3) and not empty.any()
    solid = CanonicalOccupancy(volume)
    solid.recompute(lambda x: torch.where(capsule_distance(x) < 0, 100.0, 0.0))
    occupancy.load_state_dict(solid.state_dict())
    points, empty = occupancy.points_in_band(5000)
    distance = capsule_distance(points)
    assert distance[empty].min() > 0 and distance.max() < 0.06 + 0.02
    share = 1 - (occupancy.occupied & occupancy.band).sum() / occupancy.band.sum()
    assert 0.1 < share < 0.9 and empty.float().mean() == pytest.approx(float(share), abs=0.03)
