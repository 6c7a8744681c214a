"""Poses of parts learnt by gradient: they begin with the whole object, and go where the pictures want them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.schedule import AnimationScheduleConfig
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

PIVOTS = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.4, -0.2]])


def some_poses(frames, parts, seed=0):
    draw = torch.Generator().manual_seed(seed)
    turn, shift = 0.3 * torch.randn(2, frames, parts, 3, generator=draw)
    return PartPoses(axis_angle_to_matrix(turn), shift)


@pytest.fixture
def table():
    table = PartPoseTable(4, 2, PartPoseTableConfig())
    table.begin(torch.arange(4), some_poses(4, 1))
    return table


def test_parts_begin_where_the_whole_is(table):
    rows = torch.tensor([2, 0])
    assert table.parts(rows).rotation.shape == (2, 1, 3, 3)
    table.articulate()
    whole, parts = table.whole(rows), table.parts(rows)
    assert torch.equal(parts.rotation, whole.rotation.expand(2, 2, 3, 3))
    assert torch.equal(parts.translation, whole.translation.expand(2, 2, 3))


def test_small_motions_turn_about_their_pivots():
    poses, turn = some_poses(3, 2), torch.tensor([0.0, 0.5, 0.2]).expand(3, 2, 3)
    moved = poses.moved_within(turn, torch.zeros(3, 2, 3), PIVOTS)

    def placed(some, points):
        return (some.rotation @ points[..., None])[..., 0] + some.translation

    torch.testing.assert_close(placed(moved, PIVOTS), placed(poses, PIVOTS))
    beside = PIVOTS + torch.tensor([0.2, 0.0, 0.1])
    turned = PIVOTS + (axis_angle_to_matrix(turn[0]) @ torch.tensor([0.2, 0.0, 0.1])[:, None])[..., 0]
    torch.testing.assert_close(placed(moved, beside), placed(poses, turned))


@pytest.mark.parametrize("split", [False, True])
def test_visits_find_the_poses_that_a_loss_asks_for(table, split):
    """Points of each part are to lie where the true poses put them."""
    if split:
        table.articulate()
    parts = 2 if split else 1
    truth, points = some_poses(4, parts, seed=5), torch.randn(parts, 5, 3, generator=torch.Generator().manual_seed(1))
    rows, visits = torch.arange(4), 150

    def error(poses):
        return (poses.rotation @ points.mT + poses.translation[..., None]) - (
            truth.rotation @ points.mT + truth.translation[..., None]
        )

    before = error(table.parts(rows)).norm(dim=-2).mean()
    untouched = table.whole(rows)
    for visit in range(visits):
        error(table.learning(rows, PIVOTS[:parts], visit / visits)).square().sum().backward()
    assert error(table.parts(rows)).norm(dim=-2).mean() < 0.05 * before
    if split:
        assert torch.equal(table.whole(rows).rotation, untouched.rotation), "parts leave the pose of the whole alone"


def test_only_visited_frames_learn_and_only_by_a_gradient(table):
    table.articulate()
    before = table.rotation.clone()
    with torch.no_grad():
        table.learning(torch.tensor([1]), PIVOTS, 0.0)
    poses = table.learning(torch.tensor([1]), PIVOTS, 0.0)
    assert torch.equal(table.rotation, before)
    poses.rotation[:, 1, 0].sum().backward()
    moved = (table.rotation != before).flatten(2).any(2)
    assert moved.nonzero().tolist() == [[1, 2]], "what had no gradient stays"


def test_steps_shrink_at_the_end_and_are_never_large(table):
    table.articulate()
    steps = []
    for share in (0.0, 1.0):
        before = table.translation.clone()
        (1e6 * table.learning(torch.tensor([3]), PIVOTS, share).translation).sum().backward()
        steps.append((table.translation - before)[3, 1:].abs().max())
    assert steps[0] <= 0.01 * 2 * 3**0.5
    assert steps[1] < 0.3 * steps[0]


@pytest.mark.slow
def test_the_table_begins_with_what_the_detector_finds_and_is_saved(pipeline_with_table):
    model = pipeline_with_table.model
    model.config.max_steps = 10
    assert not model.begin_step(4) and not bool(model.table.begun)
    assert not model.begin_step(5) and bool(model.table.begun)
    clip, frame = model.clips.train_rows()[-1].tolist()
    row = int(model._first_row[clip]) + frame
    torch.testing.assert_close(
        model.table.whole(torch.tensor([row])).rotation, model.driving_pose(clip, frame).rotation
    )
    before = model.table.translation[:, 0].clone()
    losses = pipeline_with_table.get_train_loss_dict(5)[1]
    torch.stack(list(losses.values())).sum().backward()
    assert not torch.equal(model.table.translation[:, 0], before), "whole poses are polished"
    assert model.begin_step(7) and bool(model.table.split)
    assert torch.equal(model.table.translation[:, 2], model.table.translation[:, 0])
    assert {"relative", "found", "pixel"} <= set(pipeline_with_table.get_train_loss_dict(7)[1])
    state = model.state_dict()
    assert {"table.rotation", "table.split", "network.shared_logits", "network.relative.pivots"} <= set(state)
    pose = model.driving_pose(0, 3)
    assert pose.rotation.shape == (1, model.config.network.parts, 3, 3)


def test_motions_of_parts_cannot_be_learnt_without_the_table(head_clips, small_volanim, tmp_path):
    config = small_volanim(head_clips, tmp_path)
    config.pipeline.model.network.part_detector = "upright"
    with pytest.raises(UserError, match="use schedule.articulation table"):
        config.pipeline.setup(device="cpu")


@pytest.fixture
def pipeline_with_table(head_clips, small_volanim, tmp_path):
    """Search, then the detector, then polish from a half, then parts from seven tenths."""
    torch.manual_seed(0)
    config = small_volanim(head_clips, tmp_path)
    model = config.pipeline.model
    model.schedule = AnimationScheduleConfig(
        bootstrap_until=0.2, search_until=0.4, polish_from=0.5, articulate_from=0.7, articulation="table", patch=16
    )
    render = replace(model.network.render, skinning="compose")
    model.network = replace(model.network, parts=3, part_detector="upright", shared_parts=100.0, render=render)
    return config.pipeline.setup(device="cpu", test_mode="test")


@pytest.mark.parametrize("anchor", [0.0, 0.1])
def test_poses_that_drift_together_are_taken_back_and_motions_of_parts_stay(anchor):
    """Both parts were turned and moved alike against the whole, and one of them by itself as well."""
    table = PartPoseTable(2, 2, PartPoseTableConfig(turn_rate=0.0, shift_rate=0.0, anchor=anchor))
    table.begin(torch.arange(2), some_poses(2, 1))
    table.articulate()
    drift = PartPoses(axis_angle_to_matrix(torch.full((2, 1, 3), 0.2)), torch.full((2, 1, 3), 0.1))
    bend = axis_angle_to_matrix(torch.tensor([[[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]]).expand(2, 2, 3))
    moved = table.whole(torch.arange(2)).after(drift).after(PartPoses(bend, torch.zeros(2, 2, 3)))
    table.rotation[:, 1:], table.translation[:, 1:] = moved.rotation, moved.translation
    rows, shares = torch.arange(2), torch.tensor([0.9, 0.1])
    for _ in range(40):
        poses = table.learning(rows, PIVOTS, 0.0, shares)
        poses.rotation.sum().backward()
    now = table.parts(rows)
    torch.testing.assert_close(now.rotation[:, 0].mT @ now.rotation[:, 1], bend[:, 1], atol=1e-4, rtol=0)
    within = table.whole(rows).inverse().after(now)
    off = rotation_error(within.rotation[:, 0], torch.eye(3).expand(2, 3, 3))
    before = rotation_error(drift.rotation[:, 0], torch.eye(3).expand(2, 3, 3))
    assert (off < 0.25 * before).all() if anchor else torch.allclose(off, before, atol=1e-2)


@pytest.mark.slow
def test_poses_are_refined_when_it_is_time_and_only_those_of_training_frames(pipeline_with_table):
    model = pipeline_with_table.model
    model.config.max_steps = 10
    model.config.schedule.refine_at = (0.8,)
    for step in (5, 7):
        model.begin_step(step)
    first, learnt = model.clips.first_rows(), model.clips.train_rows()
    rows = first[learnt[:, 0]] + learnt[:, 1]
    before = model.table.rotation.clone()
    model.begin_step(7)
    assert torch.equal(model.table.rotation, before)
    model.begin_step(8)
    moved = (model.table.rotation[:, 1:] != before[:, 1:]).flatten(1).any(1)
    assert set(moved.nonzero()[:, 0].tolist()) == set(rows.tolist())
    assert int(model.table.refined) == 1
    after = model.table.rotation.clone()
    model.begin_step(9)
    assert torch.equal(model.table.rotation, after), "once is enough"


def test_the_whole_moves_to_where_its_parts_are_and_their_drift_is_taken_back():
    """Its poses had an error in each frame, which its parts had mended; a drift was common to all frames."""
    rows, shares = torch.arange(4), torch.tensor([0.7, 0.3])
    true, table = some_poses(4, 1), PartPoseTable(4, 2, PartPoseTableConfig())
    error = 0.02 * torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(3))
    error = error - error.mean(0)
    middle = (PIVOTS * shares[:, None]).sum(0, keepdim=True)
    table.begin(rows, true.moved_within(error[..., :3], error[..., 3:], middle))
    table.articulate()
    drift = torch.tensor([[[0.0, 0.05, 0.0]]]).expand(4, 1, 3)
    parts = true.moved_within(drift, 0 * drift, middle)
    table.place(rows, PartPoses(parts.rotation.expand(-1, 2, -1, -1), parts.translation.expand(-1, 2, -1)))
    table.recentre(rows, PIVOTS, shares)
    for poses in (table.whole(rows), table.parts(rows)):
        assert rotation_error(poses.rotation, true.rotation.expand_as(poses.rotation)).max() < 0.2
        torch.testing.assert_close(poses.translation, true.translation.expand_as(poses.translation), atol=3e-3, rtol=0)


def test_before_the_parts_there_is_the_whole_to_place(table):
    found, rows = some_poses(2, 1, seed=7), torch.tensor([3, 1])
    table.place(rows, found)
    assert torch.equal(table.whole(rows).rotation, found.rotation)


def test_parts_that_nothing_moves_come_back_to_the_whole():
    rows = torch.arange(4)
    moved = {}
    for stillness in (0.0, 0.1):
        table = PartPoseTable(4, 2, PartPoseTableConfig(turn_rate=0, shift_rate=0, anchor=0, stillness=stillness))
        table.begin(rows, some_poses(4, 1))
        table.articulate()
        table.place(rows, table.parts(rows).moved_within(*(0.2 * torch.ones(4, 2, 3) for _ in range(2)), PIVOTS))
        before = table.parts(rows)
        for _ in range(20):
            table.learning(rows, PIVOTS, 0.0, torch.tensor([0.5, 0.5])).rotation.sum().backward()
        within = table.whole(rows).inverse().after(table.parts(rows))
        moved[stillness] = rotation_error(within.rotation, torch.eye(3).expand(4, 2, 3, 3))
        if not stillness:
            torch.testing.assert_close(table.parts(rows).rotation, before.rotation)
    torch.testing.assert_close(moved[0.1], 0.9**20 * moved[0.0], rtol=0.02, atol=0.05)


@pytest.mark.slow
def test_in_the_end_nothing_but_the_detectors_learns(pipeline_with_table):
    model = pipeline_with_table.model
    model.config.max_steps = 10
    model.config.schedule.detectors_alone_from = 0.9
    for step in (5, 7):
        model.begin_step(step)
    resting = pipeline_with_table.get_train_loss_dict(7)[1]
    assert {"found", "relative", "rehearsed"}.isdisjoint(resting) and "pixel" in resting
    torch.stack(list(resting.values())).sum().backward()
    model.network.zero_grad()
    model.begin_step(9)
    table = model.table.rotation.clone()
    losses = pipeline_with_table.get_train_loss_dict(9)[1]
    assert set(losses) == {"found", "relative", "projection"}
    torch.stack(list(losses.values())).sum().backward()
    learnt = {name for name, one in model.network.named_parameters() if one.grad is not None and one.grad.any()}
    assert learnt and all(name.startswith(("detector", "relative", "point_logits")) for name in learnt)
    assert torch.equal(model.table.rotation, table)
