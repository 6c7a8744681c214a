"""What one can do with a finished person in a notebook."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from nerfstudio_avatars import Avatar, LearntKind
from nerfstudio_avatars.avatars.film import Shot, cameras_around
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.errors import UserError


@pytest.fixture(scope="module")
def avatar(orphan):
    return Avatar.load(orphan)


@pytest.fixture(scope="module")
def pose(avatar):
    return avatar.motion("walk")[10]


def test_the_package_imports_nothing_before_it_is_asked():
    script = (
        "import nerfstudio_avatars, sys; assert 'torch' not in sys.modules; print(nerfstudio_avatars.Avatar.__name__)"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "Avatar"
    with pytest.raises(ImportError, match="Nobody"):
        from nerfstudio_avatars import Nobody  # noqa: F401


def test_an_avatar_without_its_data_looks_as_it_does_with_them(avatar, person_config, pose):
    """The skinning volume, the body and the occupancy come from the checkpoint, not from the data."""
    whole = load_run(person_config, need_data=True)
    camera = whole.datamanager.train_dataset.cameras[0:1]
    for name, picture in whole.model.render_pose(camera, pose).items():
        assert torch.equal(picture, avatar.model.render_pose(camera, pose)[name]), name
    kept, given = avatar.model.person, whole.model.person
    assert torch.equal(kept.cameras.camera_to_worlds, given.cameras.camera_to_worlds)
    assert torch.equal(kept.cameras.metadata["frame"], given.cameras.metadata["frame"])
    assert torch.equal(kept.motion.transl, given.motion.transl) and torch.equal(kept.box.aabb, given.box.aabb)


def test_a_motion_has_the_avatars_shape_and_its_frames_are_poses(avatar, pose):
    walk = avatar.motion("walk")
    assert torch.equal(walk.betas, avatar.video.betas) and torch.equal(pose.transl, walk.transl[10])
    assert len(list(walk)) == len(walk)


def test_pictures_have_the_asked_size_and_see_through_what_is_nobody(avatar, pose):
    picture = avatar.render(pose, azimuth=30, size=(48, 64))
    assert picture.shape == (48, 64, 4) and picture.dtype == np.uint8
    assert picture[..., 3].max() == 255 and (picture[0, [0, -1], 3] == 0).all()
    assert (picture != avatar.render(pose, azimuth=120, size=(48, 64))).any()
    with pytest.raises(UserError, match="expected at least 2 pixels"):
        avatar.render(pose, size=1)


def test_a_motion_is_filmed_with_options_of_a_shot(avatar, tmp_path):
    assert avatar.film(avatar.motion("walk"), tmp_path / "walk", seconds=0.2, fps=10, height=16, width=16) == 2
    assert len(list((tmp_path / "walk").glob("*.png"))) == 2


def test_the_mesh_is_closed_and_lies_where_the_pictures_show_somebody(avatar, pose):
    import trimesh

    mesh = avatar.mesh(pose)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and 0.01 < solid.volume < 0.2, "outward, and as much as a person"
    assert len(solid.split(only_watertight=False)) == 1
    camera = cameras_around(avatar.body, [pose], Shot(height=128, width=128))
    seen = avatar.render_camera(pose, camera)[..., 3] > 100
    to_camera = torch.linalg.inv(torch.cat([camera.camera_to_worlds[0], torch.tensor([[0.0, 0, 0, 1]])]))
    points = torch.from_numpy(mesh.vertices) @ to_camera[:3, :3].T + to_camera[:3, 3]
    x = (camera.fx[0] * points[:, 0] / -points[:, 2] + camera.cx[0]).floor().long()
    y = (-camera.fy[0] * points[:, 1] / -points[:, 2] + camera.cy[0]).floor().long()
    drawn = torch.zeros(128, 128)
    drawn[y, x] = 1
    near = torch.nn.functional.max_pool2d(torch.from_numpy(seen).float()[None], 5, 1, 2)[0] > 0
    assert near[y, x].float().mean() > 0.9, "hardly a vertex beside the picture"
    covered = torch.nn.functional.max_pool2d(drawn[None], 5, 1, 2)[0] > 0
    assert covered[torch.from_numpy(seen)].float().mean() > 0.9, "hardly a pixel without a vertex"


def test_posed_vertices_are_where_the_avatars_own_search_finds_them(avatar, pose):
    """The search for canonical points inverts the skinning, and was written for something else."""
    canonical, model = torch.from_numpy(avatar.mesh().vertices), avatar.model
    posed = model.avatar.pose(model.poses.transforms_of(pose).detach())
    moved = torch.from_numpy(avatar.mesh(pose).vertices)[::50].contiguous()
    roots, point = model.avatar.canonical_roots(moved, posed)
    distance = (roots.detach() - canonical[::50][point]).norm(dim=-1)
    nearest = torch.full((len(moved),), torch.inf).scatter_reduce(0, point, distance, "amin")
    assert (nearest < 1e-3).float().mean() > 0.95


def test_meshes_come_out_the_same_again_and_are_read_by_others(avatar, pose, tmp_path):
    import trimesh

    mesh = avatar.mesh(pose)
    assert np.array_equal(mesh.vertices, Avatar(avatar.run).mesh(pose).vertices)
    for name in ("me.obj", "me.ply"):
        read = trimesh.load(mesh.save(tmp_path / name), process=False)
        assert np.abs(read.vertices - mesh.vertices).max() < 1e-5 and np.array_equal(read.faces, mesh.faces)
        assert np.abs(read.visual.vertex_colors[:, :3].astype(int) - mesh.colours).max() <= 1
    with pytest.raises(UserError, match="ends in .obj or .ply"):
        mesh.save(tmp_path / "me.stl")


def test_each_library_refuses_the_others_runs(orphan, volanim_orphan):
    with pytest.raises(UserError, match="unsup-volanim-tiny, which has no skeleton"):
        Avatar.load(volanim_orphan)
    with pytest.raises(UserError, match="a run of instant-avatar-cpu"):
        LearntKind.load(orphan)


def test_checkpoints_that_hold_nobody_or_are_damaged_are_named(orphan, tmp_path):
    import shutil

    copy = shutil.copytree(orphan, tmp_path / "old")
    checkpoint = next((copy / "nerfstudio_models").iterdir())
    state = torch.load(checkpoint, weights_only=False)
    state["pipeline"].pop("_model._extra_state")
    torch.save(state, checkpoint)
    with pytest.raises(UserError, match="holds no person"):
        Avatar.load(copy)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(UserError, match="expected: a checkpoint of ns-train"):
        Avatar.load(copy)
    checkpoint.unlink()
    with pytest.raises(UserError, match="no checkpoint there"):
        Avatar.load(copy)
    with pytest.raises(UserError, match="no such file"):
        Avatar.load(tmp_path / "nowhere")


def test_a_body_that_is_not_there_is_said(orphan, tmp_path, monkeypatch):
    import shutil

    copy = shutil.copytree(orphan, tmp_path / "smpl")
    checkpoint = next((copy / "nerfstudio_models").iterdir())
    state = torch.load(checkpoint, weights_only=False)
    state["pipeline"]["_model._extra_state"]["person"]["body"] = str(tmp_path / "smpl.pkl")
    torch.save(state, checkpoint)
    with pytest.raises(UserError, match="smpl.pkl"):
        Avatar.load(copy)
