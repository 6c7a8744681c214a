"""A rigged mesh in a file: read by our reader and by trimesh, moved by numpy, checked by Khronos' validator."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, JOINT_PARENTS
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.export.mesh_glb import rigged_glb, static_glb, texture_bytes
from nerfstudio_avatars.motion.forward_kinematics import posed_joints
from nerfstudio_avatars.motion.gltf import read_gltf
from nerfstudio_avatars.motion.gltf_file import GltfFile
from tests.helpers.moved_by_gltf import moved_by_the_file
from tests.helpers.node import gltf_issues

FRAME = 12


@pytest.fixture(scope="module")
def texture(skinned_body):
    return texture_bytes((skinned_body.texture * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def path(skinned_body, kick, texture, tmp_path_factory):
    path = tmp_path_factory.mktemp("glb") / "me.glb"
    motions = {"kick": kick, "half": kick[:15]}
    path.write_bytes(rigged_glb(skinned_body.mesh, texture, skinned_body.skeleton, motions, "CC0-1.0"))
    return path


def test_the_file_moves_the_mesh_as_the_body_moves(path, skinned_body, kick):
    file = GltfFile(path)
    found = moved_by_the_file(file, file.json["animations"][0], FRAME)
    joints = skinned_body.skeleton.rest_joints
    to_pose = joint_transforms(
        joints, kick.global_orient[FRAME], kick.body_pose[FRAME], kick.transl[FRAME], JOINT_PARENTS
    )
    truth = skinned_body.mesh.posed(to_pose @ torch.linalg.inv(skinned_body.canonical))
    np.testing.assert_allclose(found, truth, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 1


def test_its_motion_is_read_again(path, kick, skinned_body):
    joints = skinned_body.skeleton.rest_joints
    read = read_gltf(path, joints)
    assert len(read.sequence) == len(kick) and "'half'" in " ".join(read.notes)
    torch.testing.assert_close(posed_joints(read.sequence, joints), posed_joints(kick, joints), atol=2e-3, rtol=0)


def test_joints_have_smpls_names_and_vertices_at_most_four(path):
    file = GltfFile(path)
    assert [file.json["nodes"][joint]["name"] for joint in file.json["skins"][0]["joints"]] == list(JOINT_NAMES)
    attributes = file.json["meshes"][0]["primitives"][0]["attributes"]
    joints, weights = (file.array(attributes[name]) for name in ("JOINTS_0", "WEIGHTS_0"))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (joints[weights == 0] == 0).all() and (weights >= 0).all() and "JOINTS_1" not in attributes
    for row, share in zip(joints[:500], weights[:500], strict=True):
        used = row[share > 0]
        assert len(set(used)) == len(used), "no joint twice"
    assert file.json["asset"]["copyright"] == "CC0-1.0"
    assert file.json["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def test_trimesh_reads_mesh_and_texture(path, skinned_body):
    import trimesh

    scene = trimesh.load(path, process=False)
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, skinned_body.mesh.vertices, atol=1e-6)
    assert np.array_equal(mesh.faces, skinned_body.mesh.faces)
    np.testing.assert_allclose(mesh.visual.uv, skinned_body.mesh.uv * [1, -1] + [0, 1], atol=1e-6)
    shown = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"), float) / 255
    assert abs(shown - skinned_body.texture).mean() < 0.03


def test_a_still_mesh_has_no_skeleton(skinned_body, texture):
    import trimesh

    moved = skinned_body.mesh.vertices + np.float32([0, 1, 0])
    data = static_glb(skinned_body.mesh, moved, texture)
    (mesh,) = trimesh.load(io.BytesIO(data), file_type="glb", process=False).geometry.values()
    np.testing.assert_allclose(mesh.vertices, moved, atol=1e-6)
    assert b"skins" not in data and b"animations" not in data


def test_the_textures_colours_are_not_coarser_than_its_light(texture):
    picture = Image.open(io.BytesIO(texture))
    assert picture.format == "JPEG" and {part[1] for part in picture.layer} == {1}


def test_khronos_validator_finds_nothing(path):
    assert gltf_issues(path) == []
