"""Parts that move alike become one, and what moves far is split in their place, without a change of pictures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from striped_ball import striped_ball
from turning_ball import FRAMES, Ball

from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_regrouping import regroup_parts
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

PARTS = 5
"""Four pieces of the upper half of the ball, and its lower half, which moves by itself."""


@pytest.fixture
def ball():
    ball = Ball()
    network, cube = ball.network, striped_ball()
    network.config.parts = PARTS
    n = cube.shape[-1]
    x, y = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(-1, 1, n), indexing="xy")
    pieces = [-20 * y - 40 * (x - place).square() for place in (-0.45, -0.15, 0.15, 0.45)]
    logits = torch.stack([*pieces, 20 * y])[:, None].expand(-1, n, -1, -1)
    scale = network.config.shared_parts
    network.shared_logits = torch.nn.Parameter(F.interpolate(logits[None], [16] * 3, mode="trilinear")[0] / scale)

    def cubes(_):
        grown = F.interpolate(scale * network.shared_logits[None], [n] * 3, mode="trilinear", align_corners=True)
        return torch.cat([grown, cube[None, 2:]], 1)

    network.cubes = cubes
    table = PartPoseTable(FRAMES, PARTS, PartPoseTableConfig())
    table.begin(torch.arange(FRAMES), ball.table.whole(torch.arange(FRAMES)))
    table.articulate()
    own = [0, 0, 0, 0, 1]
    table.place(torch.arange(FRAMES), PartPoses(ball.parts.rotation[:, own], ball.parts.translation[:, own]))
    table.squares[:] = 1.0
    ball.table = table
    return ball


def drawn(ball):
    with torch.no_grad():
        cubes = ball.network.cubes(None)
        seen = ball.network.render(cubes, ball.table.parts(torch.arange(8)), standard_rays(24))
    return seen.rgb, seen.parts.mean((0, 1))


def test_parts_that_move_alike_become_one(ball):
    before, shares = drawn(ball)
    regroup_parts(ball.network, ball.table, split=False)
    after, merged = drawn(ball)
    assert (merged > 0.01).sum() == 3, merged
    assert merged[4] == pytest.approx(float(shares[4]), abs=0.01), "what moves by itself is left alone"
    assert (after - before).abs().mean() < 2e-3


def test_others_are_split_in_their_place(ball):
    before, shares = drawn(ball)
    regroup_parts(ball.network, ball.table, split=True)
    after, pieces = drawn(ball)
    assert (pieces > 0.01).all() and pieces[4] < 0.8 * shares[4], (pieces, shares)
    assert (after - before).abs().mean() < 2e-3


def test_nothing_happens_before_any_frame_was_visited(ball):
    ball.table.squares[:] = 0
    logits = ball.network.shared_logits.clone()
    regroup_parts(ball.network, ball.table, split=True)
    assert torch.equal(ball.network.shared_logits, logits)
