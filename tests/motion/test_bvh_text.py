"""What BVH files say in odd ways: several persons, frame times, radians, encodings."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from skeletons import MIXAMO, prefixed, random_motion, still

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion
from nerfstudio_avatars.motion.bvh import read_bvh


def two_people(tmp_path):
    """Two persons in one file, one walking on, the other's names with a prefix."""
    local, root = random_motion(MIXAMO)
    texts = []
    for number, prefix in enumerate(("", "B_")):
        path = prefixed(MIXAMO, prefix).write(tmp_path / f"{number}.bvh", local if number else local.inv(), root)
        texts.append(path.read_text().split("MOTION\n"))
    head = texts[0][0] + texts[1][0].removeprefix("HIERARCHY\n")
    rows = [text[1].splitlines()[2:] for text in texts]
    lines = [" ".join(row) for row in zip(*rows, strict=True)]
    path = tmp_path / "two.bvh"
    path.write_text("\n".join([head + "MOTION", *texts[0][1].splitlines()[:2], *lines]) + "\n")
    return path


def test_every_root_is_a_person_that_can_be_asked_for(tmp_path):
    path = two_people(tmp_path)
    for person, number in ((0, 0), ("1", 1), ("B_Hips", 1), (None, 0)):
        truth = read_bvh(tmp_path / f"{number}.bvh").sequence
        motion = read_bvh(path, person=person)
        torch.testing.assert_close(motion.sequence.body_pose, truth.body_pose)
        assert (person is None) == any("0 (Hips), 1 (B_Hips)" in note for note in motion.notes)
    with pytest.raises(DataError, match="no person 2.*\n.*0 .Hips., 1 .B_Hips."):
        read_bvh(path, person=2)


@pytest.mark.parametrize(
    ("step", "fps", "said"),
    [
        ("33.3333", 30, "milliseconds"),
        ("16.667", 60, "milliseconds"),
        ("41.6667", 24, "milliseconds"),
        ("30", 30, "a rate"),
        ("120", 120, "a rate"),
        ("25.0", 25, "a rate"),
        ("0", 30, "assumed"),
        ("0.0", 30, "assumed"),
        ("0,0333333", 30, ""),
        ("0.0083333", 120, ""),
        ("0.2", 5, ""),
        ("8.33333", 120, "milliseconds"),
    ],
)
def test_implausible_frame_times_are_read_as_what_they_are(tmp_path, step, fps, said):
    path = MIXAMO.write(tmp_path / "a.bvh", *random_motion(MIXAMO))
    path.write_text(re.sub(r"Frame Time: \S+", f"Frame Time: {step}", path.read_text()))
    motion = read_bvh(path)
    assert motion.sequence.fps == pytest.approx(fps, rel=1e-3)
    assert [said in note for note in motion.notes if "Frame Time" in note] == [True] * bool(said)


def test_angles_in_radians_are_noticed(tmp_path):
    local, root = random_motion(MIXAMO)
    truth = read_bvh(MIXAMO.write(tmp_path / "degrees.bvh", local, root))
    text = (tmp_path / "degrees.bvh").read_text().splitlines()
    start = next(number for number, line in enumerate(text) if line.startswith("Frame Time")) + 1
    rows = np.array([line.split() for line in text[start:]], float)
    rows[:, 3:] = np.deg2rad(rows[:, 3:])
    (tmp_path / "a.bvh").write_text("\n".join([*text[:start], *(" ".join(map(str, row)) for row in rows)]))
    motion = read_bvh(tmp_path / "a.bvh")
    assert any("radians" in note for note in motion.notes) and not any("radians" in note for note in truth.notes)
    torch.testing.assert_close(motion.sequence.body_pose, truth.sequence.body_pose, atol=1e-4, rtol=0)


def test_a_still_rest_pose_is_not_taken_for_radians(tmp_path):
    assert not any("radians" in note for note in read_bvh(MIXAMO.write(tmp_path / "a.bvh", *still(MIXAMO))).notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end_is_read(tmp_path, encoding, end):
    path = MIXAMO.write(tmp_path / "a.bvh", *random_motion(MIXAMO))
    truth = read_motion(path).sequence
    text = path.read_text().replace("Spine2", "Wirbelsäule")
    path.write_bytes(text.replace("\n", end).encode(encoding))
    assert torch.equal(read_motion(path).sequence.body_pose, truth.body_pose)
