"""What the studio shows, without a page."""

import pytest
import torch

from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.studio.session import BLEND_SECONDS, OWN_POSE, VIDEO, Clip, Session


@pytest.fixture
def walk():
    return load_motion("walk")


@pytest.fixture
def session(walk, standin):
    return Session(Clip.of(walk), walk.state(0), standin.rest(torch.zeros(10))[1][0])


def same(a, b):
    torch.testing.assert_close(a.packed(), b.packed(), atol=1e-5, rtol=0)


def test_the_video_is_shown_first_and_plays_when_asked(session, walk):
    same(session.state(), walk.state(0))
    assert not session.moving
    session.playback.play()
    session.advance(10 / walk.fps)
    same(session.state(), walk.state(10))
    assert session.moving


def test_one_motion_moves_into_the_next_without_a_jump(session, walk):
    session.add("run", load_motion("run"))
    session.playback.seek(12)
    session.choose("run")
    same(session.state(), walk.state(12))
    assert session.moving
    last = session.state().packed()
    for _ in range(20):
        session.advance(BLEND_SECONDS / 20)
        # No joint turns by more than 20 degrees between two pictures, though the motions differ by far more.
        assert (session.state().packed()[:72] - last[:72]).view(24, 3).norm(dim=-1).max() < 0.35
        last = session.state().packed()
    same(session.state(), load_motion("run").state(0))
    assert not session.moving


def test_a_motion_that_is_replaced_while_it_is_shown_starts_again(session):
    session.add("mine", load_motion("walk"))
    session.choose("mine")
    session.playback.seek(30)
    session.add("mine", load_motion("run")[0:10])
    assert (session.playback.frames, session.playback.position) == (10, 0.0)


def test_in_place_the_pelvis_stays_above_the_origin(session, walk, standin):
    session.put_in("in place")
    for frame in (0, 15, 38):
        joints = standin.pose(session.at(frame)).joints
        torch.testing.assert_close(joints[0, :2], torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(joints[0, 2], standin.pose(walk.state(frame)).joints[0, 2])


def test_whoever_turns_a_joint_goes_on_from_what_is_shown(session, walk):
    session.playback.seek(20)
    session.playback.play()
    session.edit().turn("neck", 1, 0.5, now=0.0)
    assert session.chosen == OWN_POSE
    expected = walk.state(20).body_pose.clone()
    expected[3 * 11 + 1] = 0.5
    torch.testing.assert_close(session.state().body_pose, expected)
    session.advance(1.0)
    torch.testing.assert_close(session.state().body_pose, expected)
    assert not session.moving


def test_an_own_pose_is_kept_while_motions_are_looked_at(session):
    session.edit().turn("neck", 1, 0.5, now=0.0)
    own = session.state()
    session.choose(VIDEO)
    session.advance(1.0)
    session.choose(OWN_POSE)
    session.advance(1.0)
    same(session.state(), own)


def test_what_is_not_there_cannot_be_chosen(session):
    with pytest.raises(KeyError):
        session.choose("polka")
    assert session.names == [VIDEO, OWN_POSE] and not session.has("polka")
