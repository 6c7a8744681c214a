"""Saved poses: exact for the studio, and motions for everybody else."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.loading import choose_motion
from nerfstudio_avatars.studio.pose_files import pose_bytes, read_pose, save_pose


@pytest.fixture
def subject():
    return load_motion("walk")


def test_a_saved_pose_comes_back_as_it_was(subject, standin, tmp_path):
    state = load_motion("cartwheel").state(40)
    path = save_pose(tmp_path, "wheel", pose_bytes(state, subject, standin))
    torch.testing.assert_close(
        standin.pose(read_pose(path, subject, standin)).joints, standin.pose(state).joints, atol=1e-5, rtol=0
    )


def test_to_other_commands_it_is_a_motion_that_faces_the_same_way(subject, standin, tmp_path):
    state = subject.state(10)
    path = save_pose(tmp_path, "stride.npz", pose_bytes(state, subject, standin))
    motion = choose_motion(str(path), subject, standin)
    assert isinstance(motion, BodySequence) and len(motion) == 1
    found, true = standin.pose(motion.state(0)).joints, standin.pose(state).joints
    torch.testing.assert_close(found - found[0], true - true[0], atol=1e-5, rtol=0)


def test_of_any_other_file_the_first_pose_is_taken(subject, standin, tmp_path):
    load_motion("run").save(tmp_path / "run.npz")
    state = read_pose(tmp_path / "run.npz", subject, standin)
    torch.testing.assert_close(state.body_pose, load_motion("run").state(0).body_pose)


def test_no_pose_is_written_over(subject, standin, tmp_path):
    content = pose_bytes(subject.state(0), subject, standin)
    names = [save_pose(tmp_path / "poses", "a", content).name for _ in range(3)]
    assert names == ["a.npz", "a-2.npz", "a-3.npz"]


@pytest.mark.parametrize("name", ["", "../a", "a/b", "..", "C:a", "a\\b"])
def test_names_stay_in_the_folder(name, tmp_path):
    with pytest.raises(UserError, match="plain name"):
        save_pose(tmp_path, name, b"")
    assert not list(tmp_path.iterdir())


def test_what_is_no_pose_is_said_to_be_none(subject, standin, tmp_path):
    np.savez(tmp_path / "x.npz", made_by="nerfstudio_avatars studio")
    (tmp_path / "y.npz").write_bytes(b"no archive")
    for name in ("x.npz", "y.npz"):
        with pytest.raises(UserError):
            read_pose(tmp_path / name, subject, standin)
