"""Geometry figures against closed forms, numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.demo.heads import HeadPose
from nerfstudio_avatars.metrics.geometry import (
    align_rotations,
    depth_agreement,
    normal_error,
    part_overlap,
    rotation_error,
    turn_agreement,
    yaw_agreement,
    yaw_from_matrix,
)


@pytest.fixture
def depth():
    """Two pictures of a hemisphere's depth and their mask."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 33), indexing="ij")
    mask = (x.square() + y.square() < 0.8).expand(2, -1, -1)
    return 10 - (1 - x.square() - y.square()).clamp(min=0).sqrt().expand(2, -1, -1), mask


def _rotations(count, seed=0):
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


def test_half_the_relief_at_another_distance(depth):
    true, mask = depth
    found = depth_agreement(0.5 * true + torch.tensor([3.0, -2.0])[:, None, None], true, mask)
    torch.testing.assert_close(found.correlation, torch.ones(2))
    torch.testing.assert_close(found.relief_gain, torch.full((2,), 0.5))
    torch.testing.assert_close(found.aligned_error, torch.zeros(2), atol=1e-6, rtol=0)


def test_depth_figures_are_numpys(depth):
    true, mask = depth
    torch.manual_seed(0)
    predicted = true + 0.2 * torch.randn(2, 33, 33)
    found = depth_agreement(predicted, true, mask)
    for picture in range(2):
        p, t = (maps[picture][mask[picture]].double().numpy() for maps in (predicted, true))
        assert found.correlation[picture].item() == pytest.approx(np.corrcoef(p, t)[0, 1], rel=1e-5)
        assert found.relief_gain[picture].item() == pytest.approx(np.polyfit(t, p, 1)[0], rel=1e-5)
        assert found.aligned_error[picture].item() == pytest.approx(
            np.abs(np.polyval(np.polyfit(p, t, 1), p) - t).mean(), rel=1e-5
        )


def test_a_flat_picture_and_one_turned_inside_out(depth):
    true, mask = depth
    predicted = torch.stack([torch.full((33, 33), 9.3), -true[1]])
    found = depth_agreement(predicted, true, mask)
    torch.testing.assert_close(found.correlation, torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(found.relief_gain, torch.tensor([0.0, -1.0]))
    # Neither can be aligned by a positive factor: what is left is the truth's own mean deviation.
    deviation = (true[0][mask[0]] - true[0][mask[0]].mean()).abs().mean()
    torch.testing.assert_close(found.aligned_error, deviation.expand(2))


def test_outside_the_mask_nothing_counts(depth):
    true, mask = depth
    predicted = torch.where(mask, true, torch.inf)
    assert depth_agreement(predicted, true, mask).relief_gain.tolist() == pytest.approx([1, 1])
    empty = depth_agreement(predicted, true, torch.zeros_like(mask))
    assert empty.correlation.isnan().all() and empty.aligned_error.isnan().all()


@pytest.mark.parametrize("degrees", [0.0, 0.01, 30.0, 90.0, 180.0])
def test_normals_turned_by_an_angle_are_that_far_off(degrees):
    true = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    aside = torch.linalg.cross(true, torch.randn(2, 5, 4, 3, dtype=torch.float64))
    aside = aside / aside.norm(dim=-1, keepdim=True) * true.norm(dim=-1, keepdim=True)
    angle = math.radians(degrees)
    turned = 7 * (math.cos(angle) * true + math.sin(angle) * aside)
    error = normal_error(turned, true, torch.ones(2, 5, 4, dtype=torch.bool))
    assert error.tolist() == pytest.approx([degrees] * 2, abs=1e-4)


def test_only_masked_normals_count_and_missing_ones_are_a_right_angle_off():
    true = torch.tensor([0.0, 0.0, -1.0]).expand(1, 2, 2, 3)
    predicted = true.clone()
    predicted[0, 0, 0] = 0
    predicted[0, 1, 1] = -true[0, 1, 1]
    mask = torch.tensor([[[True, True], [True, False]]])
    assert normal_error(predicted, true, mask).item() == pytest.approx(30)


def test_parts_are_matched_whatever_their_numbers():
    true = torch.tensor([[0, 0, 1, 1], [-1, 2, 2, 2]])
    found = part_overlap(torch.tensor([[5, 5, 0, 0], [-1, 3, 3, 3]]), true)
    assert found.match.tolist() == [5, 0, 3] and found.iou.tolist() == [1, 1, 1] and found.mean == 1


def test_one_part_for_everything_matches_one_true_part_only():
    true = torch.tensor([0] * 6 + [1] * 2 + [-1] * 2)
    found = part_overlap(torch.tensor([0] * 8 + [-1] * 2), true)
    assert found.match.tolist() == [0, -1]
    assert found.iou.tolist() == pytest.approx([0.75, 0])
    assert part_overlap(torch.full((10,), -1), true).mean == 0


def test_the_match_is_the_best_one_not_the_greedy_one():
    # Part 0 of the prediction fits both true parts; taking the better one first would leave the other with nothing.
    true = torch.tensor([0] * 10 + [1] * 10)
    predicted = torch.tensor([1] * 4 + [0] * 6 + [0] * 9 + [2])
    ious = [[6 / 19, 4 / 10, 0], [9 / 16, 0, 1 / 10]]
    best = max(ious[0][i] + ious[1][j] for i in range(3) for j in range(3) if i != j)
    assert part_overlap(predicted, true).iou.sum().item() == pytest.approx(best)


def test_yaw_agreement_is_free_of_each_identitys_zero_but_the_pool_is_not():
    torch.manual_seed(0)
    true = 40 * torch.rand(40) - 20
    identity = torch.arange(2).repeat_interleave(20)
    shared = yaw_agreement(0.5 * true + 170, true, identity)
    assert shared.per_identity == pytest.approx({0: 1, 1: 1}) and shared.median == pytest.approx(1)
    assert shared.pooled == pytest.approx(1, abs=1e-6) and shared.slope == pytest.approx(0.5, abs=1e-6)
    apart = yaw_agreement(true + 60 * identity, true, identity)
    assert apart.median == pytest.approx(1) and apart.pooled < 0.7


def test_yaw_figures_are_numpys():
    torch.manual_seed(0)
    true, noise = 30 * torch.randn(50), 10 * torch.randn(50)
    found = yaw_agreement(true + noise, true, torch.zeros(50, dtype=torch.long))
    a, t = (true + noise).double().numpy(), true.double().numpy()
    assert found.pooled == pytest.approx(np.corrcoef(a, t)[0, 1], rel=1e-5)
    assert found.slope == pytest.approx(np.polyfit(t, a, 1)[0], rel=1e-5)


def test_a_head_that_never_turns_agrees_with_nothing():
    true = torch.linspace(-20, 20, 10)
    found = yaw_agreement(torch.full((10,), 3.0), true, torch.arange(10) // 5)
    assert found.per_identity == {0: 0, 1: 0} and found.pooled == 0 and found.slope == 0
    # An identity whose truth is at rest says nothing, and is left out.
    assert set(yaw_agreement(true, torch.tensor([5.0] * 5 + list(range(5))), torch.arange(10) // 5).per_identity) == {1}


def test_one_rotation_aligns_all_frames():
    true, turn = _rotations(20), _rotations(1, seed=1)
    torch.testing.assert_close(align_rotations(true @ turn.mT, true), true)


def test_rotation_error_is_scipys_angle():
    a, b = _rotations(20), _rotations(20, seed=1)
    expected = (Rotation.from_matrix(a.numpy()).inv() * Rotation.from_matrix(b.numpy())).magnitude()
    torch.testing.assert_close(rotation_error(a, b), torch.from_numpy(np.degrees(expected)))


def test_yaw_is_the_demo_heads_yaw():
    for yaw, pitch, roll in ((0.5, 0, 0), (-0.4, 0.3, 0.2), (1.2, -0.3, -0.4)):
        rotation = torch.from_numpy(HeadPose(yaw, pitch, roll).rotation)
        assert yaw_from_matrix(rotation).item() == pytest.approx(math.degrees(yaw))
    # The nose, at -z, goes to the picture's right.
    assert (torch.from_numpy(HeadPose(0.5).rotation) @ torch.tensor([0, 0, -1.0], dtype=torch.float64))[0] > 0


def test_turns_of_a_part_are_compared_without_where_it_rests():
    true, identity = torch.tensor([0.0, 0.2, 0.4, 0.1, 0.3, 0.2]), torch.tensor([0, 0, 0, 1, 1, 1])
    found = 0.5 * true + torch.tensor([1.0, 1.0, 1.0, -2.0, -2.0, -2.0])
    correlation, slope = turn_agreement(found, true, identity)
    assert correlation == pytest.approx(1) and slope == pytest.approx(0.5)
    assert turn_agreement(torch.zeros(6), true, identity) == (0, 0)
