"""Motions through key poses."""

import pytest
import torch

from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.studio.key_poses import FPS, KeyPose, motion_of


@pytest.fixture
def walk():
    return load_motion("walk")


@pytest.fixture
def keys(walk):
    return [KeyPose(walk[0], 9.0), KeyPose(walk[12], 0.5), KeyPose(walk[30], 1.0)]


def same(a, b):
    torch.testing.assert_close(a.packed(), b.packed(), atol=1e-5, rtol=0)


def test_every_key_pose_is_reached_in_its_time(walk, keys):
    motion = motion_of(keys, walk)
    assert motion.fps == FPS and len(motion) == 1 + 15 + 30
    for frame, key in zip((0, 15, 45), keys, strict=True):
        same(motion[frame], key.state)
    same(motion[8], keys[0].state.towards(keys[1].state, (8 / 15) ** 2 * (3 - 16 / 15)))


def test_the_body_starts_and_stops_slowly(walk, keys):
    places = motion_of(keys, walk).transl
    steps = places.diff(dim=0).norm(dim=1)
    assert steps[0] < 0.4 * steps[7] and steps[14] < 0.4 * steps[7]


def test_a_closed_motion_ends_where_it_began(walk, keys):
    motion = motion_of(keys, walk, closed=True)
    assert len(motion) == 46 + round(9.0 * FPS)
    same(motion[len(motion) - 1], keys[0].state)


def test_one_pose_is_a_motion_of_one_frame(walk, keys):
    assert len(motion_of(keys[:1], walk)) == 1
