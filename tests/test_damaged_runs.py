"""Runs, identities, camera paths and joint maps, damaged in every way: one clear error, or what is sound."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
import yaml
from damage import BYTES, SHORT, VALUES, bounded, change_npz, told
from nerfstudio.utils import eval_utils

from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.avatars.identity import load_identity
from nerfstudio_avatars.avatars.inspection.reading import read_anything
from nerfstudio_avatars.avatars.inspection.report import Refusal
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion.joint_map import read_joint_map
from nerfstudio_avatars.nerfstudio_glue.opened_runs import check_configurations

pytestmark = pytest.mark.slow


def _config(run):
    return run / "config.yml"


def _checkpoint(run):
    return next((run / "nerfstudio_models").iterdir())


def _saved(change):
    """The checkpoint with other contents, as torch writes them."""

    def spoil(run):
        path = _checkpoint(run)
        torch.save(change(torch.load(path, weights_only=True)), path)

    return spoil


def _scene(change):
    """What the checkpoint keeps of the data, changed."""

    def spoil(state):
        change(state["pipeline"]["_model._extra_state"])
        return state

    return _saved(spoil)


def _text(text):
    return lambda run: _config(run).write_text(text)


def _line(old, new):
    return lambda run: _config(run).write_text(_config(run).read_text().replace(old, new, 1))


def _only(name):
    """Without another part of the run's folder."""

    def spoil(run):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()

    return spoil


def _file_for_folder(run):
    shutil.rmtree(run / "nerfstudio_models")
    (run / "nerfstudio_models").write_text("a file")


def _clip(**changed):
    return _scene(lambda kept: kept["clips"]["clips"][0].update(changed))


RUNS = {
    **{f"checkpoint: {kind}": lambda run, spoil=spoil: spoil(_checkpoint(run)) for kind, spoil in BYTES.items()},
    "checkpoint: a list": _saved(lambda state: [1, 2]),
    "checkpoint: a tensor": _saved(lambda state: torch.zeros(3)),
    "checkpoint: without pipeline": _saved(lambda state: {"step": 3}),
    "checkpoint: weights of nobody": _saved(lambda state: {"step": 3, "pipeline": {}}),
    "checkpoint: weights of another size": _saved(
        lambda state: state
        | {"pipeline": {name: one[:1] if torch.is_tensor(one) and one.ndim > 1 else one
                        for name, one in state["pipeline"].items()}}
    ),
    "checkpoint: NaN": _saved(
        lambda state: state
        | {"pipeline": {name: one * torch.nan if torch.is_tensor(one) and one.is_floating_point() else one
                        for name, one in state["pipeline"].items()}}
    ),
    "checkpoint: no scene": _saved(
        lambda state: state
        | {"pipeline": {name: one for name, one in state["pipeline"].items() if "extra_state" not in name}}
    ),
    "checkpoint: scene of text": _scene(lambda kept: kept.update(clips="text")),
    "checkpoint: a clip elsewhere": _clip(path="/etc/passwd"),
    "checkpoint: a clip above": _clip(path="../../secret.mp4"),
    "checkpoint: a clip of text": _clip(frames="many"),
    **{f"config: {kind}": lambda run, spoil=spoil: spoil(_config(run)) for kind, spoil in BYTES.items()},
    "config: a list": _text("[1, 2]"),
    "config: null": _text("null"),
    "config: deep": _text("[" * 5000 + "]" * 5000),
    "config: a bad alias": _text("a: *nowhere"),
    "config: another class": _line("AvatarTrainerConfig", "UnknownConfig"),
    "config: another method": _line("method_name: ", "method_name: x"),
    "config: another type": _line("steps_per_save: ", "steps_per_save: x"),
    "config: a folder above": _line("timestamp: ", "timestamp: ../"),
    "no config": _only("config.yml"),
    "no checkpoints": _only("nerfstudio_models"),
    "a file for the folder": _file_for_folder,
}  # fmt: skip
ONLY_FOR_TRAINING = {"config: another method", "config: another type"}
"""What `ns-avatar` does not read of a configuration."""
HARMLESS = {"checkpoint: noise in places", "checkpoint: noise in other places", "config: noise in places",
            "config: noise in other places", "config: cut at the end"}  # fmt: skip
"""Damage that need not show: the last lines of a configuration are fields that older versions did not write either."""


@pytest.mark.parametrize("kind", RUNS)
def test_a_damaged_run_ends_in_one_clear_error_however_it_is_opened(volanim_orphan, tmp_path, monkeypatch, kind):
    run = shutil.copytree(volanim_orphan, tmp_path / "run")
    RUNS[kind](run)
    monkeypatch.chdir(tmp_path)
    check_configurations()
    for name, opening in (("ns-avatar", load_run), ("nerfstudio", eval_utils.eval_setup)):
        try:
            with bounded():
                opening(run / "config.yml")
        except UserError as error:
            told(error)
        else:
            assert kind in HARMLESS or (name == "ns-avatar" and kind in ONLY_FOR_TRAINING), f"{name} took it"
    with bounded():
        seen = read_anything(run)
    assert not isinstance(seen, Refusal) or len(seen.reason) > 20


IDENTITY = {
    "cube": np.zeros((6, 8, 8, 8)),
    "rotation": np.tile(np.eye(3), (2, 1, 1)),
    "translation": np.zeros((2, 3)),
    "network": np.array("abc"),
}


def _identity(path, **changed):
    np.savez(path, **IDENTITY | changed)
    return path


@pytest.mark.parametrize("kind", [*BYTES, *(f"{name}: {kind}" for name in ("cube", "rotation") for kind in VALUES)])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_identity_ends_in_one_clear_error_or_is_whole(tmp_path, kind):
    path = _identity(tmp_path / "me.npz")
    name, _, change = kind.partition(": ")
    if change:
        change_npz(path, name, VALUES[change])
    else:
        BYTES[kind](path)
    try:
        with bounded():
            cube, pose = load_identity(path, parts=2, network="abc", side=8)
        assert cube.shape == (6, 8, 8, 8) and cube.isfinite().all()
        torch.testing.assert_close(pose.rotation @ pose.rotation.mT, torch.eye(3).expand(1, 2, 3, 3))
    except UserError as error:
        assert "me.npz" in told(error)


@pytest.mark.parametrize(
    "changed",
    [
        {"cube": np.zeros((6, 8, 8, 9))},
        {"cube": np.zeros((6, 16, 16, 16))},
        {"cube": np.zeros((7, 8, 8, 8))},
        {"rotation": np.zeros((2, 3, 3))},
        {"network": np.array("another")},
    ],
)
def test_an_identity_of_another_run_is_refused(tmp_path, changed):
    with pytest.raises(UserError, match="me.npz"):
        load_identity(_identity(tmp_path / "me.npz", **changed), parts=2, network="abc", side=8)


PATH = {
    "camera_type": "perspective",
    "render_height": 96,
    "render_width": 96,
    "seconds": 1,
    "camera_path": [{"camera_to_world": np.eye(4).ravel().tolist(), "fov": 50, "aspect": 1}] * 2,
}
JSON = {
    "null": None,
    "a list": [1, 2],
    "text": "five",
    "a dict": {"a": 1},
    "a huge number": 1e300,
    "a number without end": float("inf"),
    "not a number": float("nan"),
    "below zero": -1,
    "truth": True,
}


@pytest.mark.parametrize("kind", [*BYTES, *(f"{name}: {kind}" for name in PATH for kind in JSON)])
def test_a_damaged_camera_path_ends_in_one_clear_error_or_in_cameras(tmp_path, kind):
    path = tmp_path / "a.json"
    name, _, change = kind.partition(": ")
    path.write_text(json.dumps(PATH | ({name: JSON[change]} if change else {})))
    if not change:
        BYTES[kind](path)
    try:
        with bounded():
            found = read_camera_file(path)
        assert found.cameras.fx.isfinite().all() and (found.cameras.height > 0).all() and found.seconds > 0
    except UserError as error:
        assert "a.json" in told(error)


@pytest.mark.parametrize("kind", SHORT)
def test_a_damaged_joint_map_ends_in_one_clear_error(tmp_path, kind):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"pelvis": "Hips", "left_hip": "LeftUpLeg"}))
    SHORT[kind](path)
    with bounded(), pytest.raises(UserError, match="map.json"):
        read_joint_map(path)
    path.unlink(missing_ok=True)
    for content in ([1], {"pelvis": 3}, {"nose": "Nose"}, "text", None):
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match="map.json"):
            read_joint_map(path)


def test_a_checkpoint_whose_names_lead_out_writes_and_reads_nothing(volanim_orphan, tmp_path):
    """The archive's members are never unpacked to files."""
    run = shutil.copytree(volanim_orphan, tmp_path / "run")
    with zipfile.ZipFile(_checkpoint(run), "a") as archive:
        archive.writestr("../../pwned", b"x")
    try:
        load_run(run)
    except UserError as error:
        told(error)
    assert "pwned" not in os.listdir(tmp_path) and "pwned" not in os.listdir(tmp_path.parent)


def test_a_configuration_is_read_by_yaml_nowhere(volanim_orphan, monkeypatch):
    """Whatever `yaml.load` would build."""
    monkeypatch.setattr(yaml, "load", None)
    monkeypatch.setattr(yaml, "unsafe_load", None)
    assert load_run(volanim_orphan).step == 3
