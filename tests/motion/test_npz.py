"""Every npz layout that people bring, and what is wrong with some."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.npz import read_npz

RNG = np.random.default_rng(0)
ORIENT, BODY, TRANSL = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 69)), RNG.normal(size=(4, 3))
BETAS = RNG.normal(size=10)
POSES = np.concatenate([ORIENT, BODY], 1)


def write(tmp_path: Path, **fields) -> Path:
    np.savez(tmp_path / "motion.npz", **fields)
    return tmp_path / "motion.npz"


LAYOUTS = {
    "InstantAvatar": dict(global_orient=ORIENT, body_pose=BODY, transl=TRANSL, betas=BETAS[None]),
    "thetas": dict(thetas=POSES, transl=TRANSL, betas=BETAS),
    "GART": dict(poses=POSES.reshape(4, 24, 3), trans=TRANSL, betas=BETAS),
    "betas per frame": dict(poses=POSES, trans=TRANSL, betas=np.tile(BETAS, (4, 1))),
    "float32": dict(poses=POSES.astype(np.float32), trans=TRANSL.astype(np.float32), betas=BETAS),
    "objects beside the arrays": dict(poses=POSES, trans=TRANSL, betas=BETAS, notes=np.array([{}], dtype=object)),
}


@pytest.mark.parametrize("fields", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_all_layouts_give_the_same_sequence(tmp_path, fields):
    sequence = read_npz(write(tmp_path, **fields))
    for ours, truth in (("global_orient", ORIENT), ("body_pose", BODY), ("transl", TRANSL), ("betas", BETAS)):
        torch.testing.assert_close(getattr(sequence, ours), torch.from_numpy(truth).float())


def test_a_single_frame_without_a_frame_axis_is_a_sequence_of_one(tmp_path):
    sequence = read_npz(write(tmp_path, global_orient=ORIENT[0], body_pose=BODY[0], transl=TRANSL[0]))
    assert len(sequence) == 1 and torch.equal(sequence.betas, torch.zeros(10))


@pytest.mark.parametrize(
    ("fields", "fps"),
    [
        ({}, 30.0),
        ({"fps": 25}, 25.0),
        ({"dt": np.full(4, 0.02)}, 50.0),
        ({"mocap_framerate": np.array(120.0)}, 120.0),
        ({"mocap_frame_rate": np.array(60)}, 60.0),
    ],
)
def test_the_frame_rate_is_the_files(tmp_path, fields, fps):
    assert read_npz(write(tmp_path, poses=POSES, trans=TRANSL, **fields)).fps == pytest.approx(fps)


@pytest.mark.parametrize("width", [156, 165])
def test_amass_loses_its_hands_and_says_so(tmp_path, caplog, width):
    poses = RNG.normal(size=(4, width))
    fields = dict(
        poses=poses, trans=TRANSL, betas=RNG.normal(size=16), gender=np.bytes_(b"female"), mocap_framerate=120.0
    )
    with caplog.at_level(logging.WARNING):
        sequence = read_npz(write(tmp_path, **fields))
    torch.testing.assert_close(sequence.body_pose[:, :63], torch.from_numpy(poses[:, 3:66]).float())
    assert not sequence.body_pose[:, 63:].any() and not sequence.betas.any()
    assert sequence.gender == "female" and "hands" in caplog.text


def with_nan(array: np.ndarray, frame: int) -> np.ndarray:
    array = array.copy()
    array[frame, 1] = np.nan
    return array


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(poses=with_nan(POSES, 2), trans=TRANSL), "NaN or infinity in 1 of 4 frames, first in frame 2"),
        (dict(poses=POSES, trans=with_nan(TRANSL, 0)), "translations with NaN"),
        (dict(poses=POSES, trans=TRANSL, betas=np.full(10, np.inf)), "betas with NaN"),
        (dict(poses=POSES, trans=TRANSL[:3]), r"4 poses and translations of shape \(3, 3\)"),
        (dict(poses=POSES[:, :60], trans=TRANSL), r"`poses` of shape \(4, 60\)"),
        (dict(poses=POSES[:0], trans=TRANSL[:0]), "at least one frame"),
        (dict(poses=POSES), "the fields poses"),
        (dict(verts=TRANSL), "the fields verts"),
        (dict(poses=POSES, trans=TRANSL, fps=0), "0 frames per second"),
        (dict(poses=np.array(["a"]), trans=TRANSL), "type <U1"),
        (dict(global_orient=ORIENT, body_pose=BODY[:2], transl=TRANSL), "global_orient"),
    ],
)
def test_wrong_content_is_named(tmp_path, fields, message):
    path = write(tmp_path, **fields)
    with pytest.raises(DataError, match=message) as error:
        read_npz(path)
    assert all(word in str(error.value) for word in (str(path), "found:", "expected:", "fix:"))


@pytest.mark.parametrize("content", [b"", b"no npz at all", b"PK\x03\x04 half a zip file"])
def test_what_is_no_npz_is_named(tmp_path, content):
    (tmp_path / "motion.npz").write_bytes(content)
    with pytest.raises(DataError, match="never unpickled"):
        read_npz(tmp_path / "motion.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "motion.npz")
