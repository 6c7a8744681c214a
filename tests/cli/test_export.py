"""`ns-avatar export`: motions become other files, with a run and without one."""

import pytest
import torch

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.forward_kinematics import posed_joints


def test_a_motion_becomes_another_file_without_a_run(tmp_path, capsys):
    output = tmp_path / "walk.bvh"
    main(["export", "--motion", "walk", "--output", str(output), "--root", "as_is"])
    assert "39 frames of 'walk'" in capsys.readouterr().out
    torch.testing.assert_close(posed_joints(load_motion(output)), posed_joints(load_motion("walk")), atol=2e-3, rtol=0)


def test_feet_stand_on_the_ground(tmp_path):
    from nerfstudio_avatars.motion.readers import read_motion

    main(["export", "--motion", "walk", "--output", str(tmp_path / "walk.npz")])
    heights = posed_joints(read_motion(tmp_path / "walk.npz").sequence)[..., 1]
    assert 0 < heights.min() < 0.1 and 1.3 < heights.max() < 2


def test_the_refined_motion_of_the_video_moves_the_body_as_the_avatar_is_shown(orphan, tmp_path):
    avatar = Avatar.load(orphan)
    poses = avatar.model.poses
    with torch.no_grad():
        poses.frame_correction.normal_(std=0.05)
        poses.shared_correction.normal_(std=0.05)
        poses.joint_offsets.normal_(std=0.01)
    said = avatar.export(tmp_path / "me.bvh", motion=("training",), root="as_is")
    assert f"{len(poses)} frames of 'training'" in said
    joints = poses.joints()
    read = load_motion(tmp_path / "me.bvh", rest_joints=joints)
    found = posed_joints(read, joints)
    frames = torch.arange(len(poses))
    shown = poses.transforms(poses.stored(frames) + poses.correction(frames)).detach()
    homogeneous = torch.nn.functional.pad(poses.rest_joints, (0, 1), value=1.0)
    truth = (shown @ torch.linalg.inv(poses.canonical_inverse) @ homogeneous[..., None])[..., :3, 0]
    # A reader puts the median pelvis at the origin.
    torch.testing.assert_close(found - found[:, :1], truth - truth[:, :1], atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "a.fbx"], "a.fbx: expected a name that ends in .bvh"),
        (["--output", "a.bvh", "--motion", "walk", "run"], "expected one motion"),
        (["--output", "a.bvh", "--motion", "moonwalk"], "moonwalk"),
        (["--output", "a.bvh", "--motion", "training"], "a trained run's own motion"),
        (["--output", "a.bvh", "--fps", "0"], "--fps 0.0: expected a number above zero"),
    ],
)
def test_what_cannot_be_written_is_told_and_nothing_is_left(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["export", *words])
    assert end.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
