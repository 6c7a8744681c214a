"""Somebody out of many who were learnt, as a mesh and as a page."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars import LearntKind
from nerfstudio_avatars.avatars.driving import relative_motion, still_cameras
from nerfstudio_avatars.avatars.exporting import ExportOptions, export
from nerfstudio_avatars.avatars.textured_parts import Look, object_picture, posed_parts
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.export.mesh_picture import covered
from nerfstudio_avatars.motion.gltf_file import GltfFile
from tests.helpers.moved_by_gltf import moved_by_the_file

SMALL = {"triangles": 2000, "texture_size": 64, "picture_size": 32}


@pytest.fixture(scope="module")
def kind(volanim_orphan):
    return LearntKind.load(volanim_orphan)


@pytest.fixture(scope="module")
def clip(kind, tmp_path_factory):
    """The curves of a motion that turns the head to and fro."""
    from nerfstudio_avatars.avatars.driving_clip import DrivingClip, save_curves

    rest = kind.model.driving_pose(0, 0)
    poses = [rest.turned(angle, 0.0, rest.translation.mean(-2, keepdim=True)) for angle in (-0.4, 0.0, 0.4)]
    path = tmp_path_factory.mktemp("curves") / "nod.json"
    save_curves(DrivingClip(poses, 10.0), kind.model, path)
    return path


@pytest.mark.slow
def test_a_run_without_its_data_becomes_a_mesh_that_moves_as_the_clip_says(
    kind, volanim_orphan, clip, tmp_path, capsys
):
    output, name = tmp_path / "face.glb", kind.identities[1]
    words = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    main(["export", "--load-config", str(volanim_orphan), "--identity", name, "--motion", str(clip),
          "--output", str(output), *words])  # fmt: skip
    assert f"{name}: " in (said := capsys.readouterr().out) and "2 parts and 1 clips" in said
    file = GltfFile(output)
    assert [animation["name"] for animation in file.json["animations"]] == ["nod"]
    part = {key: file.array(number) for key, number in file.json["meshes"][0]["primitives"][0]["attributes"].items()}
    pose, places = kind.drive(clip)[2], part["POSITION"] * [1, -1, -1]
    moved = np.einsum("pij,vj->vpi", pose.rotation[0].numpy(), places) + pose.translation[0].numpy()
    shares = np.zeros((len(places), 5))
    np.add.at(shares, (np.arange(len(places))[:, None], part["JOINTS_0"].astype(int)), part["WEIGHTS_0"])
    wanted = (shares[:, 1:3, None] * moved).sum(1) * [1, -1, -1] + [0, -part["POSITION"][:, 1].min(), 0]
    np.testing.assert_allclose(moved_by_the_file(file, file.json["animations"][0], 2), wanted, atol=2e-3)


@pytest.mark.slow
def test_the_mesh_covers_what_the_method_shows(kind, clip, tmp_path):
    from export import read_mesh

    kind.export(tmp_path / "face.glb", motion=(str(clip),), **SMALL)
    mesh, _ = read_mesh(tmp_path / "face.glb")
    look = Look(kind.drive(clip)[2], 48)
    own = object_picture(kind.model, kind.identity(kind.identities[0]).cube, look)[..., 3] > 0.5
    shown = covered(posed_parts(mesh, look.poses), mesh.faces, still_cameras(kind.model, 1, 48))
    assert own.sum() > 200 and (own & shown).sum() / (own | shown).sum() > 0.9


@pytest.mark.slow
def test_a_page_and_a_still_mesh_of_nobody_are_written(kind, clip, tmp_path):
    kind.export(tmp_path / "nobody.html", identity="random:3", **SMALL)
    assert (tmp_path / "nobody.html").read_text("utf8").startswith("<!doctype html>")
    kind.export(tmp_path / "still.glb", static=True, motion=(str(clip),), **SMALL)
    assert not {"skins", "animations"} & GltfFile(tmp_path / "still.glb").json.keys()


def test_relative_clips_start_from_the_identitys_own_pose(kind, clip):
    from nerfstudio_avatars.avatars.exporting_parts import clip_of

    identity = kind.identity(kind.identities[1])
    found = clip_of(kind.model, identity, str(clip), relative=True)
    torch.testing.assert_close(found[0].rotation, identity.pose.rotation, atol=1e-5, rtol=0)
    wanted = relative_motion(kind.drive(clip).poses, identity.pose)
    torch.testing.assert_close(found[2].translation, wanted[2].translation, atol=1e-5, rtol=0)


def test_mistakes_are_told(kind, tmp_path):
    for output, options, match in (
        ("a.bvh", {}, "a run of unsup-volanim, which has no skeleton"),
        ("a.glb", {"identity": "nobody"}, "--identity nobody: expected"),
        ("a.glb", {"identity": "random:1", "relative": True, "motion": (kind.identities[0],)}, "there is no pose"),
        ("a.glb", {"motion": ("nowhere.mp4",)}, "nowhere.mp4"),
        ("a.glb", {"motion": (kind.model.clips.table[0].name,) * 2}, "whose names differ"),
    ):
        with pytest.raises(UserError, match=match):
            kind.export(tmp_path / output, **options)
    with pytest.raises(UserError, match="for runs of unsup-volanim"):
        export(None, tmp_path / "me.bvh", ExportOptions(identity="anna"))
    assert not list(tmp_path.iterdir())
