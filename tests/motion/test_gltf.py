"""glTF animations. Files are written here by the format's letter; scipy's Slerp and Hermite splines are the truth."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.gltf import is_gltf, read_gltf

RNG = np.random.default_rng(0)
KEYS = np.array([0.0, 0.2, 0.5, 0.55, 1.0], np.float32)
TIMES = np.arange(31) / 30


@dataclass
class Scene:
    """A glTF under construction: nodes, one buffer, animations."""

    nodes: list[dict[str, Any]]
    animations: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    binary: bytes = b""
    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)

    def array(self, values: np.ndarray, kind: str = "<f4", stride: int = 0, **more: Any) -> int:
        """Adds an accessor with a buffer view of its own."""
        values = np.asarray(values)[:, None] if np.ndim(values) == 1 else np.asarray(values)
        rows = [row.astype(kind).tobytes() for row in values]
        start = len(self.binary)
        self.binary += b"".join(row.ljust(stride or len(row), b"\xaa") for row in rows).ljust(4, b"\0")
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": start, "byteLength": len(self.binary) - start}
        self.views.append(view | ({"byteStride": stride} if stride else {}))
        types = {"<f4": 5126, "<i2": 5122, "<i1": 5120, "<u2": 5123}
        shape = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[values.shape[1]]
        content = {"bufferView": len(self.views) - 1, "componentType": types[kind], "count": len(values), "type": shape}
        self.accessors.append(content | more)
        return len(self.accessors) - 1

    def animate(self, tracks: list[tuple[int, str, np.ndarray, np.ndarray, str]], name: str = "") -> None:
        """Adds an animation of (node, path, keys, values, interpolation)."""
        samplers = [
            {"input": self.array(keys), "output": self.array(values), "interpolation": kind}
            for _, _, keys, values, kind in tracks
        ]
        channels = [
            {"sampler": number, "target": {"node": node, "path": path}}
            for number, (node, path, *_) in enumerate(tracks)
        ]
        self.animations.append({"name": name, "samplers": samplers, "channels": channels})

    def json(self, **buffer: Any) -> dict[str, Any]:
        return {
            "asset": {"version": "2.0"},
            "nodes": self.nodes,
            "animations": self.animations,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary), **buffer}],
        } | self.more

    def glb(self, path: Path) -> Path:
        text = json.dumps(self.json()).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
        chunks += struct.pack("<II", len(self.binary), 0x004E4942) + self.binary
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path


@pytest.fixture
def scene(standin) -> Scene:
    """SMPL's own skeleton at rest, its names, metres."""
    rest = standin.rest(torch.zeros(10))[1].double().numpy()
    nodes: list[dict[str, Any]] = []
    for joint, parent in enumerate(standin.parents):
        offset = rest[joint] - (rest[parent] if parent >= 0 else 0)
        children = [child for child, up in enumerate(standin.parents) if up == joint]
        nodes.append({"name": JOINT_NAMES[joint], "translation": offset.tolist()})
        nodes[-1] |= {"children": children} if children else {}
    return Scene(nodes)


def index(name: str) -> int:
    return JOINT_NAMES.index(name)


def quaternions(count: int) -> np.ndarray:
    return Rotation.from_rotvec(0.8 * RNG.normal(size=(count, 3))).as_quat()


def pose(motion, name: str) -> np.ndarray:
    """Rotation vectors of a joint, (frames, 3)."""
    if name == "pelvis":
        return motion.sequence.global_orient.numpy()
    return motion.sequence.body_pose.view(-1, 23, 3)[:, index(name) - 1].numpy()


def same_turns(found: np.ndarray, truth: Rotation, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(Rotation.from_rotvec(found).as_matrix(), truth.as_matrix(), atol=tolerance)


def test_all_three_interpolations(tmp_path, scene):
    turns, steps, splines = quaternions(5), quaternions(5), quaternions(15) * RNG.choice([1, 0.3], (15, 1))
    turns[2] *= -1  # the same rotation: the shorter way must be found
    linear = scene.nodes[0]["translation"] + RNG.normal(size=(5, 3))
    scene.animate(
        [
            (index("left_elbow"), "rotation", KEYS, turns, "LINEAR"),
            (index("head"), "rotation", KEYS, steps, "STEP"),
            (index("right_knee"), "rotation", KEYS, splines, "CUBICSPLINE"),
            (index("pelvis"), "translation", KEYS, linear, "LINEAR"),
            (index("left_hand"), "scale", KEYS, np.ones((5, 3)), "LINEAR"),
        ]
    )
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    assert (motion.format, motion.up, motion.sequence.fps, len(motion.sequence)) == ("glTF", "y", 30, 31)
    same_turns(pose(motion, "left_elbow"), Slerp(KEYS, Rotation.from_quat(turns))(TIMES))
    held = np.searchsorted(KEYS, TIMES + 1e-6, "right") - 1
    same_turns(pose(motion, "head"), Rotation.from_quat(steps[held]))
    arrive, values, leave = splines.reshape(5, 3, 4).swapaxes(0, 1)
    truth = []
    for piece in range(4):  # a spline with a kink at each key
        ends = slice(piece, piece + 2)
        spline = CubicHermiteSpline(KEYS[ends], values[ends], [leave[piece], arrive[piece + 1]])
        inside = (TIMES >= KEYS[piece] - 1e-6) & (TIMES < KEYS[piece + 1] - 1e-6 + (piece == 3))
        truth.append(spline(TIMES[inside]))
    same_turns(pose(motion, "right_knee"), Rotation.from_quat(np.concatenate(truth)))
    place = np.stack([np.interp(TIMES, KEYS, column) for column in linear.T], 1) - scene.nodes[0]["translation"]
    np.testing.assert_allclose(motion.sequence.transl.numpy(), place, atol=1e-5)
    assert np.abs(pose(motion, "left_shoulder")).max() < 1e-5, "what has no channel stays"


def test_translations_along_a_spline(tmp_path, scene):
    places = np.asarray(scene.nodes[0]["translation"]) + RNG.normal(
        size=(5, 3, 3)
    )  # arriving tangent, value, leaving tangent
    scene.animate(
        [
            (index("pelvis"), "translation", KEYS, places.reshape(15, 3), "CUBICSPLINE"),
            (index("head"), "rotation", KEYS, quaternions(5), "LINEAR"),
        ]
    )
    found = read_gltf(scene.glb(tmp_path / "a.glb")).sequence.transl.numpy()
    first = CubicHermiteSpline(KEYS[:2], places[:2, 1], [places[0, 2], places[1, 0]])
    truth = first(TIMES[:6]) - scene.nodes[0]["translation"]
    np.testing.assert_allclose(found[:6], truth, atol=1e-5)


@pytest.mark.parametrize(("rate", "start"), [(24, 0.0), (60, 0.5), (12.5, 0.0), (29.97, 0.0)])
def test_even_keys_give_the_frame_rate_and_their_own_rotations(tmp_path, scene, rate, start):
    keys, turns = (start + np.arange(20) / rate).astype(np.float32), quaternions(20)
    scene.animate([(index("neck"), "rotation", keys, turns, "LINEAR")])
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    assert motion.sequence.fps == pytest.approx(rate, rel=1e-4)
    same_turns(pose(motion, "neck"), Rotation.from_quat(turns), 1e-4)


def test_the_longest_animation_of_the_person_is_read_and_told(tmp_path, scene):
    scene.nodes.append({"name": "Camera"})
    turns = quaternions(3)
    keys = np.arange(3, dtype=np.float32)
    scene.animate([(index("head"), "rotation", keys / 4, quaternions(3), "LINEAR")], "nod")
    scene.animate([(index("head"), "rotation", keys, turns, "LINEAR")], "stretch")
    scene.animate([(24, "rotation", keys * 9, quaternions(3), "LINEAR")], "flight")
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    assert motion.notes[0] == "2 animations: 'stretch' is the longest (2.0 s); not read: 'nod'"
    same_turns(pose(motion, "head"), Slerp(keys, Rotation.from_quat(turns))(np.arange(61) / 30))


@pytest.mark.parametrize(("kind", "most", "tolerance"), [("<i2", 32767, 2e-4), ("<i1", 127, 3e-2)])
def test_rotations_as_normalised_integers_in_strided_views(tmp_path, scene, kind, most, tolerance):
    turns = quaternions(5)
    scene.animate([(index("head"), "rotation", KEYS, turns, "STEP")])
    output = scene.array((turns * most).round(), kind, stride=12, normalized=True)
    scene.animations[0]["samplers"][0]["output"] = output
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    same_turns(pose(motion, "head")[[0, 30]], Rotation.from_quat(turns[[0, 4]]), tolerance)


def test_a_single_key_is_one_frame(tmp_path, scene):
    turn = quaternions(1)
    scene.animate([(index("head"), "rotation", KEYS[:1], turn, "LINEAR")])
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    assert len(motion.sequence) == 1
    same_turns(pose(motion, "head"), Rotation.from_quat(turn))


ARMATURE = {"name": "Armature", "rotation": [2**-0.5, 0, 0, 2**-0.5], "scale": [0.01] * 3, "children": [0]}
ARMATURE_MATRIX = {
    "name": "Armature",
    "children": [0],
    "matrix": [0.01, 0, 0, 0, 0, 0, 0.01, 0, 0, -0.01, 0, 0, 0, 0, 0, 1],
}


@pytest.mark.parametrize("armature", [ARMATURE, ARMATURE_MATRIX], ids=["rotation and scale", "matrix"])
def test_an_armature_in_centimetres_with_z_up_changes_nothing(tmp_path, scene, armature):
    """Mixamo through Blender: bones in centimetres and z up, below a node that turns and shrinks them."""
    back = Rotation.from_euler("x", -90, degrees=True)
    for node in scene.nodes[:24]:
        node["translation"] = (100 * back.apply(node["translation"])).tolist()
    turns = quaternions(5)
    keys = KEYS
    local = back * Rotation.from_quat(turns) * back.inv()
    scene.nodes.append(armature)
    scene.animate([(index("left_hip"), "rotation", keys, local.as_quat(), "LINEAR")])
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    same_turns(pose(motion, "left_hip"), Slerp(keys, Rotation.from_quat(turns))(TIMES))
    assert np.abs(pose(motion, "pelvis")).max() < 1e-5 and motion.sequence.transl.abs().max() < 1e-5


def test_the_skins_bind_pose_is_the_rest_pose_where_the_nodes_are_posed(tmp_path, scene, standin):
    """Exporters leave the nodes in any frame's pose, here seated; the skin knows the T-pose."""
    rest = standin.rest(torch.zeros(10))[1].double().numpy()
    inverse = np.tile(np.eye(4), (24, 1, 1))
    inverse[:, :3, 3] = -rest
    scene.more["skins"] = [
        {"joints": list(range(24)), "inverseBindMatrices": scene.array(inverse.swapaxes(1, 2).reshape(24, 16))}
    ]
    sit = Rotation.from_euler("x", -90, degrees=True)
    turns = quaternions(5)
    for side in ("left", "right"):
        scene.nodes[index(f"{side}_hip")]["rotation"] = sit.as_quat().tolist()
    scene.nodes.append({"name": "Head"})  # a mesh, no joint
    scene.animate([(index("head"), "rotation", KEYS, turns, "LINEAR")])
    motion = read_gltf(scene.glb(tmp_path / "a.glb"))
    same_turns(pose(motion, "left_hip"), Rotation.concatenate([sit] * 31))
    same_turns(pose(motion, "head"), Slerp(KEYS, Rotation.from_quat(turns))(TIMES))
    assert np.abs(pose(motion, "pelvis")).max() < 1e-5


@pytest.mark.parametrize("extension", ["VRMC_vrm", "VRMC_vrm_animation", "VRM"])
def test_a_vrms_own_list_names_the_joints(tmp_path, scene, extension):
    bones = {"hips": "pelvis", "spine": "spine1", "chest": "spine2", "upperChest": "spine3", "neck": "neck"}
    bones["head"] = "head"
    for side in ("left", "right"):
        bones |= {f"{side}UpperLeg": f"{side}_hip", f"{side}LowerLeg": f"{side}_knee", f"{side}Foot": f"{side}_ankle"}
        bones |= {f"{side}Toes": f"{side}_foot", f"{side}Shoulder": f"{side}_collar", f"{side}Hand": f"{side}_wrist"}
        bones |= {f"{side}UpperArm": f"{side}_shoulder", f"{side}LowerArm": f"{side}_elbow"}
    listed: Any = {vrm: {"node": index(smpl)} for vrm, smpl in bones.items()}
    if extension == "VRM":
        listed = [{"bone": vrm, "node": index(smpl)} for vrm, smpl in bones.items()]
    scene.more["extensions"] = {extension: {"humanoid": {"humanBones": listed}}}
    for number, node in enumerate(scene.nodes):
        node["name"] = f"node.{number}"
    turns = quaternions(5)
    scene.animate([(index("left_knee"), "rotation", KEYS, turns, "LINEAR")])
    motion = read_gltf(scene.glb(tmp_path / "a.vrm"))
    same_turns(pose(motion, "left_knee"), Slerp(KEYS, Rotation.from_quat(turns))(TIMES))


def nod(scene: Scene) -> np.ndarray:
    turns = quaternions(5)
    scene.animate([(index("head"), "rotation", KEYS, turns, "LINEAR")])
    return turns


@pytest.mark.parametrize("where", ["data", "beside", "below"])
def test_a_json_gltf_with_its_buffer(tmp_path, scene, where):
    turns = nod(scene)
    uri = {"beside": "walk%201.bin", "below": "buffers/a.bin"}.get(where, "")
    if where == "data":
        uri = "data:application/octet-stream;base64," + base64.b64encode(scene.binary).decode()
    else:
        file = tmp_path / uri.replace("%20", " ")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(scene.binary)
    (tmp_path / "a.gltf").write_text(json.dumps(scene.json(uri=uri)))
    motion = read_gltf(tmp_path / "a.gltf")
    same_turns(pose(motion, "head"), Slerp(KEYS, Rotation.from_quat(turns))(TIMES))
    assert is_gltf((tmp_path / "a.gltf").read_bytes()[:256])


@pytest.mark.parametrize(
    "uri",
    ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "%2e%2e/secret.bin", "C:/a.bin", "..\\secret.bin"]
    + ["file:///etc/passwd", "https://example.org/a.bin", "link.bin", "%00", "\\\\host\\a.bin"],
)
def test_buffers_elsewhere_are_refused(tmp_path, scene, uri):
    nod(scene)
    folder = tmp_path / "motion"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(scene.binary)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "a.gltf").write_text(json.dumps(scene.json(uri=uri)))
    with pytest.raises(DataError, match="a file beside it"):
        read_gltf(folder / "a.gltf")


def drop(key: str):
    return lambda content: content.pop(key)


def put(value: Any, *way: Any):
    def change(content: Any) -> None:
        for step in way[:-1]:
            content = content[step]
        content[way[-1]] = value

    return change


BROKEN = {
    "no animation": (drop("animations"), "0 animations, none of which turns a joint"),
    "no nodes": (drop("nodes"), "none of which turns a joint"),
    "no asset": (drop("asset"), "KeyError"),
    "version 1": (put("1.0", "asset", "version"), r"glTF 1\.0"),
    "a ring of nodes": (put([0], "nodes", 15, "children"), "deeper than 1000 others, or in a ring"),
    "two parents": (put([1], "nodes", 15, "children"), "node 1 as a child of node 15"),
    "a child too many": (put([99], "nodes", 15, "children"), "node 99 as a child"),
    "meshopt": (put({"EXT_meshopt_compression": {}}, "bufferViews", 1, "extensions"), "compressed by meshopt"),
    "sparse": (put({}, "accessors", 1, "sparse"), "sparse or empty"),
    "too many elements": (put(50, "accessors", 1, "count"), "50 elements"),
    "no element": (put(0, "accessors", 0, "count"), "0 elements"),
    "beyond the end": (put(9999, "bufferViews", 1, "byteOffset"), "beyond the end of its buffer"),
    "before the start": (put(-4, "bufferViews", 1, "byteOffset"), "inside its buffer"),
    "a short buffer": (put(9999, "buffers", 0, "byteLength"), "buffer 0 of"),
    "a missing file": (put("gone.bin", "buffers", 0, "uri"), "no file 'gone.bin' beside it"),
    "no base64": (put("data:;base64,###", "buffers", 0, "uri"), "buffer 0: "),
    "unknown interpolation": (put("BEZIER", "animations", 0, "samplers", 0, "interpolation"), "BEZIER, 5 keys"),
    "too few tangents": (put("CUBICSPLINE", "animations", 0, "samplers", 0, "interpolation"), r"expected: .*\(15, 4\)"),
    "a list as a node": (put([], "nodes", 3), r"nodes 3: \[\]"),
    "a number as an accessor": (put(7, "accessors", 0), "accessors 0: 7"),
    "a word as a number": (put(["a", 0, 0], "nodes", 3, "translation"), "ValueError"),
    "a place beyond all numbers": (put([1e999, 0, 0], "nodes", 3, "translation"), "NaN or infinity"),
    "a matrix of NaN": (put([float("nan")] * 16, "nodes", 3, "matrix"), "NaN or infinity|LinAlgError"),
    "no such accessor": (put(77, "animations", 0, "samplers", 0, "output"), "IndexError"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_named(tmp_path, scene, change, message):
    nod(scene)
    uri = "data:application/octet-stream;base64," + base64.b64encode(scene.binary).decode()
    content = json.loads(json.dumps(scene.json(uri=uri)))
    change(content)
    (tmp_path / "a.gltf").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as error:
        read_gltf(tmp_path / "a.gltf")
    assert all(word in str(error.value) for word in ("a.gltf", "found:", "expected:", "fix:"))


def test_keys_that_are_not_numbers_are_named(tmp_path, scene):
    scene.animate([(index("head"), "rotation", np.array([0, np.nan]), quaternions(2), "LINEAR")])
    with pytest.raises(DataError, match="NaN or infinity in accessor 0"):
        read_gltf(scene.glb(tmp_path / "a.glb"))


def test_keys_that_fall_are_named(tmp_path, scene):
    scene.animate([(index("head"), "rotation", KEYS[::-1], quaternions(5), "LINEAR")])
    with pytest.raises(DataError, match="rising keys"):
        read_gltf(scene.glb(tmp_path / "a.glb"))


@pytest.mark.parametrize("size", [4, 11, 12, 20, 500, -30])
def test_a_cut_glb_is_named(tmp_path, scene, size):
    nod(scene)
    path = scene.glb(tmp_path / "a.glb")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError):
        read_gltf(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_gltf(tmp_path / "none.glb")


@pytest.mark.parametrize("head", [b"", b"PK\x03\x04", b"HIERARCHY", b'{"poses": []}', b"[1]"])
def test_other_files_are_no_gltf(head):
    assert not is_gltf(head)
