"""Damaged motion files of every reader end in one clear message: nothing raw, no hang, no memory beyond the file's."""

from __future__ import annotations

import base64
import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import bounded, told
from skeletons import MIXAMO, random_motion

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion

pytestmark = pytest.mark.slow

FRAMES = 5
RNG = np.random.default_rng(0)
POSES = 0.3 * RNG.normal(size=(FRAMES, 72))
TURNS = np.tile(np.eye(3), (FRAMES, 24, 1, 1))
WHERE = RNG.normal(size=(FRAMES, 3))
ONES = np.ones((FRAMES, 10))


def phalp() -> dict:
    smpl = {"global_orient": TURNS[0, :1], "body_pose": TURNS[0, 1:], "betas": np.zeros(10)}
    return {
        f"{n}.jpg": {"time": n, "tid": [1], "smpl": [smpl], "camera": [WHERE[n]], "tracked_time": [0]}
        for n in range(FRAMES)
    }


def frame(number: int) -> dict:
    return {"root_pose": POSES[number, :3], "body_pose": POSES[number, 3:66], "trans": WHERE[number]}


ROMP = {"smpl_thetas": POSES[:1], "cam_trans": WHERE[:1], "track_ids": np.array([0])}
APART = {"global_orient": POSES[:, :3], "body_pose": POSES[:, 3:66], "transl": WHERE}
THETAS = np.moveaxis(TURNS[..., :2, :].reshape(FRAMES, 24, 6), 0, -1)
POINTS = [[{"pred_keypoints_3d": RNG.normal(size=(70, 3)), "pred_cam_t": WHERE[0]}] for _ in range(FRAMES)]
CONTENTS: dict[str, Callable[[], Any]] = {
    "plain": lambda: {"poses": POSES, "trans": WHERE, "betas": ONES[0], "fps": np.float64(25)},
    "amass": lambda: {"poses": np.tile(POSES, 3)[:, :156], "trans": WHERE, "mocap_framerate": np.float64(120)},
    "apart": lambda: {"global_orient": POSES[:, :3], "body_pose": POSES[:, 3:], "transl": WHERE},
    "aist": lambda: {"smpl_poses": POSES, "smpl_trans": WHERE, "smpl_scaling": np.array([90.0])},
    "3dpw": lambda: {"poses": [POSES], "trans": [WHERE], "betas": [ONES[0]], "cam_poses": np.zeros((FRAMES, 4, 4))},
    "easymocap": lambda: [{"id": 0, "Rh": POSES[:1, :3], "Th": WHERE[:1], "poses": POSES[:1], "shapes": ONES[:1]}],
    "romp": lambda: {"results": {"0.jpg": ROMP}},
    "phalp": phalp,
    "wham": lambda: {0: {"pose": POSES, "trans": WHERE, "betas": ONES, "frame_ids": np.arange(FRAMES)}},
    "wham api": lambda: {0: {"poses_body": TURNS[:, 1:], "poses_root_world": TURNS[:, :1], "trans_world": WHERE}},
    "gvhmr": lambda: {"smpl_params_global": APART},
    "tram": lambda: {"pred_rotmat": TURNS, "pred_trans": WHERE[:, None], "frame": np.arange(FRAMES)},
    "vibe": lambda: {1: {"pose": POSES, "orig_cam": np.ones((FRAMES, 4)), "frame_ids": np.arange(FRAMES)}},
    "slahmr": lambda: {"root_orient": POSES[None, :, :3], "pose_body": POSES[None, :, 3:66], "trans": WHERE[None]},
    "mdm": lambda: {"motion": RNG.normal(size=(2, 22, 3, FRAMES)), "lengths": np.array([FRAMES, FRAMES])},
    "mdm fitted": lambda: {"thetas": THETAS, "root_translation": WHERE.T},
    "sam 3d": lambda: POINTS,
    "frame dicts": lambda: [frame(number) for number in range(FRAMES)],
}


def arrays(value: Any, way: tuple = ()) -> list[tuple]:
    """Ways to all arrays in a content."""
    if isinstance(value, np.ndarray):
        return [way]
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, entry in entries for found in arrays(entry, (*way, key))]


def changed(content: Any, way: tuple, change: Callable[[Any], Any]) -> Any:
    """A content with one entry replaced."""
    if not way:
        return change(content)
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[way[0]] = changed(content[way[0]], way[1:], change)
    return copy


def without(content: Any, way: tuple) -> Any:
    if len(way) > 1:
        return changed(content, way[:1], lambda inner: without(inner, way[1:]))
    return {key: value for key, value in content.items() if key != way[0]} if isinstance(content, dict) else content[1:]


def poisoned(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = np.array(array, np.float64)
        array[...] = value
        return array

    return change


CHANGES: dict[str, Callable[[np.ndarray], Any]] = {
    "nan": poisoned(np.nan),
    "inf": poisoned(np.inf),
    "beyond float32": poisoned(1e300),
    "text": lambda _: "spam",
    "text array": lambda array: np.full(np.shape(array), "spam"),
    "nothing": lambda _: None,
    "a dict": lambda _: {"x": 1},
    "no frames": lambda array: np.zeros((0, *array.shape[1:])),
    "one number more": lambda array: np.zeros((*array.shape[:-1], array.shape[-1] + 1)) if array.ndim else np.zeros(7),
    "one frame less": lambda array: array[:-1] if array.ndim else array,
    "ragged": lambda _: [[1, 2], [3]],
    "a scalar": lambda _: 3.0,
    "complex": lambda array: array.astype(complex),
}


def attempt(path: Path) -> str:
    """`read` or the message. Anything but a `DataError` fails the test by itself."""
    try:
        with bounded():
            motion = read_motion(path)
    except DataError as error:
        assert error.found and error.expected and error.fix
        result = told(error)
    else:
        for values in (motion.sequence.global_orient, motion.sequence.body_pose, motion.sequence.transl):
            assert torch.isfinite(values).all(), "silent nonsense"
        result = "read"
    return result


OPTIONAL = {"betas", "fps", "mocap_framerate", "shapes", "cam_poses", "track_ids", "frame", "frame_ids", "pred_cam_t"}
MANY_FILLED = ("easymocap", "sam 3d", "phalp", "romp")


def mended(name: str, way: tuple) -> bool:
    """Whether a reader does not need the field, or fills one frame in from its neighbours."""
    return bool(OPTIONAL & set(way)) or name in MANY_FILLED


# numpy warns of the damage before a reader refuses it.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", CONTENTS)
def test_every_field_of_every_reader_may_be_damaged(tmp_path, name, change):
    content = CONTENTS[name]()
    (tmp_path / "sound.pkl").write_bytes(pickle.dumps(content))
    assert attempt(tmp_path / "sound.pkl") == "read"
    for number, way in enumerate(arrays(content)[:6]):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(pickle.dumps(changed(content, way, CHANGES[change])))
        result = attempt(path)
        if not mended(name, way) and change in ("text", "text array", "nothing", "a dict", "ragged", "inf"):
            assert result != "read", (name, way, change)


@pytest.mark.parametrize("name", CONTENTS)
def test_every_field_may_be_missing(tmp_path, name):
    content = CONTENTS[name]()
    for number, way in enumerate(arrays(content)[:6]):
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(without(content, way)))
        attempt(tmp_path / f"{number}.pkl")


def gltf_bytes() -> bytes:
    """A skeleton whose one accessor claims a million million elements, in a buffer of four bytes."""
    sampler = {"channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}], "samplers": [{"input": 0}]}
    sampler["samplers"][0]["output"] = 0
    parts = ("UpLeg", "Leg", "Foot", "Arm", "ForeArm")
    names = ["Hips", *(side + part for side in ("Left", "Right") for part in parts)]
    content = {
        "asset": {"version": "2.0"},
        "nodes": [{"name": name} for name in names],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 10**12, "type": "SCALAR"}],
        "bufferViews": [{"buffer": 0, "byteLength": 10**13}],
        "buffers": [{"byteLength": 4, "uri": "data:;base64,AAAAAA=="}],
        "animations": [sampler],
    }
    return json.dumps(content).encode()


def bvh(tmp_path: Path) -> bytes:
    return MIXAMO.write(tmp_path / "whole.bvh", *random_motion(MIXAMO, 3)).read_bytes()


def containers(tmp_path: Path) -> dict[str, bytes]:
    """One sound file of every container."""
    files = {"a.bvh": bvh(tmp_path), "a.pkl": pickle.dumps(CONTENTS["wham"]())}
    np.savez(tmp_path / "whole.npz", **CONTENTS["plain"]())
    np.save(tmp_path / "whole.npy", RNG.normal(size=(FRAMES, 22, 3)))
    torch.save({"poses": torch.from_numpy(POSES), "trans": torch.from_numpy(WHERE)}, tmp_path / "whole.pt")
    (tmp_path / "whole.json").write_text(json.dumps({"poses": POSES.tolist(), "trans": WHERE.tolist()}))
    for ending in ("npz", "npy", "pt", "json"):
        files[f"a.{ending}"] = (tmp_path / f"whole.{ending}").read_bytes()
    return files


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("name", ["a.bvh", "a.pkl", "a.npz", "a.npy", "a.pt", "a.json"])
def test_cut_files_are_named(tmp_path, name, share):
    content = containers(tmp_path)[name]
    (tmp_path / name).write_bytes(content)
    assert attempt(tmp_path / name) == "read"
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    result = attempt(tmp_path / name)
    assert result != "read" or share > 0.99


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["a.bvh", "a.pkl", "a.npz", "a.npy", "a.pt", "a.json"])
def test_noise_in_a_file_is_named_or_harmless(tmp_path, name, seed):
    content = bytearray(containers(tmp_path)[name])
    generator = np.random.default_rng(seed)
    for place in generator.integers(0, min(len(content), 2000 if seed % 2 else len(content)), 20):
        content[place] = generator.integers(256)
    (tmp_path / name).write_bytes(bytes(content))
    attempt(tmp_path / name)


@pytest.mark.parametrize("ending", ["bvh", "glb", "gltf", "npz", "npy", "pkl", "pt", "json", ""])
def test_noise_alone_is_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    for seed in range(3):
        path.write_bytes(np.random.default_rng(seed).bytes(3000))
        assert attempt(path) != "read"


def npy(shape: str, descr: str = "<f8", body: bytes = b"") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


CLAIMS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "a BVH of 1e9 frames": ("a.bvh", lambda path: re.sub(rb"Frames: \d+", b"Frames: 1000000000", bvh(path))),
    "a BVH of 1e18 frames": ("a.bvh", lambda path: re.sub(rb"Frames: \d+", b"Frames: 1" + b"0" * 18, bvh(path))),
    "a BVH of 1e40 frames": ("a.bvh", lambda path: re.sub(rb"Frames: \d+", b"Frames: 1" + b"0" * 40, bvh(path))),
    "a BVH with a million channels": ("a.bvh", lambda path: re.sub(rb"CHANNELS 6", b"CHANNELS 1000000", bvh(path))),
    "a BVH that nests deeply": ("a.bvh", lambda _: b"HIERARCHY\nROOT a\n{\n" + b"JOINT b\n{\nOFFSET 0 1 0\n" * 20000),
    "an accessor of 1e12 elements": ("a.gltf", lambda _: gltf_bytes()),
    "a GLB longer than it is": ("a.glb", lambda _: b"glTF" + struct.pack("<IIII", 2, 2**32 - 1, 2**32 - 1, 0x4E4F534A)),
    "a npy of 1e12 numbers": ("a.npy", lambda _: npy("(1000000000000, 22, 3)")),
    "a npy of negative size": ("a.npy", lambda _: npy("(-5, 22, 3)", body=bytes(100))),
    "a npy of text": ("a.npy", lambda _: npy("(5, 22, 3)", "<U9999999")),
    "a npy of objects": ("a.npy", lambda _: npy("(5, 22, 3)", "|O", pickle.dumps([1]))),
    "a JSON that nests deeply": ("a.json", lambda _: b'{"poses": ' + b"[" * 200000),
    "a JSON of a huge number": ("a.json", lambda _: b'{"poses": [[' + b"9" * 400 + b"]], \"trans\": [[0, 0, 0]]}"),
    "a huge array": ("b.pkl", lambda _: pickle.dumps(ONES[0], 4).replace(b"K\n\x85", b"J\xff\xff\xff\x7f\x85")),
    "frames numbered to 1e15": ("a.pkl", lambda _: pickle.dumps(
        {0: {"pose": POSES[:2], "trans": WHERE[:2], "betas": ONES[:2], "frame_ids": np.array([0, 10**15])}})),
    "a sample of 1e9 frames": ("a.pkl", lambda _: pickle.dumps(
        {"motion": RNG.normal(size=(1, 22, 3, 4)), "lengths": np.array([10**9])})),
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
def test_huge_claims_are_refused(tmp_path, claim):
    name, make = CLAIMS[claim]
    (tmp_path / name).write_bytes(make(tmp_path))
    assert attempt(tmp_path / name) != "read" or claim == "a sample of 1e9 frames"


@pytest.mark.parametrize("kind", ["missing", "folder", "empty folder"])
def test_what_is_no_file_is_named(tmp_path, kind):
    path = tmp_path / "motion"
    if kind != "missing":
        path.mkdir()
        if kind == "folder":
            (path / "readme.txt").write_text("hello")
    assert attempt(path) != "read"


JOINTS = (
    "hips", "leftUpperLeg", "leftLowerLeg", "leftFoot", "rightUpperLeg", "rightLowerLeg", "rightFoot", "spine", "neck",
    "head", "leftUpperArm", "leftLowerArm", "leftHand", "rightUpperArm", "rightLowerArm", "rightHand",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 7, 10, 11, 7, 13, 14)
OFFSETS = ((0, 1, 0), (0.1, 0, 0), (0, -0.4, 0), (0, -0.4, 0), (-0.1, 0, 0), (0, -0.4, 0), (0, -0.4, 0), (0, 0.3, 0),
           (0, 0.2, 0), (0, 0.1, 0), (0.2, 0.1, 0), (0.3, 0, 0), (0.25, 0, 0), (-0.2, 0.1, 0), (-0.3, 0, 0),
           (-0.25, 0, 0))  # fmt: skip


def sound_gltf(bones: str = "") -> dict:
    """A person of sixteen nodes, one of which turns; `bones` names the extension that lists them: one of VRM's."""
    keys, turns = np.float32([0, 0.1, 0.2]), np.float32([[0, 0, 0, 1], [0.1, 0, 0, 0.995], [0, 0, 0, 1]])
    buffer = keys.tobytes() + turns.tobytes()
    nodes: list[dict] = []
    for joint, offset in enumerate(OFFSETS):
        children = [child for child, parent in enumerate(PARENTS) if parent == joint]
        nodes.append({"name": JOINTS[joint] if not bones else f"n{joint}", "translation": list(offset)})
        nodes[-1] |= {"children": children} if children else {}
    content = {
        "asset": {"version": "2.0"},
        "nodes": nodes,
        "animations": [
            {
                "samplers": [{"input": 0, "output": 1, "interpolation": "LINEAR"}],
                "channels": [{"sampler": 0, "target": {"node": 2, "path": "rotation"}}],
            }
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "SCALAR"},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC4"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 12},
            {"buffer": 0, "byteOffset": 12, "byteLength": 48},
        ],
        "buffers": [
            {"byteLength": len(buffer), "uri": "data:;base64," + base64.b64encode(buffer).decode()},
        ],
    }
    listed: Any = {name: {"node": joint} for joint, name in enumerate(JOINTS)}
    if bones == "VRM":
        listed = [{"bone": name, "node": joint} for joint, name in enumerate(JOINTS)]
    return content | ({"extensions": {bones: {"humanoid": {"humanBones": listed}}}} if bones else {})


def ways(value: Any, way: tuple = ()) -> list[tuple]:
    """Ways to everything in a JSON file, the first two of each list."""
    entries = (
        value.items() if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else ()
    )
    return [found for key, entry in entries for found in ((*way, key), *ways(entry, (*way, key)))]


REPLACED = {
    "null": None, "text": "spam", "below zero": -1, "huge": 10**12, "a fraction": 0.5, "NaN": float("nan"),
    "a list": [1, 2], "a dict": {"a": 1}, "true": True,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("change", [*REPLACED, "missing"])
@pytest.mark.parametrize("bones", ["", "VRM", "VRMC_vrm", "VRMC_vrm_animation"])
def test_every_field_of_a_gltf_file_may_be_damaged(tmp_path, bones, change):
    content = sound_gltf(bones)
    path = tmp_path / "a.gltf"
    path.write_text(json.dumps(content))
    assert attempt(path) == "read"
    every = ways(content)
    assert len(every) > 40
    # The extension's bones are damaged with each of its names; all else with node names alone.
    for way in every if not bones else [way for way in every if way[0] == "extensions"][:12]:
        damaged = without(content, way) if change == "missing" else changed(content, way, lambda _: REPLACED[change])
        path.write_text(json.dumps(damaged))
        result = attempt(path)
        needed = way[0] in ("accessors", "bufferViews", "buffers", "animations") and not {
            "byteOffset",
            "byteLength",
        } & set(way)
        if needed and change in ("text", "a dict", "huge", "below zero"):
            assert result != "read", (way, change)


LINES = {
    "no MOTION": ("MOTION\n", ""),
    "no frames": ("Frames: 3", "Frames: 0"),
    "frames below zero": ("Frames: 3", "Frames: -3"),
    "frames in words": ("Frames: 3", "Frames: three"),
    "no time": ("Frame Time:", "Time:"),
    "time below zero": ("Frame Time: 0", "Frame Time: -0"),
    "time that is no number": ("Frame Time: 0.0333333", "Frame Time: nan"),
    "time without end": ("Frame Time: 0.0333333", "Frame Time: inf"),
    "a long time": ("Frame Time: 0.0333333", "Frame Time: 1e30"),
    "an offset that is no number": ("OFFSET ", "OFFSET nan "),
    "an offset of two numbers": ("OFFSET 0.000000000 ", "OFFSET "),
    "an offset of text": ("OFFSET ", "OFFSET here "),
    "a channel of no axis": ("Xrotation", "Wrotation"),
    "fewer channels": ("CHANNELS 6", "CHANNELS 5"),
    "a brace too many": ("MOTION", "}\nMOTION"),
    "a brace too few": ("}\nMOTION", "MOTION"),
    "a word nobody knows": ("JOINT", "BONE"),
    "no root": ("ROOT", "JOINT"),
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("encoding", ["utf8", "utf-16", "latin1"])
def test_every_line_of_a_bvh_file_may_be_damaged(tmp_path, line, encoding):
    text = bvh(tmp_path).decode()
    old, new = LINES[line]
    assert old in text, line
    path = tmp_path / "a.bvh"
    path.write_bytes(text.encode(encoding))
    assert attempt(path) == "read"
    path.write_bytes(text.replace(old, new, 1).encode(encoding))
    assert attempt(path) != "read"
