"""Persons are chosen as asked, and frames without them filled in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionSource
from nerfstudio_avatars.motion.tracks import Track, choose_person, only_person, track_sequence


def source(person: str | None = None) -> MotionSource:
    return MotionSource(Path("tracks.pkl"), {}, np.zeros(3), person)


def track(frames, poses, transl=None) -> Track:
    transl = np.zeros((len(poses), 3)) if transl is None else transl
    return Track(np.array(frames), np.array(poses, float), np.array(transl, float), np.arange(10.0))


def test_the_longest_track_is_the_default_and_the_first_of_equals():
    assert choose_person(source(), {4: 3, 5: 9, 6: 9})[0] == 5
    assert choose_person(source(), {4: 3})[1] == ()
    assert "person 5" in choose_person(source(), {4: 3, 5: 9})[1][0]


def test_a_person_is_found_by_the_files_own_name_and_then_nothing_is_said():
    assert choose_person(source("4"), {4: 3, 5: 9}) == (4, ())
    assert choose_person(source("ann"), {"ann": 3, "bob": 9}) == ("ann", ())


@pytest.mark.parametrize(("person", "lengths"), [("7", {4: 3}), ("4", {4: 0, 5: 1}), (None, {}), (None, {4: 0})])
def test_who_is_not_there_is_named(person, lengths):
    with pytest.raises(DataError, match="no person"):
        choose_person(source(person), lengths)


def test_files_of_one_person_have_person_0():
    only_person(source("0"), 5)
    with pytest.raises(DataError, match="no person 2"):
        only_person(source("2"), 5)


def test_gaps_are_filled_along_the_shorter_way(lively_poses):
    seen, frames = lively_poses(3), np.array([20, 22, 27])
    transl = np.random.default_rng(1).normal(size=(3, 3))
    order = [2, 0, 1]
    sequence, notes = track_sequence(source(), track(frames[order], seen[order], transl[order]), 25.0, "female")
    assert (len(sequence), sequence.fps, sequence.gender) == (8, 25.0, "female")
    assert notes == ("5 of 8 frames without the person are filled in",)
    assert torch.equal(sequence.betas, torch.arange(10.0))
    times = np.arange(20, 28)
    ours = torch.cat([sequence.global_orient, sequence.body_pose], 1).numpy()
    for joint in range(24):
        angles = slice(3 * joint, 3 * joint + 3)
        truth = Slerp(frames, Rotation.from_rotvec(seen[:, angles]))(times)
        error = (truth.inv() * Rotation.from_rotvec(ours[:, angles])).magnitude()
        np.testing.assert_allclose(error, 0, atol=1e-5)
    for axis in range(3):
        np.testing.assert_allclose(sequence.transl[:, axis], np.interp(times, frames, transl[:, axis]), atol=1e-6)


def test_seen_frames_stay_as_the_file_has_them():
    """More than half a turn is the same rotation as less the other way, but it is the file's own number."""
    poses = np.zeros((3, 72))
    poses[:, 4] = [3.0, 3.5, 4.0]
    sequence, notes = track_sequence(source(), track([0, 1, 3], poses), 30.0)
    np.testing.assert_allclose(sequence.body_pose[[0, 1, 3], 1], [3.0, 3.5, 4.0], atol=1e-6)
    assert "1 of 4" in notes[0]


def test_unknown_frames_are_filled_inside_and_cut_off_at_the_ends():
    transl = np.tile(np.arange(6.0)[:, None], (1, 3))
    transl[[0, 3, 5]] = np.nan
    sequence, notes = track_sequence(source(), track(range(6), np.zeros((6, 72)), transl), 30.0)
    np.testing.assert_allclose(sequence.transl[:, 0], [1, 2, 3, 4])
    assert notes == ("1 of 4 frames without the person are filled in",)


def test_a_whole_track_has_nothing_to_say(lively_poses):
    assert track_sequence(source(), track(range(4), lively_poses(4)), 30.0)[1] == ()


@pytest.mark.parametrize(
    ("frames", "value", "message"),
    [([0, 1], np.nan, "without a single whole pose"), ([0, 10**12], 0.0, "frames numbered 0 to 1000000000000")],
)
def test_hopeless_tracks_are_named(frames, value, message):
    with pytest.raises(DataError, match=message):
        track_sequence(source(), track(frames, np.full((2, 72), value)), 30.0)
