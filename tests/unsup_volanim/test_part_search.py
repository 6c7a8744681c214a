"""Poses of single parts found by trial: they come nearer to the truth, and only where pictures ask for it."""

from __future__ import annotations

import pytest
import torch
from striped_ball import PARTS, striped_ball, two_part_network

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_search import PartSearchConfig, search_parts
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

SIZE, FRAMES = 32, 6
MIDDLES, SHARES = torch.tensor([[0.0, -0.2, 0.0], [0.0, 0.2, 0.0]]), torch.tensor([0.5, 0.5])
CONFIG = PartSearchConfig(trials=6)


@pytest.fixture(scope="module")
def network():
    return two_part_network()


@pytest.fixture(scope="module")
def cubes():
    return striped_ball()[None]


def begun():
    table = PartPoseTable(FRAMES, PARTS, PartPoseTableConfig())
    table.begin(torch.arange(FRAMES), identity_poses(FRAMES, 1))
    table.articulate()
    return table


def pictures(network, cubes, poses):
    with torch.no_grad():
        seen = network.render(cubes, poses, standard_rays(SIZE))
    return seen.rgb.mT.unflatten(2, (SIZE, SIZE)), seen.accumulation.unflatten(1, (SIZE, SIZE))[:, None]


def turned(*angles):
    turn = torch.zeros(len(angles), PARTS, 3)
    turn[:, 1, 1] = torch.tensor(angles)
    still = identity_poses(len(angles), PARTS)
    return PartPoses(still.rotation @ axis_angle_to_matrix(turn), still.translation)


def visit(table, network, cubes, truth, rows, times, config=CONFIG):
    images, masks = pictures(network, cubes, truth)
    for time in range(times):
        search_parts(table, config, network, cubes, images, masks, rows, MIDDLES, SHARES, time / times)


def test_visits_bring_a_part_nearer_to_its_true_pose(network, cubes):
    torch.manual_seed(0)
    truth, table, rows = turned(0.6, -0.6, 0.5, -0.5, 0.4, -0.4), begun(), torch.arange(FRAMES)
    visit(table, network, cubes, truth, rows, 40)
    far, near = (rotation_error(one.rotation, truth.rotation)[:, 1] for one in (begun().parts(rows), table.parts(rows)))
    assert near.median() < 0.4 * far.median()
    assert torch.equal(table.whole(rows).rotation, begun().whole(rows).rotation)


def test_right_poses_stay(network, cubes):
    torch.manual_seed(0)
    truth, table, rows = turned(0.3, -0.3), begun(), torch.arange(2)
    table.place(rows, truth)
    visit(table, network, cubes, truth, rows, 10)
    assert rotation_error(table.parts(rows).rotation, truth.rotation).max() < 6


def test_a_neighbour_in_time_says_how_its_part_moves(network, cubes):
    """Too far for any trial by chance."""
    torch.manual_seed(0)
    truth, table = turned(*[1.5] * FRAMES), begun()
    others = torch.tensor([0, 2, 3, 5])
    table.place(others, truth[others])
    visit(table, network, cubes, truth[:2], torch.tensor([1, 4]), 12)
    assert rotation_error(table.parts(torch.tensor([1, 4])).rotation, truth.rotation[:2]).max() < 20


def test_where_pictures_do_not_decide_parts_stay_with_the_whole(network, cubes):
    torch.manual_seed(0)
    table, rows = begun(), torch.arange(2)
    table.place(rows, turned(0.5, -0.5))
    empty = cubes.clone()
    empty[:, -1] = -1
    visit(table, network, empty, turned(0.5, -0.5), rows, 20)
    assert rotation_error(table.parts(rows).rotation, identity_poses(2, PARTS).rotation).max() < 1


@pytest.mark.parametrize(
    ("trials", "has_table", "told"),
    [(1, True, "0, or 3 or more"), (2, True, "0, or 3 or more"), (6, False, "articulation table")],
)
def test_a_search_that_cannot_be_is_refused(trials, has_table, told):
    with pytest.raises(UserError, match=told):
        PartSearchConfig(trials=trials).check(has_table)
    PartSearchConfig(trials=0).check(has_table)
