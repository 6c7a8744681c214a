"""The page: it holds the file, asks nobody for anything, and a browser shows what we draw."""

import base64
import re

import numpy as np
import pytest
import torch

from nerfstudio_avatars.avatars import cameras
from nerfstudio_avatars.bodies.body_model import JOINT_PARENTS
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.export.mesh_glb import rigged_glb, texture_bytes
from nerfstudio_avatars.export.mesh_picture import draw
from nerfstudio_avatars.export.page import avatar_page
from tests.helpers.headless_chromium import picture_and_requests, requests_of_page
from tests.helpers.node import node_package

SIZE, DISTANCE, AZIMUTH, ELEVATION, FRAME = 500, 4.0, 40.0, 10.0, 12
"""Of the picture: pixels, metres, degrees, and the frame of the motion."""


@pytest.fixture(scope="module")
def glb(skinned_body, kick):
    texture = texture_bytes((skinned_body.texture * 255).astype(np.uint8))
    return rigged_glb(skinned_body.mesh, texture, skinned_body.skeleton, {"kick": kick}, "CC0-1.0 <b>")


def test_the_page_holds_the_file_and_names_no_place(glb):
    page = avatar_page(glb, "Ada & Co <3")
    assert "<title>Ada &amp; Co &lt;3</title>" in page and "{{" not in page
    (kept,) = re.findall(r'id="glb">([^<]*)</script>', page)
    assert base64.b64decode(kept) == glb
    code = page.replace(kept, "")
    assert not re.search(r"https?:|//[a-z]|src=|@import|fetch|XMLHttp|<link|url\(", code)
    assert "default-src 'none'" in code and "CC0" not in code


LOG = """
{"params":{"initiator":"not an origin","method":"GET","url":"http://update.example/x"},"phase":1,"type":136},
{"params":{"initiator":"null","load_flags":10240,"method":"GET","site_for_cookies":"SiteForCookies: {site=file://}","url":"http://example.invalid/a.png"},"phase":1,"type":136},
"""
"""Lines that Chromium wrote for a want of its own, and for a page from disk with a picture from elsewhere."""


def test_a_page_that_asks_is_noticed():
    assert requests_of_page(LOG) == ["http://example.invalid/a.png"]


@pytest.fixture(scope="module")
def same_view(skinned_body, kick):
    """`same_view(shown)`: compares a browser's picture with ours, of the same pose and camera."""

    def compare(shown):
        joints = skinned_body.skeleton.rest_joints
        to_pose = joint_transforms(
            joints, kick.global_orient[FRAME], kick.body_pose[FRAME], kick.transl[FRAME], JOINT_PARENTS
        )
        vertices = skinned_body.mesh.posed(to_pose @ torch.linalg.inv(skinned_body.canonical))
        azimuth, elevation = np.radians([AZIMUTH, ELEVATION])
        back = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
        right = np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
        hips = (kick.pelvis(joints[0])[FRAME] * torch.tensor([1, 0, 1])).double().numpy()
        view = np.stack([right, np.cross(back, right), back, hips + DISTANCE * back], 1)
        height, width = shown.shape[:2]
        focal = height / 2 / np.tan(np.pi / 10)
        camera = cameras.cameras(torch.from_numpy(view).float()[None], focal, height, width)
        drawn = draw(skinned_body.mesh, skinned_body.texture, vertices, camera)
        inside = drawn[..., 3] == 1
        assert inside.sum() > 5000
        assert abs(shown - drawn[..., :3])[inside].mean() < 0.03, "pixels match"
        seen = abs(shown - shown[0, 0]).max(-1) > 0.02
        assert (seen & (drawn[..., 3] > 0)).sum() / (seen | (drawn[..., 3] > 0)).sum() > 0.97

    return compare


@pytest.mark.slow
def test_a_browser_shows_what_we_draw_and_asks_nobody(kick, glb, same_view, tmp_path):
    (tmp_path / "me.html").write_text(avatar_page(glb, "Ada"), "utf8")
    look = f"azimuth={AZIMUTH}&elevation={ELEVATION}&distance={DISTANCE}&centre=0"
    start = f"motion=kick&time={FRAME / kick.fps}&play=0&panel=0&ground=0"
    shown, asked = picture_and_requests(f"{(tmp_path / 'me.html').as_uri()}#{start}&{look}", tmp_path, SIZE)
    assert asked == []
    same_view(shown)


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
  const camera = new THREE.PerspectiveCamera(36, 1, .05, 50), hips = gltf.scene.getObjectByName("pelvis").position;
  const a = AZIMUTH * Math.PI / 180, e = ELEVATION * Math.PI / 180;
  camera.position.set(hips.x + DISTANCE * Math.sin(a) * Math.cos(e), DISTANCE * Math.sin(e),
    hips.z + DISTANCE * Math.cos(a) * Math.cos(e));
  camera.lookAt(hips.x, 0, hips.z);
  window.onresize = () => {
    renderer.setSize(innerWidth, innerHeight);
    camera.aspect = innerWidth / innerHeight; camera.updateProjectionMatrix();
    renderer.render(gltf.scene, camera);
  };
  window.onresize();
}, error => { throw error; });
</script>"""


@pytest.mark.slow
def test_three_js_loads_plays_and_shows_what_we_draw(kick, glb, same_view, tmp_path):
    place = node_package("three")
    values = {"PLACE": place.as_uri(), "GLB": base64.b64encode(glb).decode(), "TIME": FRAME / kick.fps}
    values |= {"AZIMUTH": AZIMUTH, "ELEVATION": ELEVATION, "DISTANCE": DISTANCE}
    (tmp_path / "three.html").write_text(re.sub("|".join(values), lambda word: str(values[word[0]]), THREE), "utf8")
    shown, _ = picture_and_requests((tmp_path / "three.html").as_uri(), tmp_path, SIZE)
    same_view(shown)
