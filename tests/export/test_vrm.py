"""VRM 1.0: the bones of a human, a T-pose on the ground, and what others may do."""

import base64
import json
import re

import numpy as np
import pytest

from nerfstudio_avatars.export.mesh_glb import rigged_glb, texture_bytes
from nerfstudio_avatars.export.vrm import BONES, VrmMeta
from nerfstudio_avatars.motion.gltf_file import GltfFile
from tests.helpers.headless_chromium import document
from tests.helpers.node import node_package

REQUIRED = {"hips", "spine", "head"} | {
    f"{side}{bone}"
    for side in ("left", "right")
    for bone in ("UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand")
}
"""Of the specification."""


@pytest.fixture(scope="module")
def data(skinned_body):
    texture = texture_bytes((skinned_body.texture * 255).astype(np.uint8))
    return rigged_glb(skinned_body.mesh, texture, skinned_body.skeleton, {}, vrm=VrmMeta("Ada", "Nobody", "CC0-1.0"))


@pytest.fixture(scope="module")
def file(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("vrm") / "me.vrm"
    path.write_bytes(data)
    return GltfFile(path)


def test_all_required_bones_are_named_and_hang_as_they_must(file):
    bones = {
        bone: entry["node"] for bone, entry in file.json["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"].items()
    }
    assert REQUIRED <= bones.keys() and len(set(bones.values())) == len(bones) == len(BONES)
    above = {child: node for node, entry in enumerate(file.json["nodes"]) for child in entry.get("children", [])}

    def chain(bone):
        node, found = bones[bone], []
        while node is not None:
            found += [name for name, place in bones.items() if place == node]
            node = above.get(node)
        return found

    spine = ["upperChest", "chest", "spine", "hips"]
    assert chain("head") == ["head", "neck", *spine]
    assert chain("leftHand") == ["leftHand", "leftLowerArm", "leftUpperArm", "leftShoulder", *spine]
    assert chain("rightToes") == ["rightToes", "rightFoot", "rightLowerLeg", "rightUpperLeg", "hips"]


def test_it_rests_in_a_t_pose_that_stands_on_the_ground_and_looks_ahead(file, skinned_body):
    nodes, place = file.json["nodes"], {}
    todo = [(file.json["skins"][0]["joints"][0], np.zeros(3))]
    while todo:
        node, above = todo.pop()
        assert "rotation" not in nodes[node] and "scale" not in nodes[node]
        place[nodes[node]["name"]] = above + nodes[node]["translation"]
        todo += [(child, place[nodes[node]["name"]]) for child in nodes[node].get("children", [])]
    arm = place["left_wrist"] - place["left_shoulder"]
    assert arm[0] > 0.4 and abs(arm[1]) < 0.1, "the left arm points along +x, level"
    assert place["left_foot"][2] > place["left_ankle"][2] + 0.05, "toes ahead, along +z"
    lift = place["pelvis"][1] - skinned_body.skeleton.rest_joints[0, 1].item()
    lowest = skinned_body.mesh.posed(skinned_body.skeleton.rest_from_canonical)[:, 1].min()
    assert abs(lowest + lift) < 1e-5 and 0 < place["left_ankle"][1] < 0.15


def test_what_is_not_allowed_is_forbidden(file):
    meta = file.json["extensions"]["VRMC_vrm"]["meta"]
    assert meta["licenseUrl"] == "https://vrm.dev/licenses/1.0/" and meta["authors"] == ["Nobody"]
    assert meta["avatarPermission"] == "onlyAuthor" and meta["copyrightInformation"] == "CC0-1.0"
    assert not any(value for name, value in meta.items() if name.startswith("allow"))


THREE_VRM = """<!doctype html><title>waiting</title>
<script type="importmap">{ "imports": { "three": "THREE_PLACE/build/three.module.js",
  "three/addons/": "THREE_PLACE/examples/jsm/" } }</script>
<script type="module">
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { VRMLoaderPlugin, VRMRequiredHumanBoneName } from "VRM_PLACE/lib/three-vrm.module.js";
const loader = new GLTFLoader();
loader.register(parser => new VRMLoaderPlugin(parser));
loader.parse(Uint8Array.from(atob("DATA"), letter => letter.charCodeAt(0)).buffer, "", gltf => {
  const vrm = gltf.userData.vrm, names = Object.values(VRMRequiredHumanBoneName);
  const missing = names.filter(name => !vrm.humanoid.getRawBoneNode(name));
  document.title = JSON.stringify({ bones: names.length, missing, name: vrm.meta.name, version: vrm.meta.metaVersion });
}, error => { document.title = String(error); });
</script>"""


@pytest.mark.slow
def test_three_vrm_finds_all_bones(data, tmp_path):
    values = {"THREE_PLACE": node_package("three").as_uri(), "VRM_PLACE": node_package("@pixiv/three-vrm").as_uri()}
    values["DATA"] = base64.b64encode(data).decode()
    (tmp_path / "vrm.html").write_text(re.sub("|".join(values), lambda word: values[word[0]], THREE_VRM), "utf8")
    (title,) = re.findall("<title>(.*?)</title>", document((tmp_path / "vrm.html").as_uri(), tmp_path))
    assert json.loads(title) == {"bones": 15, "missing": [], "name": "Ada", "version": "1"}
