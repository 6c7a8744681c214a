"""BVH files of every make. SMPL's own skeleton in them must give SMPL's own angles; scipy knows the Euler angles."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.bvh import is_bvh, read_bvh

RNG = np.random.default_rng(0)
FRAMES = 4
POSES = 0.6 * RNG.normal(size=(FRAMES, 24, 3))
TRANSL = RNG.normal(size=(FRAMES, 3))
POSITION = ["Xposition", "Yposition", "Zposition"]


@pytest.fixture(scope="module")
def offsets(standin) -> np.ndarray:
    """SMPL's rest bones, metres."""
    rest = standin.rest(torch.zeros(10))[1].double().numpy()
    return np.stack([rest[joint] - (rest[up] if up >= 0 else 0) for joint, up in enumerate(standin.parents)])


@pytest.fixture(scope="module")
def document(standin, offsets):
    """`document(channels, values)`: a BVH of SMPL's skeleton; `values[joint]` is (frames, that joint's channels)."""

    def write(channels: list[list[str]], values: list[np.ndarray], step: float = 1 / 30) -> str:
        columns: list[np.ndarray] = []

        def block(joint: int) -> list[str]:
            columns.append(values[joint])
            lines = [f"{'JOINT' if joint else 'ROOT'} {JOINT_NAMES[joint]}", "{"]
            lines += ["OFFSET " + " ".join(f"{value:.9f}" for value in offsets[joint])]
            lines += [f"CHANNELS {len(channels[joint])} {' '.join(channels[joint])}"]
            children = [child for child, up in enumerate(standin.parents) if up == joint]
            lines += list(itertools.chain(*map(block, children)))
            return [*lines, *([] if children else ["End Site", "{", "OFFSET 0 0.1 0", "}"]), "}"]

        lines = ["HIERARCHY", *block(0), "MOTION", f"Frames: {FRAMES}", f"Frame Time: {step:.6f}"]
        table = np.concatenate(columns, 1)
        return "\n".join([*lines, *(" ".join(f"{value:.8f}" for value in row) for row in table)]) + "\n"

    return write


def rotations(order: str) -> list[str]:
    return [f"{axis}rotation" for axis in order]


def degrees(order: str, joint: int) -> np.ndarray:
    return Rotation.from_rotvec(POSES[:, joint]).as_euler(order, degrees=True)


@pytest.fixture(scope="module")
def plain(document, offsets) -> str:
    """Z, X, Y angles everywhere, six channels at the root."""
    channels = [(POSITION if joint == 0 else []) + rotations("ZXY") for joint in range(24)]
    values = [degrees("ZXY", joint) for joint in range(24)]
    values[0] = np.concatenate([TRANSL + offsets[0], values[0]], 1)
    return document(channels, values)


def check(path: Path, text: str | bytes, poses: np.ndarray = POSES, transl: np.ndarray = TRANSL):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    motion = read_bvh(path)
    found = torch.cat([motion.sequence.global_orient[:, None], motion.sequence.body_pose.unflatten(1, (23, 3))], 1)
    np.testing.assert_allclose(found.numpy(), poses, atol=1e-5)
    np.testing.assert_allclose(motion.sequence.transl.numpy(), transl, atol=1e-5)
    assert (motion.format, motion.up) == ("BVH", "y")
    return motion


def test_a_plain_file(tmp_path, plain):
    assert check(tmp_path / "a.bvh", plain).sequence.fps == 30


@pytest.mark.parametrize("order", ["".join(axes) for axes in itertools.permutations("XYZ")])
def test_every_order_of_the_angles(tmp_path, document, offsets, order):
    channels = [(POSITION if joint == 0 else []) + rotations(order) for joint in range(24)]
    values = [degrees(order, joint) for joint in range(24)]
    values[0] = np.concatenate([TRANSL + offsets[0], values[0]], 1)
    check(tmp_path / "a.bvh", document(channels, values))


def test_channels_in_any_order_and_number(tmp_path, document, offsets):
    """Each joint with another order; the root's angles first, its positions backwards; a knee with one angle."""
    orders = ["".join(axes) for axes in itertools.permutations("XYZ")] * 4
    channels = [rotations(order) for order in orders]
    values = [degrees(order, joint) for joint, order in enumerate(orders)]
    channels[0] += POSITION[::-1]
    values[0] = np.concatenate([values[0], (TRANSL + offsets[0])[:, ::-1]], 1)
    poses = POSES.copy()
    knee, collar = JOINT_NAMES.index("left_knee"), JOINT_NAMES.index("left_collar")
    poses[:, knee] *= [1, 0, 0]
    channels[knee], values[knee] = ["Xrotation"], np.degrees(poses[:, knee, :1])
    poses[:, collar], channels[collar], values[collar] = 0, [], np.zeros((FRAMES, 0))
    check(tmp_path / "a.bvh", document(channels, values), poses)


@pytest.mark.parametrize("added", [False, True], ids=["in place of OFFSET", "added to OFFSET"])
def test_positions_on_every_joint(tmp_path, document, offsets, added):
    channels = [POSITION + rotations("ZXY")] * 24
    places = [np.tile(0 * offset if added else offset, (FRAMES, 1)) for offset in offsets]
    places[0] = TRANSL + offsets[0]
    values = [np.concatenate([places[joint], degrees("ZXY", joint)], 1) for joint in range(24)]
    check(tmp_path / "a.bvh", document(channels, values))


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


VARIANTS = {
    "CRLF": crlf,
    "tabs": lambda text: text.replace(" ", "\t").replace("End\tSite", "End Site"),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "lower case": lambda text: text.lower(),
    "braces on the joint's line": lambda text: text.replace("\n{", " {").replace("\n}", " }"),
    "blank lines": lambda text: (
        "\n\n" + text.replace("\nMOTION", "\n\nMOTION").replace("\nFrame Time", "\n\nFrame Time")
    ),
    "spaces at the ends": lambda text: text.replace("\n", "  \n "),
    "named End Sites": lambda text: text.replace("End Site", "End Site head_end"),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_way_to_write_it_is_read(tmp_path, plain, variant):
    text = variant(plain)
    check(tmp_path / "a.bvh", text)
    assert is_bvh((text.encode() if isinstance(text, str) else text)[:64])


@pytest.mark.parametrize(("written", "fps"), [("0.0333333", 30), (".00833333", 120), ("0.041708", 1 / 0.041708)])
def test_the_frame_rate_is_the_files_but_for_rounding(tmp_path, plain, written, fps):
    motion = check(tmp_path / "a.bvh", plain.replace("Frame Time: 0.033333", f"Frame Time: {written}"))
    assert motion.sequence.fps == pytest.approx(fps, rel=1e-9 if fps == int(fps) else 2e-3)


def test_frames_beyond_the_declared_ones_are_left_out_and_told(tmp_path, plain):
    motion = check(tmp_path / "a.bvh", plain + plain.splitlines()[-1] + "\n")
    assert "1 frames more than the 4 declared are left out" in motion.notes


def line_of(text: str, begin: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(begin))


def test_a_cut_file_says_where(tmp_path, plain):
    lines = plain.splitlines()
    (tmp_path / "a.bvh").write_text("\n".join(lines[:-2]))
    with pytest.raises(DataError, match=f"2 frames up to line {len(lines) - 2}, where 4 are declared"):
        read_bvh(tmp_path / "a.bvh")
    (tmp_path / "a.bvh").write_text(plain[: -len(lines[-1]) // 2])
    with pytest.raises(DataError, match=f"line {len(lines)}: 3. values.*\n.*75 finite numbers"):
        read_bvh(tmp_path / "a.bvh")


BROKEN = {
    "no motion": (lambda text: text.split("MOTION")[0], "the end of the file"),
    "no frame count": (lambda text: text.replace("Frames: 4\n", ""), r"line \d+: 'Frame Time"),
    "no frame": (lambda text: text.split("Frame Time")[0] + "Frame Time: 0.03\n", "0 frames up to line"),
    "a negative frame time": (lambda text: text.replace("Time: 0.033333", "Time: -1"), "Frame Time: -1"),
    "a frame time of no unit": (lambda text: text.replace("Time: 0.033333", "Time: 1e7"), "1e-07 frames per second"),
    "a word as a number": (lambda text: text[:-12] + " spam eggs\n", r"line \d+: \d+ values"),
    "not a number": (lambda text: " ".join([*text.split(" ")[:-1], "nan\n"]), r"75 finite numbers"),
    "an offset of two numbers": (lambda text: text.replace("OFFSET 0 0.1 0", "OFFSET 0 0.1", 1), "'OFFSET 0 0.1'"),
    "an offset of NaN": (lambda text: text.replace("OFFSET 0 0.1 0", "OFFSET 0 nan 0", 1), "OFFSET 0 nan 0"),
    "an offset missing": (lambda text: text.replace("OFFSET 0 0.1 0\n", "", 1), "an OFFSET for every joint"),
    "a channel too few": (lambda text: text.replace("CHANNELS 3 Zrotation", "CHANNELS 3", 1), "CHANNELS, their number"),
    "an unknown channel": (lambda text: text.replace("3 Zrotation", "3 Wrotation", 1), "Wrotation"),
    "a brace too few": (lambda text: text.replace("}\nMOTION", "MOTION"), "braces in pairs"),
    "a brace too many": (lambda text: text.replace("MOTION", "}\nMOTION"), "braces in pairs"),
    "no opening brace": (lambda text: text.replace("{\n", "", 1), "a { after a joint's name"),
    "an unknown word": (lambda text: text.replace("JOINT", "BONE", 1), "BONE left_hip"),
    "nothing": (lambda text: "", "the end of the file"),
}


@pytest.mark.parametrize(("breaks", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_named(tmp_path, plain, breaks, message):
    text = breaks(plain)
    assert text != plain
    (tmp_path / "a.bvh").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_bvh(tmp_path / "a.bvh")
    assert all(word in str(error.value) for word in ("a.bvh", "found:", "expected:", "fix:"))


def test_the_line_of_a_broken_hierarchy_is_named(tmp_path, plain):
    (tmp_path / "a.bvh").write_text(plain.replace("JOINT spine1", "BONE spine1"))
    with pytest.raises(DataError, match=f"line {line_of(plain, 'JOINT spine1')}: 'BONE spine1'"):
        read_bvh(tmp_path / "a.bvh")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_bvh(tmp_path / "none.bvh")


@pytest.mark.parametrize("head", [b"", b"PK\x03\x04", b"glTF", b"MOTION", b"{}", b"\xff\xfe\x00"])
def test_other_files_are_no_bvh(head):
    assert not is_bvh(head)
