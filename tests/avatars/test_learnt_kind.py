"""What one can do with a finished kind of object in a notebook, though its clips are gone."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars import LearntKind
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.errors import DataError, UserError


@pytest.fixture(scope="module")
def heads(volanim_orphan):
    return LearntKind.load(volanim_orphan)


@pytest.fixture(scope="module")
def clip(head_clips):
    return sorted((head_clips / "train").iterdir())[1]


def test_somebody_learnt_moves_as_a_file_does_and_looks_as_with_the_data(heads, clip, volanim_config):
    whole = load_run(volanim_config, need_data=True).model
    driven = heads.drive(clip, seconds=0.2)
    assert len(driven) == 5 and driven.fps == 25
    torch.testing.assert_close(driven[3].rotation, whole.driving_pose(1, 3).rotation)
    assert torch.equal(heads.identity(heads.identities[2]).cube, whole.cube_of_identity(2))


def test_pictures_are_square_and_turn(heads, clip):
    pose, somebody = heads.drive(clip, seconds=0.01)[0], heads.identity("random:3")
    front, side = (heads.render(somebody, pose, yaw=yaw, size=24) for yaw in (0, 40))
    assert front.shape == (24, 24, 3) and front.dtype == np.uint8 and (front != side).any()


def test_somebody_new_is_found_saved_and_read_again(heads, head_clips, clip, tmp_path):
    new = heads.identity(sorted((head_clips / "test").glob("*/*.png"))[0])
    again = heads.identity(new.save(tmp_path / "new.npz"))
    torch.testing.assert_close(again.cube, new.cube)
    assert heads.film(again, clip, tmp_path / "frames", seconds=0.1, relative=True, height=16) == 2
    with pytest.raises(UserError, match="only an identity that was found"):
        heads.identity("random:1").save(tmp_path / "nobody.npz")


def test_poses_that_a_camera_asks_for_lie_in_the_checkpoint(heads, volanim_config):
    """The first clip's, which times stand for, and the first of each identity; others are refused, not guessed."""
    whole = load_run(volanim_config, need_data=True).model
    for clip, frame in ((0, 0), (0, 9), (3, 0)):
        torch.testing.assert_close(
            heads.model.driving_pose(clip, frame).rotation, whole.driving_pose(clip, frame).rotation
        )
    with pytest.raises(DataError, match="put the data back"):
        heads.model.driving_pose(3, 7)


def test_the_data_are_found_again_where_they_lie_now(volanim_orphan, head_clips):
    """Clips' places are kept relative to the data's folder."""
    import shutil

    shutil.copytree(head_clips, volanim_orphan / "gone")
    try:
        heads = LearntKind.load(volanim_orphan)
        assert heads.model.clips.is_there(3) and len(heads.drive(heads.model.clips.table[3].name)) == 16
    finally:
        shutil.rmtree(volanim_orphan / "gone")
