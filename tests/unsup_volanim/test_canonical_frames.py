"""Canonical frames of identities are brought together, while every picture stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from striped_ball import PARTS, striped_ball

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.unsup_volanim.canonical_frames import align_identities, moved_volume
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_field import COLOURS
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

FRAMES = 6
TURNS = torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.2, 0.05]])
"""Of the canonical frame of either identity, in radians."""
DEPTHS = torch.tensor([0.0, 0.4])


class TwoClips(Clips):
    """A clip of either of two identities; the last frame of each is held out."""

    def __init__(self):
        vars(self).update(identity_of_clip=[0, 1])

    def first_rows(self):
        return torch.tensor([0, FRAMES])

    def train_rows(self):
        frames = torch.arange(FRAMES - 1)
        return torch.cat([torch.stack([torch.full_like(frames, clip), frames], 1) for clip in (0, 1)])


@pytest.fixture
def network():
    config = unsup_volanim_tiny.config.pipeline.model.network
    config = replace(config, parts=PARTS, shared_parts=100.0, detail_density=4.0, fine_detail=True)
    config.render = replace(config.render, skinning="compose", samples=64)
    torch.manual_seed(0)
    network = VolumetricAnimation(config, 2).eval()
    ball = torch.nn.functional.interpolate(striped_ball()[None, PARTS:], [32] * 3, mode="trilinear")[0]
    for identity in (0, 1):
        network.replace_volume(identity, lambda _: ball)
    return network


@pytest.fixture
def table():
    """Both do the same, seen from canonical frames that lie apart."""
    torch.manual_seed(1)
    table = PartPoseTable(2 * FRAMES, PARTS, PartPoseTableConfig())
    motion = axis_angle_to_matrix(0.2 * torch.randn(FRAMES, 1, 3))
    shift = 0.05 * torch.randn(FRAMES, 1, 3)
    for identity, (turn, depth) in enumerate(zip(TURNS, DEPTHS, strict=True)):
        away = shift + torch.tensor([0.0, 0.0, 1.0]) * depth
        rows = torch.arange(FRAMES) + identity * FRAMES
        table.begin(rows, PartPoses(motion @ axis_angle_to_matrix(turn), away))
    return table


def drawn(network, table, rows):
    cubes = network.cubes(torch.tensor([0, 1]))
    with torch.no_grad():
        return network.render(cubes, table.parts(rows), standard_rays(32)).rgb


@pytest.mark.parametrize("fine", [False, True])
def test_identities_look_the_same_way_from_as_far_on_average_and_pictures_stay(network, table, fine):
    if fine:
        network.double_voxels()
    rows = torch.tensor([1, 3, FRAMES + 1, FRAMES + 3])
    before = drawn(network, table, rows)
    ones, others = torch.arange(FRAMES - 1), torch.arange(FRAMES - 1) + FRAMES
    align_identities(network, table, TwoClips())
    one, other = table.whole(ones), table.whole(others)
    assert rotation_error(one.rotation[:, 0], other.rotation[:, 0]).max() < 1, "the motions were the same"
    depths = [pose.translation[..., 2].mean() for pose in (one, other)]
    assert depths[0] == pytest.approx(float(depths[1]), abs=1e-4)
    off = (drawn(network, table, rows) - before).abs().mean()
    copied = (before[:2] - before[2:]).abs().mean()
    assert off < 0.01 and off < 0.3 * copied


def test_what_is_scaled_is_further_away(network, table):
    align_identities(network, table, TwoClips())
    sizes = [(network.cubes(torch.tensor([identity]))[0, -1] > 0).float().mean() for identity in (0, 1)]
    expected = ((DISTANCE + DEPTHS[1]) / (DISTANCE + DEPTHS[0])) ** 3
    assert sizes[0] / sizes[1] == pytest.approx(float(expected), rel=0.03)


def test_a_volume_is_turned_about_its_middle_and_the_background_stays():
    n = 17
    volume = torch.zeros(COLOURS + 1, n, n, n)
    volume[:, 8, 8, 12] = 1.0  # z, y, x: to the right of the middle
    volume[:, -1] = 0.5
    quarter = axis_angle_to_matrix(torch.tensor([0.0, 0.0, torch.pi / 2]))
    moved = moved_volume(volume, quarter, 1.0, torch.ones(3))
    torch.testing.assert_close(moved[:, 8, 4, 8], torch.ones(4), atol=1e-4, rtol=0)
    assert torch.equal(moved[:, -1], volume[:, -1])
    assert moved[3, :-3].sum() == pytest.approx(1.0, abs=1e-3), "the background's density is nowhere else"


def test_somebody_alone_is_left_as_they_are(network, table):
    class OneClip(TwoClips):
        def train_rows(self):
            return super().train_rows()[: FRAMES - 1]

    before = table.rotation.clone()
    align_identities(network, table, OneClip())
    torch.testing.assert_close(table.rotation, before)
