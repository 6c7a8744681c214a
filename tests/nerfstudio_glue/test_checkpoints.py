"""Checkpoints: whole or absent, read without building objects, and only for the model that they are of."""

import errno
import os
import pickle
import re
import resource
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.nerfstudio_glue import checkpoints


def _state(step=3, **changes):
    weights = OrderedDict((f"_model.{name}", one) for name, one in nn.Linear(2, 3).state_dict().items())
    return {"step": step, "pipeline": weights, "optimizers": {"a": {"lr": np.float64(0.5)}}} | changes


def _write(folder, step=3, **changes):
    return checkpoints.write_checkpoint(folder / "nerfstudio_models", step, _state(step, **changes), only_latest=True)


class _Runs:
    """A pickle that would make a folder."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_what_is_written_is_read_and_older_ones_go(tmp_path):
    for step in (1, 5, 9, 12):
        _write(tmp_path, step)
    read = checkpoints.read_latest(tmp_path / "nerfstudio_models")
    assert read.step == 12 and read.state["optimizers"]["a"]["lr"] == 0.5
    assert [checkpoints.step_of(one) for one in checkpoints.checkpoints_in(tmp_path / "nerfstudio_models")] == [9, 12]
    assert checkpoints.read_latest(tmp_path).path == read.path, "the run's folder stands for its checkpoints"
    _write(tmp_path, 10)
    steps = [checkpoints.step_of(one) for one in checkpoints.checkpoints_in(tmp_path / "nerfstudio_models")]
    assert steps == [9, 10], "what an earlier training did beyond this step is gone"


def test_nothing_unfinished_ever_lies_among_the_checkpoints(tmp_path, monkeypatch):
    """nerfstudio's own loader reads a step from every name in the folder."""
    _write(tmp_path, 1)
    seen = []
    save = torch.save

    def look(state, path):
        save(state, path)
        seen.append(sorted(os.listdir(tmp_path / "nerfstudio_models")))

    monkeypatch.setattr(torch, "save", look)
    for old in (
        tmp_path / ".step-000000001.79.partial.ckpt",
        tmp_path / ".step-000000001.ckpt.77.partial",
        tmp_path / "nerfstudio_models" / ".step-000000001.ckpt.78.partial",
    ):
        old.write_bytes(b"of a killed process")
    _write(tmp_path, 2)
    assert seen == [["step-000000001.ckpt"]]
    assert sorted(os.listdir(tmp_path)) == ["nerfstudio_models"]


@pytest.mark.parametrize("told_by", ["the file", "torch"])
def test_a_full_disk_is_told_and_the_checkpoint_before_stays(told_by, tmp_path, monkeypatch):
    before = _write(tmp_path, 1)

    def full(state, path):
        path.write_bytes(b"half")
        full_disk = OSError(errno.ENOSPC, "No space left on device")
        if told_by == "the file":
            raise full_disk
        raise RuntimeError("[enforce fail at inline_container.cc:659] . PytorchStreamWriter failed") from full_disk

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device.*" + re.escape(str(before))):
        _write(tmp_path, 2)
    assert os.listdir(tmp_path / "nerfstudio_models") == [before.name] and os.listdir(tmp_path) == ["nerfstudio_models"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_disk_that_is_really_full_is_told_in_a_line(tmp_path):
    """The system itself refuses to write more than 20 kB, as a full disk would."""
    code = f"""
import resource, signal, torch
from pathlib import Path
from nerfstudio_avatars.nerfstudio_glue.checkpoints import write_checkpoint
from nerfstudio_avatars.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    state = {{"step": 1, "pipeline": {{"a": torch.zeros(99999)}}}}
    write_checkpoint(Path({str(tmp_path)!r}) / "nerfstudio_models", 1, state, True)
except UserError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.count("\n") == 1 and "nothing was written" in said.stdout and "Traceback" not in said.stderr
    assert os.listdir(tmp_path / "nerfstudio_models") == [] and os.listdir(tmp_path) == ["nerfstudio_models"]


DAMAGES = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "cut by a byte": lambda whole: whole[:-1],
    "noise": lambda whole: os.urandom(5000),
    "text": lambda whole: b"<!DOCTYPE html><html>",
    "a pointer": lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "zeros": lambda whole: bytes(len(whole)),
    "an old pickle": lambda whole: pickle.dumps({"step": 1}),
    "a bit": lambda whole: whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_and_the_one_before_is_taken(name, tmp_path, capsys):
    good, bad = _write(tmp_path, 1), _write(tmp_path, 2)
    bad.write_bytes(DAMAGES[name](bad.read_bytes()))
    with pytest.raises(DataError) as error:
        checkpoints.read_checkpoint(bad)
    assert str(bad) in str(error.value) and "weights_only" not in str(error.value)
    assert checkpoints.read_latest(bad.parent).path == good
    assert capsys.readouterr().out.count(f"{bad}: ") == 1
    with pytest.raises(DataError):
        checkpoints.read_latest(bad.parent, step=2)
    good.unlink()
    with pytest.raises(DataError):
        checkpoints.read_latest(bad.parent)


CONTENTS = {
    "a list": [1, 2],
    "a tensor": torch.zeros(3),
    "nothing": {},
    "no weights": {"step": 1},
    "no step": {"pipeline": {}},
    "a step of text": _state(step="1"),
    "a step below zero": _state(step=-1),
    "weights as a list": _state(pipeline=[torch.zeros(1)]),
    "weights without names": _state(pipeline={1: torch.zeros(1)}),
    "not a number": _state(pipeline={"_model.weight": torch.tensor([1.0, torch.nan])}),
    "infinite": _state(pipeline={"_model.weight": torch.tensor([torch.inf])}),
    "more numbers than memory": _state(pipeline={"_model.weight": torch.zeros(1).expand(10**9)}),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_contents_are_refused(name, tmp_path):
    path = tmp_path / "step-000000001.ckpt"
    torch.save(CONTENTS[name], path)
    with pytest.raises(DataError) as error:
        checkpoints.read_checkpoint(path)
    assert str(path) in str(error.value) and "weights_only" not in str(error.value)


@pytest.mark.parametrize("place", ["state", "weights", "optimizers"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_executed_and_nobody_is_advised_to(place, protocol, tmp_path):
    trap = _Runs(tmp_path / "pwned")
    changes = {"weights": {"pipeline": {"_model.weight": trap}}, "optimizers": {"optimizers": trap}}.get(place, {})
    path = tmp_path / "step-000000001.ckpt"
    torch.save(trap if place == "state" else _state(**changes), path, pickle_protocol=protocol)
    with pytest.raises(DataError, match="not executed") as error:
        checkpoints.read_checkpoint(path)
    assert not (tmp_path / "pwned").exists() and "weights_only" not in str(error.value)


def test_an_archive_that_grows_when_unpacked_is_refused(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "step-000000001.ckpt"
    torch.save(_state(pipeline={"_model.weight": torch.zeros(10**7)}), plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for one in source.infolist():
            packed.writestr(one.filename, source.read(one))
    assert path.stat().st_size < 10**6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="unpacks to more than it is"):
        checkpoints.read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_no_checkpoint_at_all_is_told(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        checkpoints.read_latest(tmp_path / "gone")
    with pytest.raises(UserError, match="without --load-dir"):
        checkpoints.read_latest(tmp_path)
    (tmp_path / "step-000000001.ckpt").mkdir()
    with pytest.raises(DataError, match="found:    a folder"):
        checkpoints.read_latest(tmp_path)
    _write(tmp_path, 4)
    with pytest.raises(UserError, match="no checkpoint of step 7. Steps there: 4"):
        checkpoints.read_latest(tmp_path / "nerfstudio_models", step=7)


def test_weights_are_taken_up_whole_or_not_at_all():
    weights = _state()["pipeline"]
    model = nn.Linear(2, 3)
    checkpoints.load_weights(model, weights, "the file (unsup-volanim)", "this training's instant-avatar")
    assert model.weight.equal(weights["_model.weight"])
    several = {f"_model.module.{name}": one for name, one in nn.Linear(2, 3).state_dict().items()}
    checkpoints.load_weights(model, several, "of several processes", "x")
    assert model.weight.equal(several["_model.module.weight"])


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Linear(2, 4), r"`weight` \(3, 2\) instead of \(4, 2\); `bias`"),
        (nn.Linear(2, 3, bias=False), "`bias`, which is not known"),
        (nn.Sequential(nn.Linear(2, 3)), "none of its weights belongs"),
        (nn.Bilinear(2, 2, 3), r"instead of \(3, 2, 2\)"),
    ],
)
def test_weights_of_another_model_are_refused_with_both_named(model, told):
    with pytest.raises(UserError, match=told) as error:
        checkpoints.load_weights(
            model, _state()["pipeline"], "a.ckpt (unsup-volanim)", "this training's instant-avatar"
        )
    assert "a.ckpt (unsup-volanim)" in str(error.value) and "this training's instant-avatar" in str(error.value)


def test_the_method_is_known_from_the_weights_where_a_checkpoint_does_not_say():
    assert checkpoints.method_of({"method": "instant-avatar-cpu", "pipeline": {}}) == "instant-avatar-cpu"
    assert checkpoints.method_of({"pipeline": {"_model.avatar.field.table": 0}}) == "instant-avatar"
    assert checkpoints.method_of({"pipeline": {"_model.network.embedding.table": 0}}) == "unsup-volanim"
    assert checkpoints.method_of({"pipeline": {"_model.field.mlp": 0}}) == "another method"
