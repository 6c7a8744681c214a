"""Renderings to learn poses from: they show the identities of the batch, in the motions of others, with exact poses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.rehearsal import rehearse
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

PARTS, FRAMES = 2, 6


@pytest.fixture(scope="module")
def network():
    config = replace(
        unsup_volanim_tiny.config.pipeline.model.network, parts=PARTS, part_detector="upright", shared_parts=100.0
    )
    config.render = replace(config.render, skinning="compose", samples=8)
    torch.manual_seed(0)
    network = VolumetricAnimation(config, 2)
    network.articulate()
    return network


@pytest.fixture
def table():
    """Only the first four frames were ever visited; each nods by an angle of its own, as does its second part."""
    table = PartPoseTable(FRAMES, PARTS, PartPoseTableConfig())
    nods = torch.zeros(FRAMES, 1, 3)
    nods[:, 0, 0] = 0.3 * torch.arange(FRAMES)
    table.begin(torch.arange(FRAMES), PartPoses(axis_angle_to_matrix(nods), torch.zeros(FRAMES, 1, 3)))
    table.articulate()
    table.rotation[:, 2] = table.rotation[:, 0] @ axis_angle_to_matrix(nods[:, 0])
    table.squares[:4] = 1.0
    return table


def test_pictures_are_drawn_in_the_poses_that_they_come_with(network, table):
    torch.manual_seed(1)
    cubes = network.cubes(torch.tensor([0, 1])).detach()
    shown = rehearse(network, cubes, table, torch.tensor([0, 1, 4, 5]), table.visited_rows())
    assert shown.images.shape == (4, 3, 40, 40) and not shown.images.requires_grad
    again = network.render(cubes, shown.parts, standard_rays(40), 12).rgb.mT.unflatten(2, (40, 40))
    torch.testing.assert_close(again.detach(), shown.images)
    assert not torch.equal(shown.images[0], shown.images[2])


def test_motions_are_those_of_frames_that_were_visited(network, table, monkeypatch):
    monkeypatch.setattr("nerfstudio_avatars.unsup_volanim.rehearsal._SPREAD", 0.0)
    torch.manual_seed(2)
    cubes = network.cubes(torch.tensor([0, 1])).detach()
    rows = torch.arange(6)
    whole_nods, part_nods = set(), set()
    for _ in range(6):
        shown = rehearse(network, cubes, table, rows, table.visited_rows())
        within = shown.whole.inverse().after(shown.parts).rotation
        still = torch.eye(3).expand(6, 3, 3)
        assert rotation_error(within[:, 0], still).max() < 1e-2, "the first part never moved within"
        whole_nods |= {round(float(angle)) for angle in rotation_error(shown.whole.rotation[:, 0], still)}
        part_nods |= {round(float(angle)) for angle in rotation_error(within[:, 1], still)}
    known = {0, 17, 34, 52}  # multiples of 0.3 radians, in degrees
    assert whole_nods == part_nods == known
