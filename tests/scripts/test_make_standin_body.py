"""The script that makes the stand-in body, as far as it goes without Anny."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_standin_body.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_standin_body", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_anny_it_says_what_to_install(script, monkeypatch):
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(SystemExit, match=r"pip install 'nerfstudio-avatars\[standin\]'"):
        script.load_anny()


def test_bones_go_to_their_joints_and_unknown_ones_with_their_parents(script):
    labels = ["root", "spine02", "breast.L", "upperarm02.R", "head", "jaw", "tongue01", "toe5-3.L", "finger1-1.R"]
    parents = [-1, 0, 1, 1, 1, 4, 5, 0, 3]
    joints = [JOINT_NAMES[script.joint_of(bone, labels, parents)] for bone in range(len(labels))]
    expected = "pelvis spine2 spine2 right_shoulder head head head left_foot right_hand"
    assert joints == expected.split()


def test_an_a_pose_is_straightened(script, standin):
    """The stand-in, bent into an A-pose by hand, comes back with its arms along x and its legs at SMPL's lean."""
    _, joints = standin.rest(torch.zeros(10))
    joints = joints.double().numpy()
    for side, sign in (("left", 1), ("right", -1)):
        for pivot, moved, turn in (
            ("shoulder", "elbow wrist hand", [0.1, 0.3 * sign, -0.8 * sign]),
            ("elbow", "wrist hand", [0.0, -0.4 * sign, 0.2 * sign]),
            ("hip", "knee ankle foot", [0.0, 0.0, 0.2 * sign]),
        ):
            centre = joints[JOINT_NAMES.index(f"{side}_{pivot}")]
            rows = [JOINT_NAMES.index(f"{side}_{name}") for name in moved.split()]
            joints[rows] = Rotation.from_rotvec(turn).apply(joints[rows] - centre) + centre
    _, straight = script.into_t_pose(joints, joints, np.eye(24))
    place = dict(zip(JOINT_NAMES, straight, strict=True))
    for side, sign in (("left", 1), ("right", -1)):
        arm = [place[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand")]
        for start, end in zip(arm, arm[1:], strict=False):
            along = (end - start) / np.linalg.norm(end - start)
            np.testing.assert_allclose(along, [sign, 0, 0], atol=1e-9)
        leg = place[f"{side}_ankle"] - place[f"{side}_hip"]
        assert np.arctan2(sign * leg[0], -leg[1]) == pytest.approx(script.LEG_LEAN)
    np.testing.assert_allclose(place["pelvis"], [0, script.PELVIS_HEIGHT, 0], atol=1e-9)


def test_the_shape_space_has_unit_variance_and_rebuilds_its_people(script, capsys):
    rng = np.random.default_rng(0)
    basis, coefficients = rng.normal(size=(10, 50, 3)), rng.normal(size=(40, 10))
    skins = rng.normal(size=(50, 3)) + np.einsum("pk,kvc->pvc", coefficients, basis)
    mean, directions = script.shape_space(skins)
    flat = directions.reshape(-1, 10)
    betas = np.linalg.lstsq(flat, (skins - mean).reshape(40, -1).T, rcond=None)[0].T
    np.testing.assert_allclose(betas.std(0, ddof=1), 1, atol=1e-9)
    np.testing.assert_allclose(mean + np.einsum("pk,vck->pvc", betas, directions), skins, atol=1e-9)
    assert "100.00%" in capsys.readouterr().out
