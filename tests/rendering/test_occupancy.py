"""The canonical occupancy: what becomes occupied, what fades, what never dies."""

import math

import pytest
import torch
from bent_capsule import capsule_distance, capsule_mesh

from nerfstudio_avatars.deformations.skinning_volume import SkinningVolume
from nerfstudio_avatars.rendering.occupancy import CanonicalOccupancy


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


def test_empty_points_lie_in_unoccupied_cells_and_are_as_many_as_their_share(volume):
    occupancy = CanonicalOccupancy(volume)
    assert len(occupancy.empty_points(500)) == 0
    solid = CanonicalOccupancy(volume)
    solid.recompute(lambda x: torch.where(capsule_distance(x) < 0, 100.0, 0.0))
    occupancy.load_state_dict(solid.state_dict())
    points = occupancy.empty_points(500)
    assert capsule_distance(points).min() > 0
    share = 1 - (occupancy.occupied & occupancy.band).sum() / occupancy.band.sum()
    assert 0 < len(points) == round(500 * float(share))
