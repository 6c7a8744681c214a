"""Splats that a VRM moves: read by a reader of our own, and played by Spark in a browser."""

import base64
import json
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from chromium import find_chromium, open_page
from splat_reader import read_gvrm

from nerfstudio_avatars.avatars import cameras
from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, JOINT_PARENTS
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.bodies.rotations import axis_angle_to_quaternion
from nerfstudio_avatars.export.gvrm import gvrm_bytes
from nerfstudio_avatars.export.mesh_glb import rigged_glb, texture_bytes
from nerfstudio_avatars.export.mesh_picture import bilinear
from nerfstudio_avatars.export.splat_files import spz_bytes
from nerfstudio_avatars.export.splat_fit import splats_on
from nerfstudio_avatars.export.vrm import VrmMeta
from nerfstudio_avatars.motion.gltf_file import GltfFile
from tests.helpers.node import node_package

SIZE, DISTANCE, FRAME = 400, 3.5, 12
"""Of the picture: pixels, metres, and the frame of the motion."""


@pytest.fixture(scope="module")
def skinned(skinned_body):
    texels, shares = bilinear(skinned_body.mesh.uv, len(skinned_body.texture))
    colours = (shares[..., None] * skinned_body.texture.reshape(-1, 3)[texels]).sum(1)
    return splats_on(skinned_body.mesh, colours, 20_000)


@pytest.fixture(scope="module")
def file(skinned, skinned_body, tmp_path_factory):
    texture = texture_bytes((skinned_body.texture * 255).astype(np.uint8))
    vrm = rigged_glb(skinned_body.mesh, texture, skinned_body.skeleton, {}, vrm=VrmMeta("Ada", "Nobody"))
    path = tmp_path_factory.mktemp("gvrm") / "me.gvrm"
    path.write_bytes(gvrm_bytes(skinned, skinned_body.mesh, skinned_body.skeleton, vrm))
    return path


@pytest.fixture(scope="module")
def vrm(file, tmp_path_factory):
    path = tmp_path_factory.mktemp("vrm") / "me.vrm"
    path.write_bytes(read_gvrm(file).vrm)
    return GltfFile(path)


@pytest.fixture(scope="module")
def posed(skinned, skinned_body, kick):
    """The splats in the frame of the kick."""
    joints = skinned_body.skeleton.rest_joints
    to_pose = joint_transforms(
        joints, kick.global_orient[FRAME], kick.body_pose[FRAME], kick.transl[FRAME], JOINT_PARENTS
    )
    return skinned.posed(skinned_body.mesh.moved(to_pose @ torch.linalg.inv(skinned_body.canonical)))


def test_splats_lie_where_the_vrms_vertices_rest(file, vrm, skinned, skinned_body):
    read = read_gvrm(file)
    resting = skinned_body.mesh.posed(skinned_body.skeleton.rest_from_canonical)
    resting[:, 1] -= resting[:, 1].min()
    np.testing.assert_allclose(read.splats.centres - read.relative, resting[read.vertices], atol=2e-6)
    away = np.linalg.norm(read.relative, axis=1)
    assert away.max() < 0.12 and np.median(away) < 0.02, "within its triangle"
    assert np.array_equal(read.vertices, skinned.vertices)
    attributes = vrm.json["meshes"][0]["primitives"][0]["attributes"]
    assert len(vrm.array(attributes["POSITION"])) == len(resting) > read.vertices.max()


def test_the_same_avatar_gives_the_same_file(file, skinned, skinned_body):
    again = gvrm_bytes(skinned, skinned_body.mesh, skinned_body.skeleton, read_gvrm(file).vrm)
    assert again == file.read_bytes()


SPARK = """<!doctype html><link rel="icon" href="data:,"><style>body { margin: 0; }</style>
<script type="importmap">{ "imports": {
  "three": "./three/build/three.module.js", "three/addons/": "./three/examples/jsm/" } }</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { SparkRenderer, SplatMesh, SplatSkinning } from "./spark/dist/spark.module.js";
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const told = await (await fetch("told.json")).json();
const renderer = new THREE.WebGLRenderer({ preserveDrawingBuffer: true }), scene = new THREE.Scene();
document.body.append(renderer.domElement);
scene.background = new THREE.Color("#eef0f2");
const skinned = Boolean(told.vrm);
const spark = new SparkRenderer(
  { renderer, covSplats: skinned, accumExtSplats: skinned, sortRadial: false });
const splats = new SplatMesh(
  { fileBytes: bytes(told.splats), fileName: told.name, covSplats: skinned, extSplats: skinned });
scene.add(spark, splats);
await splats.initialized;
if (skinned) {
  const gltf = await new GLTFLoader().parseAsync(bytes(told.vrm).buffer, "");
  gltf.scene.updateMatrixWorld(true);
  const mesh = gltf.scene.getObjectByProperty("isSkinnedMesh", true), bones = mesh.skeleton.bones;
  const skinning = new SplatSkinning({ mesh: splats, numBones: bones.length, mode: "linear_blend" });
  const rest = bones.map(bone => bone.matrixWorld.clone().invert());
  const { skinIndex, skinWeight } = mesh.geometry.attributes;
  const joints = new THREE.Vector4(), shares = new THREE.Vector4();
  told.vertices.forEach((vertex, n) => skinning.setSplatBones(
    n, joints.fromBufferAttribute(skinIndex, vertex), shares.fromBufferAttribute(skinWeight, vertex)));
  splats.skinning = skinning;
  bones.forEach(bone => bone.quaternion.fromArray(told.turns[bone.name]));
  bones[0].position.fromArray(told.hips);
  gltf.scene.updateMatrixWorld(true);
  // Spark 2.2.0 multiplies rest and bone in the other order: it is given what a bone has moved.
  bones.forEach((bone, n) => {
    skinning.setRestMatrix(n, new THREE.Matrix4());
    skinning.setBoneMatrix(n, bone.matrixWorld.clone().multiply(rest[n]));
  });
  skinning.updateBones();
  splats.updateGenerator();
}
const camera = new THREE.PerspectiveCamera(36, innerWidth / innerHeight, .05, 50);
camera.position.set(told.hips[0], .3, told.hips[2] + told.distance);
camera.lookAt(told.hips[0], .3, told.hips[2]);
renderer.setSize(innerWidth, innerHeight, false);
renderer.setAnimationLoop(() => renderer.render(scene, camera));
window.ready = true;
</script>"""


def shown_by_spark(folder, told):
    """A picture of what Spark shows."""
    if find_chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    for name, package in (("three", "three"), ("spark", "@sparkjsdev/spark")):
        (folder / name).symlink_to(node_package(package))
    (folder / "index.html").write_text(SPARK, "utf8")
    (folder / "told.json").write_text(json.dumps(told), "utf8")
    handler = partial(SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_page(f"http://127.0.0.1:{server.server_port}/index.html", SIZE, SIZE) as page:
            page.wait("window.ready || undefined")
            shown = page.screenshot()
            # Splats are sorted by a worker, and come when that is done.
            for _ in range(40):
                time.sleep(0.5)
                last, shown = shown, page.screenshot()
                if np.array_equal(last, shown) and shown.std() > 5:
                    break
            assert page.complaints == []
        server.shutdown()
    return shown[..., :3].astype(np.float32) / 255


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def compare(shown, splats, hips):
    """Spark's picture with ours."""
    view = torch.tensor([[1.0, 0, 0, hips[0]], [0, 1, 0, 0.3], [0, 0, 1, hips[2] + DISTANCE]])
    height, width = shown.shape[:2]
    camera = cameras.cameras(view[None], height / 2 / np.tan(np.pi / 10), height, width)
    drawn = splats.draw(camera).numpy()
    ours = drawn[..., :3] + (1 - drawn[..., 3:]) * shown[0, 0]
    inside = drawn[..., 3] > 0.5
    assert inside.sum() > 5000 and shown[inside].std() > 0.1
    assert abs(shown - ours)[inside].mean() < 0.02, "pixels match"
    seen = abs(shown - shown[0, 0]).max(-1) > 0.02
    assert (seen & (drawn[..., 3] > 0.05)).sum() / (seen | (drawn[..., 3] > 0.05)).sum() > 0.95


@pytest.mark.slow
def test_spark_moves_them_as_we_do(file, posed, skinned_body, kick, tmp_path):
    read = read_gvrm(file)
    angles = torch.cat([kick.global_orient[FRAME], kick.body_pose[FRAME]]).reshape(24, 3)
    turns = axis_angle_to_quaternion(angles).roll(-1, -1).tolist()
    hips = kick.pelvis(skinned_body.skeleton.rest_joints[0])[FRAME].tolist()
    told = {
        "name": "model.ply", "splats": base64.b64encode(zipfile.ZipFile(file).read("model.ply")).decode(),
        "vrm": base64.b64encode(read.vrm).decode(), "vertices": read.vertices.tolist(),
        "turns": dict(zip(JOINT_NAMES, turns, strict=True)), "hips": hips, "distance": DISTANCE,
    }  # fmt: skip
    compare(shown_by_spark(tmp_path, told), posed, hips)


@pytest.mark.slow
def test_spark_shows_spz_as_we_do(posed, skinned_body, kick, tmp_path):
    hips = kick.pelvis(skinned_body.skeleton.rest_joints[0])[FRAME].tolist()
    data = base64.b64encode(spz_bytes(posed)).decode()
    shown = shown_by_spark(tmp_path, {"name": "me.spz", "splats": data, "hips": hips, "distance": DISTANCE})
    compare(shown, posed, hips)
