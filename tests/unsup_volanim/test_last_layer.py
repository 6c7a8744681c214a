"""The last layer of the second detector, solved for: motions are found in pictures that it never saw."""

from __future__ import annotations

import pytest
import torch
from turning_ball import LEARNT, Ball


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
