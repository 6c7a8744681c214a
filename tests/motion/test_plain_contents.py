"""Files are read by what they hold, and nothing in them is executed."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import read_motion
from nerfstudio_avatars.motion.plain_contents import read_contents

joblib = pytest.importorskip("joblib")
VALUES = {"a": np.arange(6.0).reshape(2, 3), "b": [1, "text", np.eye(2)], 3: None}


def dumped(save: Callable, *args, **options) -> bytes:
    file = io.BytesIO()
    save(*args, file, **options)
    return file.getvalue()


def npy(value) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(value, dtype=object))
    return file.getvalue()


CONTAINERS = {
    "pickle": pickle.dumps(VALUES, 2),
    "joblib": dumped(joblib.dump, VALUES),
    "joblib, protocol 2": dumped(joblib.dump, VALUES, protocol=2),
    "joblib, zlib": zlib.compress(dumped(joblib.dump, VALUES)),
    "joblib, gzip": gzip.compress(dumped(joblib.dump, VALUES)),
    "npy": npy(VALUES),
}


@pytest.mark.parametrize("content", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("name", ["motion.bin", "motion.npz"])
def test_every_container_is_known_by_its_content(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    read = read_contents(tmp_path / name)
    np.testing.assert_array_equal(read["a"], VALUES["a"])
    np.testing.assert_array_equal(read["b"][2], np.eye(2))
    assert read["b"][:2] == [1, "text"] and read[3] is None


def test_npz_torch_json_and_folders_become_plain_data_too(tmp_path):
    np.savez(tmp_path / "a.pkl", plain=np.arange(3), objects=np.array({"x": 1}, dtype=object))
    with (tmp_path / "a.pkl.npz").open("rb") as file:
        (tmp_path / "misnamed.pt").write_bytes(file.read())
    read = read_contents(tmp_path / "misnamed.pt")
    assert read["objects"] == {"x": 1} and read["plain"].tolist() == [0, 1, 2]

    torch.save({"x": [torch.arange(3), torch.ones(2, dtype=torch.bfloat16)]}, tmp_path / "misnamed.npz")
    read = read_contents(tmp_path / "misnamed.npz")
    assert [value.tolist() for value in read["x"]] == [[0, 1, 2], [1.0, 1.0]]
    torch.save({"x": torch.arange(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_contents(tmp_path / "old.pt")["x"].tolist() == [0, 1, 2]

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "000002.json").write_text(json.dumps([{"id": 1}]))
    np.save(folder / "000001.npy", np.arange(2))
    (folder / "notes.txt").write_text("no frame")
    read = read_contents(folder)
    assert list(read) == ["000001", "000002"] and read["000002"] == [{"id": 1}]


class Calls:
    """Pickles as a call, as attackers' objects do."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch '{self.witness}'",)


def attack_pickle(path: Path, payload) -> Callable:
    path.write_bytes(pickle.dumps({"smpl_poses": payload, "smpl_trans": payload}, 2))
    return lambda: pickle.loads(path.read_bytes())


def attack_joblib(path: Path, payload) -> Callable:
    joblib.dump({0: {"pose_world": np.zeros((2, 72)), "trans_world": payload}}, path)
    return lambda: joblib.load(path)


def attack_joblib_objects(path: Path, payload) -> Callable:
    joblib.dump({"frame": {"tid": np.array([payload], dtype=object)}}, path)
    return lambda: joblib.load(path)


def attack_compressed_joblib(path: Path, payload) -> Callable:
    joblib.dump({0: {"pose_world": payload, "trans_world": payload}}, path, compress=3)
    return lambda: joblib.load(path)


def attack_npz(path: Path, payload) -> Callable:
    with path.open("wb") as file:
        np.savez(file, results=np.array({"0.jpg": payload}, dtype=object))
    return lambda: np.load(path, allow_pickle=True)["results"]


def attack_npy(path: Path, payload) -> Callable:
    path.write_bytes(npy({"Rh": payload, "Th": payload, "poses": payload}))
    return lambda: np.load(path, allow_pickle=True)


def attack_torch(path: Path, payload) -> Callable:
    torch.save({"smpl_params_global": payload}, path)
    return lambda: torch.load(path, weights_only=False)


def attack_old_torch(path: Path, payload) -> Callable:
    torch.save({"smpl_params_global": payload}, path, _use_new_zipfile_serialization=False)
    return lambda: torch.load(path, weights_only=False)


ATTACKS = [
    attack_pickle,
    attack_joblib,
    attack_joblib_objects,
    attack_compressed_joblib,
    attack_npz,
    attack_npy,
    attack_torch,
    attack_old_torch,
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_in_one_clear_error_and_nothing_runs(tmp_path, attack):
    witness, path = tmp_path / "witness", tmp_path / "motion.dat"
    detonate = attack(path, Calls(witness))
    with pytest.raises(DataError) as error:
        read_motion(path)
    assert not witness.exists()
    assert str(path) in str(error.value) and "do not use this file" in str(error.value)
    assert "executed" in error.value.found
    assert "weights_only=False" not in str(error.value), "no advice to switch the safety off"
    detonate()
    assert witness.exists(), "the payload must be a working one"


def test_a_folder_is_no_way_around(tmp_path):
    folder, witness = tmp_path / "params", tmp_path / "witness"
    folder.mkdir()
    detonate = attack_npy(folder / "0.npy", Calls(witness))
    with pytest.raises(DataError, match="not executed"):
        read_motion(folder)
    assert not witness.exists()
    detonate()
    assert witness.exists(), "the payload must be a working one"


def test_hostile_notes_beside_the_arrays_are_left_alone(tmp_path):
    witness = tmp_path / "witness"
    notes = np.array([Calls(witness)], dtype=object)
    np.savez(tmp_path / "a.npz", poses=np.zeros((2, 156)), trans=np.zeros((2, 3)), mocap_framerate=60, notes=notes)
    assert read_motion(tmp_path / "a.npz").format == "AMASS"
    assert not witness.exists()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no motion at all",
        b"\x93NUMPY\x01\x00 damaged",
        npy(VALUES)[:-20],
        dumped(joblib.dump, VALUES)[:-20],
        zlib.compress(b"no pickle"),
        b"\x78\x9c damaged",
        b'{"annots": [',
        b"PK\x03\x04 half a zip file",
        zipped(readme=b"hello"),
        zipped(**{"x/data.pkl": b"damaged", "x/version": b"3"}),
        b"[" * 100_000,
    ],
)
def test_damaged_files_give_one_clear_error(tmp_path, content):
    path = tmp_path / "motion.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_motion(path)
    assert all(word in str(error.value) for word in ("motion.npz", "found:", "expected:", "fix:"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_motion(tmp_path / "motion.npz")
