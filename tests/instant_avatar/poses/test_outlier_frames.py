"""The rule that finds frames which fit far worse than the others, and what is remembered of them."""

import pytest
import torch

from nerfstudio_avatars.instant_avatar.poses.outlier_frames import FEWEST_FRAMES, FEWEST_VISITS, FrameErrors, outliers


def noisy(count, spread, seed):
    """Errors as trainings have them: all alike up to a factor."""
    return 0.02 * torch.exp(spread * torch.randn(count, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_clean_errors_hold_no_outlier_and_planted_ones_are_found(seed, spread):
    errors = noisy(60, spread, seed)
    assert not outliers(errors).any()
    planted = torch.tensor([3, 17, 59])
    errors[planted] = 0.12
    assert outliers(errors).nonzero()[:, 0].tolist() == planted.tolist()


def test_a_third_of_all_frames_may_be_outliers():
    errors = noisy(60, 0.1, 0)
    errors[::3] *= 5
    assert outliers(errors).nonzero()[:, 0].tolist() == list(range(0, 60, 3))


def test_frames_that_fit_better_than_all_others_are_none():
    errors = noisy(60, 0.1, 0)
    errors[7] /= 50
    assert not outliers(errors).any()


def test_evenly_fitting_frames_are_not_told_apart_by_a_hairs_breadth():
    errors = torch.full((60,), 0.02)
    errors[5] = 0.03
    assert not outliers(errors).any()
    errors[5] = 0.1
    assert outliers(errors).nonzero()[:, 0].tolist() == [5]


def test_few_frames_have_no_usual_error():
    errors = torch.tensor([1.0] * (FEWEST_FRAMES - 2) + [100.0])
    assert not outliers(errors).any()


@pytest.fixture
def seen():
    """Frames 0, 2, ... 38 of 40 are trained on; 10 fits badly."""
    trained = torch.arange(0, 40, 2)
    errors = noisy(20, 0.1, 1)
    errors[5] = 1.0
    found = FrameErrors(40, trained)
    for _ in range(FEWEST_VISITS):
        found.update(trained, errors)
    return found


def test_nothing_is_said_before_every_frame_was_seen_a_few_times(seen):
    assert seen.outlier_frames().tolist() == [10]
    seen.visits[38] -= 1
    assert seen.outlier_frames().tolist() == []


def test_only_outliers_count_less(seen):
    torch.testing.assert_close(seen.weights(torch.tensor([8, 10, 12]), 0.05), torch.tensor([1.0, 0.05, 1.0]))


def test_a_frame_that_comes_to_fit_is_forgiven(seen):
    for _ in range(60):
        seen.update(torch.tensor([10]), torch.tensor([0.02]))
    assert seen.outlier_frames().tolist() == []


def test_what_is_stored_names_the_same_frames(seen):
    other = FrameErrors(40, torch.arange(0, 40, 2))
    assert other.outlier_frames().tolist() == []
    other.load_state_dict(seen.state_dict())
    assert other.outlier_frames().tolist() == [10]
