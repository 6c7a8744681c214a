"""Pictures of a .glb file by three.js, in a headless Chromium: what somebody sees who opens the file elsewhere."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from chromium import Page, find_chromium, open_page
from PIL import Image

_PAGE = """<!doctype html>
<script type="importmap">{ "imports": { "three": "PLACE/build/three.module.js" } }</script>
<script type="module">
import * as THREE from "three";
import { GLTFLoader } from "PLACE/examples/jsm/loaders/GLTFLoader.js";
const data = Uint8Array.from(atob("GLB"), letter => letter.charCodeAt(0)).buffer;
new GLTFLoader().parse(data, "", gltf => {
  const renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
  const mixer = new THREE.AnimationMixer(gltf.scene), pelvis = gltf.scene.getObjectByName("pelvis");
  const camera = new THREE.PerspectiveCamera();
  camera.matrixAutoUpdate = false;
  window.picture = (motion, time, view, degrees, size) => {
    mixer.stopAllAction();
    mixer.clipAction(THREE.AnimationClip.findByName(gltf.animations, motion)).play();
    mixer.setTime(time);
    gltf.scene.updateMatrixWorld(true);
    camera.matrix.multiplyMatrices(pelvis.matrixWorld, new THREE.Matrix4().set(...view));
    camera.updateMatrixWorld(true);
    camera.fov = degrees; camera.near = .05; camera.far = 50; camera.updateProjectionMatrix();
    renderer.setPixelRatio(1); renderer.setSize(size, size); renderer.setClearAlpha(0);
    renderer.render(gltf.scene, camera);
    return renderer.domElement.toDataURL();
  };
}, error => { throw error; });
</script>"""


def npm_folder(package: str) -> Path | None:
    """The folder of a package of npm in a folder that NODE_PATH names, or None where there is none."""
    places = (Path(one) / package for one in os.environ.get("NODE_PATH", "").split(os.pathsep) if one)
    return next((one for one in places if one.is_dir()), None)


def three_place() -> Path | None:
    """The folder of three.js, or None where it or Chromium is missing."""
    return npm_folder("three") if find_chromium() else None


@dataclass(frozen=True)
class ThreePictures:
    """A page in which three.js has opened a file."""

    page: Page

    def draw(self, motion: str, seconds: float, view: np.ndarray, focal: float, size: int) -> np.ndarray:
        """A picture on nothing: premultiplied colours and coverage, (size, size, 4), 0 to 1.

        Args:
            motion: name of an animation of the file.
            seconds: moment of it.
            view: (4, 4) from the camera to the frame of the pelvis, metres; the camera looks along -z, y is up.
            focal: in pixels.
            size: pixels along each side.
        """
        degrees = 2 * np.degrees(np.arctan(size / 2 / focal))
        url = self.page.run(f"picture({motion!r}, {seconds}, {view.ravel().tolist()}, {degrees}, {size})")
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), np.float32) / 255
        return np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], -1)


@contextmanager
def opened_in_three(glb: Path, place: Path) -> Iterator[ThreePictures]:
    """Opens a file.

    Args:
        glb: the file.
        place: the folder of three.js.
    """
    code = base64.b64encode(glb.read_bytes()).decode()
    path = glb.with_suffix(".three.html")
    path.write_text(_PAGE.replace("PLACE", place.resolve().as_uri()).replace('"GLB"', f'"{code}"'), "utf8")
    with open_page(path.as_uri(), 600, 600) as page:
        page.wait("typeof window.picture === 'function'")
        yield ThreePictures(page)
