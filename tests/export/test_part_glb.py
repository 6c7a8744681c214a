"""Two balls that are parts of an object, as a mesh: where they are, how a file moves them, and what a browser shows."""

import base64
import re

import numpy as np
import pytest
import torch

from nerfstudio_avatars.avatars import cameras
from nerfstudio_avatars.avatars.textured_parts import in_world
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.export.mesh_glb import texture_bytes
from nerfstudio_avatars.export.mesh_picture import draw
from nerfstudio_avatars.export.page import avatar_page
from nerfstudio_avatars.export.part_glb import PartMotion, part_glb
from nerfstudio_avatars.export.part_mesh import bones_of, colours_at, part_mesh
from nerfstudio_avatars.motion.gltf_file import GltfFile
from nerfstudio_avatars.unsup_volanim.part_seeds import voxel_places
from nerfstudio_avatars.unsup_volanim.root_pose import PartPlaces
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from tests.helpers.headless_chromium import picture_and_requests
from tests.helpers.moved_by_gltf import moved_by_the_file
from tests.helpers.node import gltf_issues, node_package

SIDE, EXTENTS, SCENE = 24, torch.tensor([1.1, 1.1, 1.0]), torch.tensor([1.0, 1.0, 0.95])
MIDDLES, RADIUS = torch.tensor([[-0.45, -0.3, 0.1], [0.45, 0.3, -0.1]]), 0.4
"""In the axes of the scene: x right, y down, z away."""
SIZE, FRAME = 400, 3


@pytest.fixture(scope="module")
def cube():
    """A red ball and a blue one: part logits, RGB, density, which is 1 at the balls' surface."""
    places = voxel_places(SIDE, torch.device("cpu")) * EXTENTS
    distance = torch.stack([(places - middle).norm(dim=-1) for middle in MIDDLES])
    logits = -40 * distance
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])[distance.argmin(0)].permute(3, 0, 1, 2)
    return torch.cat([logits, colours, 1 + 60 * (RADIUS - distance.amin(0, keepdim=True))])


@pytest.fixture(scope="module")
def mesh(cube):
    def at_density_one(surface):
        places = torch.from_numpy(surface[0]) * torch.tensor([1.0, -1.0, -1.0])
        distance = torch.cdist(places, MIDDLES).amin(1)
        return -abs(float(distance.mean()) - RADIUS)

    return part_mesh(cube, EXTENTS, SCENE, "compose", 3000, at_density_one)


@pytest.fixture(scope="module")
def motion():
    torch.manual_seed(0)
    turns = torch.cumsum(0.3 * torch.randn(6, 2, 3), 0)
    return PartMotion(PartPoses(axis_angle_to_matrix(turns), 0.1 * torch.randn(6, 2, 3)), 12.5)


@pytest.fixture(scope="module")
def glb(mesh, cube, motion):
    size = 64
    row, column = np.mgrid[:size, :size]
    texture = np.stack([row / (size - 1), column / (size - 1), 0 * row], -1)
    places = PartPlaces(MIDDLES, torch.tensor([0.5, 0.5]))
    pixels = (texture * 255).astype(np.uint8)
    return part_glb(mesh, texture_bytes(pixels), places, {"talk": motion}, "CC0-1.0"), texture.astype(np.float32)


@pytest.fixture(scope="module")
def path(glb, tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "face.glb"
    path.write_bytes(glb[0])
    return path


def test_the_surface_is_where_the_balls_are_and_its_weights_are_theirs(mesh, cube):
    places = mesh.vertices * [1, -1, -1]
    distance = np.linalg.norm(places[:, None] - MIDDLES.numpy(), axis=-1)
    assert abs(distance.min(1) - RADIUS).max() < 0.04
    own = distance.argmin(1)
    bones = np.take_along_axis(mesh.joints, mesh.weights.argmax(1)[:, None], 1)[:, 0]
    assert (bones == own + 1).all() and mesh.weights.max(1).min() > 0.99
    outward = (places - MIDDLES.numpy()[own]) / RADIUS * [1, -1, -1]
    assert (outward * mesh.normals).sum(1).min() > 0.9, "normals point outward, so corners run counter-clockwise"
    colours = colours_at(cube, EXTENTS, mesh.vertices)
    assert (colours[own == 0].argmax(1) == 0).all() and (colours[own == 1].argmax(1) == 2).all()


def test_nothing_solid_is_told(cube):
    with pytest.raises(ValueError, match="solid nowhere"):
        part_mesh(torch.cat([cube[:-1], -torch.ones_like(cube[-1:])]), EXTENTS, SCENE, "blend", 100, lambda _: 0.0)


def truth(mesh, motion, frame):
    """Vertices moved by the parts, in the axes of the scene, and then in those of the file."""
    places = torch.from_numpy(mesh.vertices) * torch.tensor([1.0, -1.0, -1.0])
    rotation, shift = motion.poses.rotation[frame], motion.poses.translation[frame]
    part = torch.from_numpy(np.take_along_axis(mesh.joints, mesh.weights.argmax(1)[:, None], 1)[:, 0].astype(int)) - 1
    return ((rotation[part] @ places[..., None])[..., 0] + shift[part]) * torch.tensor([1.0, -1.0, -1.0])


def test_the_file_moves_the_mesh_as_the_parts_move(path, mesh, motion):
    file = GltfFile(path)
    lift = np.float32([0, -mesh.vertices[:, 1].min(), 0])
    for frame in (0, FRAME):
        found = moved_by_the_file(file, file.json["animations"][0], frame)
        np.testing.assert_allclose(found, truth(mesh, motion, frame).numpy() + lift, atol=2e-3)
        np.testing.assert_allclose(mesh.posed(bones_of(motion.poses[frame : frame + 1])) + lift, found, atol=1e-4)
    times = file.array(file.json["animations"][0]["samplers"][0]["input"])
    np.testing.assert_allclose(times.ravel(), np.arange(6) / 12.5, atol=1e-6)


def test_bones_are_named_and_the_material_is_unlit(path):
    file = GltfFile(path)
    assert [file.json["nodes"][joint]["name"] for joint in file.json["skins"][0]["joints"]] == [
        "whole", "part_0", "part_1",
    ]  # fmt: skip
    assert file.json["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert file.json["asset"]["copyright"] == "CC0-1.0"


def test_khronos_validator_finds_nothing(path):
    assert gltf_issues(path) == []


THREE = """<!doctype html><style>body { margin: 0; background: #eef0f2; }</style>
<script type="importmap">{ "imports": { "three": "PLACE/build/three.module.js" } }</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "PLACE/examples/jsm/loaders/GLTFLoader.js";
const data = Uint8Array.from(atob("GLB"), letter => letter.charCodeAt(0)).buffer;
new GLTFLoader().parse(data, "", gltf => {
  const renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
  document.body.append(renderer.domElement);
  const mixer = new THREE.AnimationMixer(gltf.scene);
  mixer.clipAction(gltf.animations[0]).play(); mixer.setTime(TIME);
  const camera = new THREE.PerspectiveCamera(36, 1, .05, 50);
  camera.position.set(0, LIFT, 4); camera.lookAt(0, LIFT, 0);
  window.onresize = () => {
    renderer.setSize(innerWidth, innerHeight);
    camera.aspect = innerWidth / innerHeight; camera.updateProjectionMatrix();
    renderer.render(gltf.scene, camera);
  };
  window.onresize();
}, error => { throw error; });
</script>"""


def same_view(shown, mesh, texture, motion):
    """Compares a browser's picture, from 4 units in front, with ours."""
    vertices = in_world(mesh.posed(bones_of(motion.poses[FRAME : FRAME + 1])))
    view = torch.tensor([[[-1.0, 0, 0, 0], [0, 0, 1, 4], [0, 1, 0, 0]]])
    height, width = shown.shape[:2]
    drawn = draw(mesh, texture, vertices, cameras.cameras(view, height / 2 / np.tan(np.pi / 10), height, width))
    inside = drawn[..., 3] == 1
    assert inside.sum() > 5000
    assert abs(shown - drawn[..., :3])[inside].mean() < 0.03
    seen = abs(shown - shown[0, 0]).max(-1) > 0.02
    assert (seen & (drawn[..., 3] > 0)).sum() / (seen | (drawn[..., 3] > 0)).sum() > 0.97


@pytest.mark.slow
def test_three_js_and_the_page_show_what_we_draw(glb, mesh, motion, tmp_path):
    data, texture = glb
    place, lift = node_package("three"), float(-mesh.vertices[:, 1].min())
    values = {"PLACE": place.as_uri(), "GLB": base64.b64encode(data).decode(), "TIME": FRAME / motion.fps, "LIFT": lift}
    (tmp_path / "three.html").write_text(re.sub("|".join(values), lambda word: str(values[word[0]]), THREE), "utf8")
    shown, _ = picture_and_requests((tmp_path / "three.html").as_uri(), tmp_path, SIZE)
    same_view(shown, mesh, texture, motion)
    (tmp_path / "face.html").write_text(avatar_page(data, "Face"), "utf8")
    start = f"motion=talk&time={FRAME / motion.fps}&play=0&panel=0&ground=0"
    look = f"azimuth=0&elevation=0&distance=4&centre={lift}"
    _, asked = picture_and_requests(f"{(tmp_path / 'face.html').as_uri()}#{start}&{look}", tmp_path, SIZE)
    assert asked == []
