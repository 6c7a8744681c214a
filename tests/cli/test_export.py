"""`ns-avatar export`: motions become other files, with a run and without one."""

import functools

import numpy as np
import pytest
import torch

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.avatars.exporting import ExportOptions
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.forward_kinematics import posed_joints

pytestmark = pytest.mark.slow


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
        (["--output", "a.fbx"], "a.fbx: expected a name that ends in .glb"),
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


@pytest.fixture(scope="module")
def small():
    return {"triangles": 3000, "texture_size": 128, "picture_size": 48}


def test_the_person_leaves_as_a_mesh_that_moves_as_the_avatar_does(orphan, small, tmp_path):
    from nerfstudio_avatars.motion.gltf_file import GltfFile
    from tests.helpers.moved_by_gltf import moved_by_the_file

    avatar = Avatar.load(orphan)
    poses = avatar.model.poses
    with torch.no_grad():
        poses.shared_correction.normal_(std=0.05)
        poses.joint_offsets.normal_(std=0.01)
    said = avatar.export(tmp_path / "me.glb", motion=("walk", "training"), root="as_is", licence="CC0-1.0", **small)
    assert "2 motions" in said
    file = GltfFile(tmp_path / "me.glb")
    names = [animation["name"] for animation in file.json["animations"]]
    assert names == ["walk", "training"] and file.json["asset"]["copyright"] == "CC0-1.0"
    part = file.json["meshes"][0]["primitives"][0]
    assert file.array(part["indices"]).size <= 3 * 3100
    canonical, joints, weights = (
        torch.from_numpy(file.array(part["attributes"][name])).float() for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")
    )
    refined = poses.stored(torch.tensor([4])) + poses.correction(torch.tensor([4]))
    for animation, packed, frame in ((0, avatar.motion("walk")[6].packed()[None], 6), (1, refined, 4)):
        moved = poses.transforms(packed)[0].detach()[joints.long()]
        blended = (weights[..., None, None] * moved).sum(1)
        truth = (blended @ torch.nn.functional.pad(canonical, (0, 1), value=1.0)[..., None])[:, :3, 0]
        found = torch.from_numpy(moved_by_the_file(file, file.json["animations"][animation], frame)).float()
        x, y, z = found.unbind(1)  # y up; the world has z up.
        torch.testing.assert_close(torch.stack([-x, z, y], 1), truth, atol=2e-3, rtol=0)


def test_a_page_and_a_still_mesh_are_written(orphan, small, tmp_path):
    import trimesh

    avatar = Avatar.load(orphan)
    avatar.export(tmp_path / "me.html", **small)
    assert (tmp_path / "me.html").read_text("utf8").startswith("<!doctype html>")
    avatar.export(tmp_path / "still.glb", static=True, **small)
    avatar.export(tmp_path / "me.ply")
    still, cloud = (trimesh.load(tmp_path / name, force="mesh") for name in ("still.glb", "me.ply"))
    assert 1 < still.extents[1] == still.extents.max() < 2.2, "y up"
    assert 1 < cloud.extents[2] == cloud.extents.max() < 2.2, "z up"


def test_splats_stand_where_the_mesh_stands(orphan, small, tmp_path, monkeypatch):
    import trimesh
    from scipy.spatial import cKDTree
    from splat_reader import read_gvrm, read_ply, read_spz

    from nerfstudio_avatars.avatars import splatted

    monkeypatch.setattr(splatted, "_STEPS", 10)
    # The same splats in each file are fitted once.
    monkeypatch.setattr(splatted, "splatted_person", functools.cache(splatted.splatted_person))
    avatar = Avatar.load(orphan)
    avatar.export(tmp_path / "still.glb", static=True, motion=("run",), **small)
    skin = cKDTree(trimesh.load(tmp_path / "still.glb", force="mesh").vertices)
    for name, up in (("me.ply", [1, -1, -1]), ("me.spz", [1, 1, 1])):
        said = avatar.export(tmp_path / name, format="splats", motion=("run",), splats=400, **small)
        assert "400 splats" in said
        read = {".ply": read_ply, ".spz": read_spz}[name[2:]]((tmp_path / name).read_bytes())
        away = skin.query(read.centres * up)[0]
        assert len(away) == 400 and np.median(away) < 0.02
    avatar.export(tmp_path / "me.gvrm", splats=400, **small)
    assert abs(read_gvrm(tmp_path / "me.gvrm").splats.centres[:, 1].min()) < 0.1, "on the ground"


def test_what_needs_a_person_says_so(tmp_path):
    with pytest.raises(SystemExit):
        main(["export", "--output", str(tmp_path / "me.avatar")])
    with pytest.raises(UserError, match="--triangles 3: expected a number between"):
        ExportOptions(triangles=3).check()
    with pytest.raises(UserError, match="--splats 3: expected a number between"):
        ExportOptions(splats=3).check()
