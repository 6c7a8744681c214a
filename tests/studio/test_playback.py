"""Where a motion stands after time has passed, or somebody has moved it."""

import pytest

from nerfstudio_avatars.studio.playback import Playback


def test_it_plays_at_the_motions_rate_and_speed():
    playback = Playback(frames=101, fps=20.0, playing=True, speed=0.5)
    playback.advance(2.0)
    assert playback.position == pytest.approx(20.0)


def test_a_paused_motion_and_a_single_pose_stay():
    paused = Playback(frames=101, fps=20.0, position=7.0)
    paused.advance(3.0)
    pose = Playback(frames=1, fps=30.0, playing=True)
    pose.advance(3.0)
    assert (paused.position, pose.position) == (7.0, 0.0)


def test_the_last_frame_of_a_loop_is_the_first_of_the_next_round():
    playback = Playback(frames=31, fps=30.0, position=29.0, playing=True)
    playback.advance(2 / 30)
    assert playback.position == pytest.approx(1.0)


def test_without_a_loop_it_stops_at_the_end_and_plays_from_the_start_again():
    playback = Playback(frames=31, fps=30.0, position=29.0, playing=True, loop=False)
    playback.advance(5.0)
    assert (playback.position, playback.playing) == (30.0, False)
    playback.play()
    assert (playback.position, playback.playing) == (0.0, True)


@pytest.mark.parametrize(("asked", "found"), [(-5, 0), (12.5, 12.5), (999, 30)])
def test_frames_that_are_not_there_are_the_nearest_ones(asked, found):
    playback = Playback(frames=31, fps=30.0)
    playback.seek(asked)
    assert playback.position == found


def test_a_motion_that_repeats_shows_the_same_poses_again():
    playback = Playback(frames=31, fps=30.0, playing=True)
    shown = set()
    for _ in range(400):
        playback.advance(0.0371)
        shown.add(playback.shown)
    assert shown <= {float(frame) for frame in range(31)}
    slow = Playback(frames=31, fps=30.0, position=3.26, speed=0.25)
    assert slow.shown == 3.25
