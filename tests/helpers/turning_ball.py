"""A clip of the striped ball, and a network that knows its cube and has learnt nothing else."""

from __future__ import annotations

from dataclasses import replace

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
