"""The size of pictures that are drawn in time, with machines whose costs are known."""

import pytest

from nerfstudio_avatars.studio.picture_budget import LEAST_SIDE, MOST_SIDE, PictureBudget, size_of


def _settled(fixed, slope, seconds=0.1):
    """Draws as the page does: each picture as large as the budget says."""
    budget = PictureBudget(seconds)
    for _ in range(40):
        side = budget.side()
        budget.drawn(side * side, fixed + slope * side * side)
    return budget.side()


@pytest.mark.parametrize(("fixed", "slope", "side"), [(0.03, 1e-6, 256), (0.0, 4e-7, 480), (0.03, 3.6e-6, 128)])
def test_it_finds_what_a_machine_can_do(fixed, slope, side):
    assert _settled(fixed, slope) == pytest.approx(side, abs=32)


def test_a_fixed_cost_does_not_drive_it_to_the_smallest_picture():
    """What nerfstudio's rays per second do: 29 ms for 30 pixels are taken for a hopeless machine."""
    measured = {30: 0.029, 128: 0.068, 256: 0.171, 512: 0.541}
    budget = PictureBudget(0.1)
    for side, seconds in measured.items():
        budget.drawn(side * side, seconds)
    assert 128 <= budget.side() <= 192


@pytest.mark.parametrize(("cost", "side"), [(10.0, LEAST_SIDE), (1e-6, MOST_SIDE)])
def test_there_are_bounds(cost, side):
    assert _settled(cost, 1e-12) == side


def test_a_picture_has_the_pages_proportions():
    assert size_of(600, 1.5) == (400, 600)
    assert size_of(600, 0.5) == (600, 300)
