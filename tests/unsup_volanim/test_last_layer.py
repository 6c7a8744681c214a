"""The last layer of the second detector, solved for: motions are found in pictures that it never saw."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from striped_ball import PARTS, striped_ball

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.metrics.geometry import rotation_error
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.last_layer import solve_last_layer
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

FRAMES, LEARNT, SIZE = 64, 48, 40


class BallClips(Clips):
    """The clip of a ball, some of whose frames cannot be read."""

    def __init__(self, ball):
        vars(self).update(ball=ball, identity_of_clip=[0])

    def first_rows(self):
        return torch.zeros(1, dtype=torch.long)

    def train_rows(self):
        return torch.stack([torch.zeros(LEARNT, dtype=torch.long), torch.arange(LEARNT)], 1)

    def frame(self, clip, frame):
        if frame in self.ball.broken:
            raise DataError("clip", "nothing", "a picture", "mend it")
        return self.ball.images[frame].permute(1, 2, 0)


class Ball:
    """A clip of the striped ball, which turns, as does its lower half against it; the network has learnt nothing."""

    def __init__(self, **options):
        torch.manual_seed(0)
        config = unsup_volanim_tiny.config.pipeline.model.network
        config = replace(config, parts=PARTS, part_detector="upright", shared_parts=100.0)
        config.render = replace(config.render, skinning="compose")
        config.relative = replace(config.relative, **options)
        network = VolumetricAnimation(config, 1)
        network.articulate()
        cube = striped_ball()
        network.cubes = lambda _: cube[None]
        middles, shares = part_middles(cube[None], network.scene * network.config.render.enlarge)
        network.relative.follow(middles, shares)
        turn = torch.zeros(FRAMES, PARTS, 3)
        turn[:, :, 1] = 0.2 * torch.randn(FRAMES, 1)
        turn[:, 1, 0] = 0.25 * torch.randn(FRAMES)
        still = torch.zeros(FRAMES, PARTS, 3)
        self.table = PartPoseTable(FRAMES, PARTS, PartPoseTableConfig())
        whole = identity_poses(FRAMES, 1).moved_within(turn[:, :1], still[:, :1], torch.zeros(1, 3))
        self.table.begin(torch.arange(FRAMES), whole)
        self.table.articulate()
        self.parts = whole.moved_within(turn - turn[:, :1], still, middles)
        self.table.place(torch.arange(FRAMES), self.parts)
        self.table.squares[:LEARNT] = 1.0
        with torch.no_grad():
            seen = network.render(cube[None], self.parts, standard_rays(SIZE))
        self.images = seen.rgb.mT.unflatten(2, (SIZE, SIZE))
        self.network, self.broken = network.eval(), set()
        self.clips = BallClips(self)

    def solve(self):
        solve_last_layer(self.network, self.table, self.clips)

    def errors(self):
        """Mean errors in degrees in frames not learnt from: of the upper half, and of the lower against it."""
        with torch.no_grad():
            found = self.network.estimate(self.images[LEARNT:])
        between = [one.rotation[:, 0].mT @ one.rotation[:, 1] for one in (found, self.parts[LEARNT:])]
        return float(rotation_error(found.rotation[:, 0], self.parts[LEARNT:].rotation[:, 0]).mean()), float(
            rotation_error(*between).mean()
        )


def test_motions_are_found_in_frames_never_seen():
    ball = Ball()
    before = ball.errors()
    ball.solve()
    after = ball.errors()
    assert after[0] < 0.6 * before[0] and after[1] < 0.6 * before[1], (before, after)


@pytest.mark.parametrize("options", [{"corrections": 0}, {"rehearsal": False}])
def test_with_neither_corrections_nor_renderings_parts_are_found(options):
    ball = Ball(**options)
    whole = ball.network.relative.out.weight[:6].clone()
    before = ball.errors()
    ball.solve()
    assert ball.errors()[1] < 0.6 * before[1]
    assert torch.equal(whole, ball.network.relative.out.weight[:6]) == ("corrections" in options)


def test_frames_that_cannot_be_read_are_left_out():
    ball = Ball()
    ball.broken = set(range(0, LEARNT, 2))
    before = ball.errors()
    ball.solve()
    assert ball.errors()[1] < 0.8 * before[1]
    ball.broken = set(range(LEARNT))
    weight = ball.network.relative.out.weight.clone()
    ball.solve()
    assert torch.equal(ball.network.relative.out.weight, weight)


@pytest.mark.parametrize("reason", ["not wanted", "no parts yet"])
def test_it_stays_as_it_is(reason):
    ball = Ball(solved=reason != "not wanted")
    if reason == "no parts yet":
        ball.table.split.fill_(False)
    weight = ball.network.relative.out.weight.clone()
    ball.solve()
    assert torch.equal(ball.network.relative.out.weight, weight)


def test_it_is_the_same_on_every_process_and_leaves_their_randomness_alone():
    found = []
    for seed in (1, 2):
        ball = Ball()
        torch.manual_seed(seed)
        expected = torch.rand(3)
        torch.manual_seed(seed)
        ball.solve()
        assert torch.equal(torch.rand(3), expected)
        found.append(ball.network.relative.out.weight.detach())
    torch.testing.assert_close(*found)
