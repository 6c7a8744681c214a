"""What detectors learn from alone: frames that can be read, with their poses, and renderings of the same people."""

from __future__ import annotations

import torch
from turning_ball import LEARNT, SIZE, Ball

from nerfstudio_avatars.unsup_volanim.lessons import Lessons
from nerfstudio_avatars.unsup_volanim.training import AnimationLossConfig


def collected(ball, **options):
    return Lessons.collect(ball.network, ball.table, ball.clips, **options)


def test_frames_have_the_poses_of_the_table():
    ball = Ball()
    lessons = collected(ball)
    assert len(lessons.frames) == LEARNT and lessons.frames.images.shape[1:] == (3, SIZE, SIZE)
    # They are in another order.
    order = torch.cdist(lessons.frames.images.flatten(1), ball.images[:LEARNT].flatten(1)).argmin(1)
    assert len(order.unique()) == LEARNT
    torch.testing.assert_close(lessons.frames.parts.rotation, ball.parts.rotation[order])
    torch.testing.assert_close(lessons.frames.whole.rotation, ball.table.whole(order).rotation)


def test_whoever_goes_on_later_is_taught_the_same_and_draws_on_as_if_nothing_had_been_drawn():
    ball = Ball()
    torch.manual_seed(3)
    once, drawn = collected(ball), torch.rand(4)
    again = collected(ball)
    torch.manual_seed(3)
    torch.testing.assert_close(drawn, torch.rand(4), rtol=0, atol=0)
    for one, other in ((once.frames, again.frames), (once.renderings, again.renderings)):
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
        torch.testing.assert_close(one.parts.rotation, other.parts.rotation, rtol=0, atol=0)


def test_there_are_some_renderings_for_each_frame_unless_nobody_rehearses():
    assert len(collected(Ball(), rendered=3).renderings) == 3 * LEARNT
    assert collected(Ball(rehearsal=False)).renderings is None


def test_frames_that_cannot_be_read_are_left_out_and_without_any_there_are_no_lessons():
    ball = Ball()
    ball.broken = set(range(LEARNT - 5))
    assert len(collected(ball).frames) == 5 and len(collected(ball, most=LEARNT).renderings) == 4 * 5
    ball.broken = set(range(LEARNT))
    assert collected(ball) is None


def test_detectors_learn_from_them():
    ball = Ball()
    lessons, before = collected(ball), ball.errors()
    learnt = [*ball.network.detector.parameters(), *ball.network.relative.parameters()]
    optimizer = torch.optim.Adam(learnt, lr=3e-3)
    for _ in range(60):
        losses = lessons.losses(ball.network, AnimationLossConfig())
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    after = ball.errors()
    assert after[0] < 0.8 * before[0] and after[1] < before[1], (before, after)
