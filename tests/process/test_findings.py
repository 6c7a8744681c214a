"""What is said of a video, and which videos no avatar can come of."""

import dataclasses

import numpy as np
import pytest
import torch
from turning_bodies import WHOLE, seen_bodies, turning_states

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.process.body_fit import FittedBody
from nerfstudio_avatars.process.findings import judge
from nerfstudio_avatars.process.subject import Footage

FRAMES = 12
LEFT_THIGH, RIGHT_THIGH, LEFT_SHIN, RIGHT_SHIN = 0, 1, 3, 4
"""Joints of the body pose, without the pelvis."""


def judged(states, overlap=0.8):
    """A perfect fit to a body in these states, seen by perfect networks."""
    motion = BodySequence(
        states[0].betas,
        torch.stack([one.global_orient for one in states]),
        torch.stack([one.body_pose for one in states]),
        torch.stack([one.transl for one in states]),
    )
    footage = Footage(list(range(0, 10 * len(states), 10)), [], seen_bodies(states), [], 3.0, WHOLE)
    return footage, FittedBody(motion, 2.345, [], np.full(len(states), overlap))


@pytest.fixture(scope="module")
def turn():
    return judged(turning_states(FRAMES))


def test_of_a_good_video_figures_alone_are_said(turn):
    found = judge(*turn)
    (line,) = found.lines
    assert "2.3 pixels" in line and "80 %" in line and "330 degrees" in line
    assert "12 of 12 frames leave no doubt" in line


def test_what_may_spoil_the_avatar_is_said_with_what_to_do(turn):
    footage, fitted = turn
    overlaps = fitted.overlaps.copy()
    overlaps[2] = 0.4
    half = dataclasses.replace(fitted, motion=fitted.motion[:6], overlaps=overlaps)
    cut = dataclasses.replace(footage.seen[1], mask=np.full_like(footage.seen[1].mask, 255))
    footage = dataclasses.replace(footage, empty=[33, 34], seen=[footage.seen[0], cut, *footage.seen[2:]])
    found = judge(footage, half)
    told = "\n".join(found.told)
    for expected in (
        "which are left out: 33, 34.",
        "something hides part of it: 20.",
        "border of the picture in these frames: 10.",
        "10 of 12 frames leave no doubt",
    ):
        assert expected in told
    assert not found.obstacles
    assert "Film a whole turn" in found.advice[0] and "from farther away" in found.advice[1]


def test_what_is_hidden_in_some_frames_is_said(turn):
    footage, fitted = turn
    overlaps = np.full(FRAMES, 0.85)
    overlaps[3:5] = 0.72
    found = judge(footage, dataclasses.replace(fitted, overlaps=overlaps))
    assert "hides part of it: 30, 40." in "\n".join(found.told) and "10 of 12 frames leave no doubt" in found.told[0]


def test_other_people_are_said(turn):
    footage, fitted = turn
    seen = [dataclasses.replace(one, others=int(number < 3)) for number, one in enumerate(footage.seen)]
    found = judge(dataclasses.replace(footage, seen=seen), fitted)
    assert "other people in 3 of 12 frames" in "\n".join(found.told) and "--person chooses" in "\n".join(found.told)


def test_feet_below_the_picture_are_said(turn):
    footage, fitted = turn
    lowered = [_moved_down(one, (25, 26)) for one in footage.seen]
    found = judge(dataclasses.replace(footage, seen=lowered), fitted)
    assert not found.obstacles and any("feet" in line for line in found.advice)


def test_a_talker_behind_a_table_is_refused(turn):
    footage, fitted = turn
    upper = [_moved_down(one, (23, 24)) for one in footage.seen]
    found = judge(dataclasses.replace(footage, seen=upper), fitted)
    assert "legs are not in the picture" in found.obstacles[0] and "Film one person who stands" in found.advice[0]


def test_who_sits_is_refused():
    states = turning_states(FRAMES)
    for state in states:
        pose = state.body_pose.unflatten(0, (23, 3))
        pose[[LEFT_THIGH, RIGHT_THIGH], 0] = -1.4
        pose[[LEFT_SHIN, RIGHT_SHIN], 0] = 1.4
    found = judge(*judged(states))
    assert [line for line in found.obstacles if "sits" in line]


def test_legs_below_the_picture_are_not_taken_for_a_chair(turn):
    states = turning_states(FRAMES)
    for state in states:
        state.body_pose.unflatten(0, (23, 3))[[LEFT_THIGH, RIGHT_THIGH], 0] = -1.4
    footage, fitted = judged(states)
    seen = []
    for one in footage.seen:
        mask = one.mask.copy()
        mask[-1] = 255
        seen.append(dataclasses.replace(one, mask=mask))
    (obstacle,) = judge(dataclasses.replace(footage, seen=seen), fitted).obstacles
    assert "legs are not in the picture" in obstacle


def test_a_person_who_is_seldom_there_is_refused(turn):
    footage, fitted = turn
    found = judge(dataclasses.replace(footage, empty=list(range(13))), fitted)
    assert found.obstacles == ["In 13 of 25 frames nobody was found."]


def test_who_never_turns_is_refused():
    found = judge(*judged(turning_states(4 * FRAMES)[:FRAMES]))
    assert "turns by 83 degrees only" in found.obstacles[0] or "turns by 82 degrees only" in found.obstacles[0]


def test_a_body_beside_the_person_is_refused(turn):
    footage, fitted = turn
    found = judge(footage, dataclasses.replace(fitted, overlaps=np.full(FRAMES, 0.3)))
    assert "fits the pictures too badly" in found.obstacles[0]


def _moved_down(seen, joints):
    """As in a picture that ends above these joints: landmarks below it are guessed outside."""
    border = seen.points[list(joints), 1].max()
    points = seen.points.copy()
    points[points[:, 1] > border - 1, 1] = seen.mask.shape[0] + 50.0
    # What is not a joint lies anywhere.
    return dataclasses.replace(seen, points=points)
