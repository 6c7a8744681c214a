"""Motions of parts against the whole: upright pictures, and a network that learns what it is shown."""

from __future__ import annotations

import math

import pytest
import torch

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import pixel_grid
from nerfstudio_avatars.unsup_volanim.perspective_n_point import project
from nerfstudio_avatars.unsup_volanim.relative_pose_detector import (
    RelativePoseDetector,
    RelativePoseDetectorConfig,
    set_upright,
)
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses


def spot(place, size=64, width=0.06):
    """A picture of one bright spot."""
    distance = (pixel_grid(size) - place).square().sum(-1)
    return torch.exp(-distance / (2 * width**2)).expand(1, 3, -1, -1)


def middle_of(picture):
    shares = picture.mean(1).flatten(1)
    return (shares @ pixel_grid(picture.shape[-1]).flatten(0, 1) / shares.sum(1, keepdim=True))[0]


@pytest.mark.parametrize("point", [(0.0, 0.4, 0.0), (0.3, -0.2, 0.0), (0.0, 0.0, 0.0)])
def test_an_upright_picture_shows_points_where_they_are_at_rest(point):
    """Whatever the shift and the roll: a point of the object's own plane is seen where it would be without them."""
    roll, shift = torch.tensor([[[0.0, 0.0, 0.5]]]), torch.tensor([[[0.2, -0.15, 0.8]]])
    whole = PartPoses(axis_angle_to_matrix(roll), shift)
    points = torch.tensor(point)[None, None]
    seen = project(points, whole.rotation[:, 0], whole.translation[:, 0], FOCAL, DISTANCE)[0, 0]
    upright = set_upright(spot(seen), whole, pixel_grid(64))
    rest = project(points, torch.eye(3)[None], torch.zeros(1, 3), FOCAL, DISTANCE)[0, 0]
    torch.testing.assert_close(middle_of(upright), rest / 0.9, atol=0.02, rtol=0)


def test_it_learns_how_far_a_part_has_turned():
    """A spot whose height says by how much: half of the turns were never shown."""
    torch.manual_seed(0)
    detector = RelativePoseDetector(RelativePoseDetectorConfig(24, (8, 12), hidden=32), 2)
    detector.follow(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.3, 0.0]]), torch.tensor([0.8, 0.2]))
    turns = torch.linspace(0, 0.5, 20)
    images = torch.cat([spot(torch.tensor([0.0, float(turn)]), 24, 0.15) for turn in turns])
    whole = PartPoses(torch.eye(3).expand(20, 1, 3, 3), torch.zeros(20, 1, 3))
    motion = torch.zeros(20, 2, 3)
    motion[:, 1, 0] = turns
    true = whole.moved_within(motion, torch.zeros(20, 2, 3), detector.pivots)
    shown = torch.arange(0, 20, 2)
    adam = torch.optim.Adam(detector.parameters(), lr=2e-3)
    for _ in range(250):
        loss = detector.loss(images[shown], whole[shown], true[shown])
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        found = detector(images, whole).rotation[1::2, 1]
    angles = torch.atan2(found[:, 2, 1], found[:, 2, 2])
    assert torch.corrcoef(torch.stack([angles, turns[1::2]]))[0, 1] > 0.95
    assert 0.6 < float((angles[-1] - angles[0]) / (turns[-1] - turns[1])) < 1.3


def test_parts_without_anything_in_them_do_not_count():
    detector = RelativePoseDetector(RelativePoseDetectorConfig(16, (4,), hidden=8), 2)
    detector.follow(torch.zeros(2, 3), torch.tensor([1.0, 0.0]))
    whole = PartPoses(torch.eye(3).expand(1, 1, 3, 3), torch.zeros(1, 1, 3))
    off = torch.tensor([[[0.0, 0.0, 0.0], [math.pi / 2, 0.0, 0.0]]])
    torch.manual_seed(0)
    still = detector.loss(torch.rand(1, 3, 16, 16), whole, whole.moved_within(0 * off, 0 * off, detector.pivots))
    torch.manual_seed(0)
    moved = detector.loss(torch.rand(1, 3, 16, 16), whole, whole.moved_within(off, 0 * off, detector.pivots))
    assert torch.equal(still, moved)


@pytest.mark.parametrize("corrections", [0, 2])
def test_it_corrects_the_pose_of_the_whole_by_what_it_sees(corrections):
    """A spot that shows the middle of the object, which was said to be elsewhere."""
    torch.manual_seed(0)
    config = RelativePoseDetectorConfig(24, (8, 12), hidden=32, corrections=corrections)
    detector = RelativePoseDetector(config, 2)
    detector.follow(torch.zeros(2, 3), torch.tensor([0.5, 0.5]))
    draw = torch.Generator().manual_seed(1)
    shift = torch.zeros(24, 1, 3)
    shift[..., :2] = 0.2 * torch.randn(24, 1, 2, generator=draw)
    true = PartPoses(torch.eye(3).expand(24, 1, 3, 3), shift)
    places = project(torch.zeros(24, 1, 3), true.rotation[:, 0], shift[:, 0], FOCAL, DISTANCE)[:, 0]
    images = torch.cat([spot(place, 24, 0.15) for place in places])
    parts = PartPoses(true.rotation.expand(-1, 2, -1, -1), shift.expand(-1, 2, -1))
    adam = torch.optim.Adam(detector.parameters(), lr=3e-3)
    for _ in range(250):
        loss = detector.loss(images, true, parts)
        adam.zero_grad()
        loss.backward()
        adam.step()
    off = torch.zeros(24, 1, 3)
    off[..., 0] = 0.08 * torch.randn(24, 1, generator=draw).sign()
    with torch.no_grad():
        found = detector(images, PartPoses(true.rotation, shift + off))
    error = (found.translation - shift)[..., 0].abs().mean()
    assert error < 0.04 if corrections else error > 0.06


@pytest.mark.parametrize(("turn", "left"), [(0.1, 1.0), (0.3, 0.99), (2.0, 0.0), (40.0, 0.0)])
def test_corrections_far_beyond_what_was_learnt_are_not_believed(turn, left):
    """Whoever looks like nobody known stays where keypoints put them, with all parts together."""
    detector = RelativePoseDetector(RelativePoseDetectorConfig(24, (8, 12), hidden=32), 2)
    with torch.no_grad():
        detector.out.weight.zero_()
        detector.out.bias.copy_(torch.tensor([0, turn, 0, 0, 0, 0] + [0, 0, 0.2, 0, 0, 0] * 2) / 0.3)
    images, whole = torch.rand(1, 3, 24, 24), PartPoses(torch.eye(3)[None, None], torch.zeros(1, 1, 3))
    found = matrix_to_axis_angle(detector.corrected(images, whole).rotation)[0, 0]
    assert found.tolist() == pytest.approx([0, left * turn, 0], abs=0.02)
    between = matrix_to_axis_angle(detector.corrected(images, whole).rotation.mT @ detector(images, whole).rotation)[0]
    assert between[:, 2].tolist() == pytest.approx([left * 0.2] * 2, abs=0.01)


@pytest.mark.parametrize("of_whole", [True, False])
def test_a_last_layer_that_is_solved_for_reads_what_features_say(of_whole):
    """Frames without weight say nothing, and what else it reads stays."""
    torch.manual_seed(0)
    detector = RelativePoseDetector(RelativePoseDetectorConfig(16, (4,), hidden=8), 2)
    features, truth = torch.randn(60, 8), torch.randn(8, 6 if of_whole else 12)
    motions = (features @ truth + 0.5).unflatten(1, (-1, 6))
    weights = (torch.arange(60) < 40).float()
    motions[40:] = 100.0
    other = slice(6, None) if of_whole else slice(0, 6)
    kept = detector.out.weight[other].clone()
    detector.solve(features, motions, weights, of_whole)
    found = detector._motions(features)[:, :1] if of_whole else detector._motions(features)[:, 1:]
    torch.testing.assert_close(found[:40], motions[:40], atol=0.15, rtol=0)
    assert (found[:40] - motions[:40]).abs().mean() < 0.03
    assert torch.equal(detector.out.weight[other], kept)
