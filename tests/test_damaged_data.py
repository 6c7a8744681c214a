"""Every file that data are read from, damaged in every way: one clear error, or data that are sound. No training."""

import io
import json
import pickle
import shutil
import time
from functools import lru_cache
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from snapshot_folders import write_preprocessed, write_raw

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data import people_snapshot
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig, read_scene
from nerfstudio_avatars.media.mask_files import read_mask
from nerfstudio_avatars.media.picture_files import read_picture

SLOWEST = 20
"""Seconds."""


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def _noise_at(seed):
    def spoil(path):
        content, draw = bytearray(path.read_bytes()), np.random.default_rng(seed)
        for place in draw.integers(0, len(content), 40):
            content[place] = draw.integers(256)
        path.write_bytes(bytes(content))

    return spoil


def _pipe(path):
    import os

    path.unlink()
    os.mkfifo(path)


def _folder(path):
    path.unlink()
    path.mkdir()


def _loop(path):
    path.unlink()
    path.symlink_to(path.name)


BYTES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut to a fifth": _cut(0.2),
    "cut in the middle": _cut(0.5),
    "cut at the end": _cut(0.97),
    "all noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(2000)),
    "noise in places": _noise_at(1),
    "noise in other places": _noise_at(2),
    "zeros": lambda path: path.write_bytes(bytes(2000)),
    "text": lambda path: path.write_text("not what you expect\n" * 20),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html></html>"),
    "a Git LFS pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "a pipe": _pipe,
    "a folder": _folder,
    "a loop of links": _loop,
    "another kind of array": lambda path: path.write_bytes(_npy(np.zeros(3))),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
}
VALUES = {
    "NaN": lambda value: np.full(np.shape(value), np.nan),
    "infinity": lambda value: np.full(np.shape(value), np.inf),
    "huge": lambda value: np.full(np.shape(value), 1e30),
    "negative": lambda value: -np.abs(np.asarray(value, float)) - 1,
    "zero": lambda value: np.zeros(np.shape(value)),
    "a scalar": lambda value: np.float64(1.0),
    "nothing": lambda value: np.zeros((0, 3)),
    "one axis more": lambda value: np.asarray(value)[None, None],
    "text": lambda value: np.array("five"),
    "complex": lambda value: np.full(np.shape(value), 1j),
    "much": lambda value: np.zeros((1, 7, 5)),
}


def _in_npz(path, name, change):
    with np.load(path) as file:
        fields = {key: file[key] for key in file.files}
    fields[name] = change(fields[name])
    np.savez(path, **fields)


def _without_in_npz(path, name):
    with np.load(path) as file:
        fields = {key: file[key] for key in file.files if key != name}
    np.savez(path, **fields)


def _in_hdf5(path, name, change):
    with h5py.File(path, "a") as file:
        value = change(file[name][()])
        del file[name]
        if value.dtype.kind == "U":
            file[name] = str(value)
        else:
            file[name] = value


def _in_pickle(path, name, change):
    fields = pickle.loads(path.read_bytes())
    fields[name] = change(fields[name])
    path.write_bytes(pickle.dumps(fields))


RAW = ("camera.pkl", "masks.hdf5", "reconstructed_poses.hdf5", "one.mp4")
PREPROCESSED = ("cameras.npz", "poses.npz", "images/image_0002.png", "masks/mask_0002.npy")
FIELDS = [
    *(("raw", "camera.pkl", _in_pickle, name) for name in ("camera_f", "camera_c", "camera_rt", "camera_t", "width")),
    *(("raw", "reconstructed_poses.hdf5", _in_hdf5, name) for name in ("pose", "trans", "betas")),
    ("raw", "masks.hdf5", _in_hdf5, "masks"),
    *(("files", "cameras.npz", _in_npz, name) for name in ("intrinsic", "extrinsic", "height")),
    *(("files", "poses.npz", _in_npz, name) for name in ("thetas", "transl", "betas")),
]
CASES = [("raw", file, kind, None) for file in RAW for kind in BYTES]
CASES += [("files", file, kind, None) for file in PREPROCESSED for kind in BYTES]
CASES += [(layout, file, kind, (change, name)) for layout, file, change, name in FIELDS for kind in VALUES]


@pytest.fixture(autouse=True)
def _one_body(monkeypatch):
    """The body is built once."""
    monkeypatch.setattr(people_snapshot, "load_body", _load_body)


_load_body = lru_cache(people_snapshot.load_body)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    write_raw(folder / "raw" / "one")
    write_preprocessed(folder / "files" / "one")
    return folder


@pytest.mark.parametrize(("layout", "file", "kind", "field"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_subject_ends_in_one_clear_error_or_in_sound_data(tmp_path, sound, layout, file, kind, field):
    folder = tmp_path / "one"
    shutil.copytree(sound / layout / "one", folder)
    if field is None:
        BYTES[kind](folder / file)
    else:
        change, name = field
        change(folder / file, name, VALUES[kind])
    begun = time.monotonic()
    try:
        scene = read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin", downscale_factor=1))
        pictures = scene.pictures.load(scene.recording.splits["train"])
        assert pictures[..., 3].float().mean() > 1
        assert scene.person.motion.transl.isfinite().all() and scene.intrinsics.isfinite().all()
        assert scene.camera_to_worlds.isfinite().all() and (scene.intrinsics[:, :2] > 0).all()
    except UserError as error:
        assert len(str(error)) > 20
    assert time.monotonic() - begun < SLOWEST


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.npy"])
def test_a_damaged_picture_or_mask_ends_in_one_clear_error_or_in_pixels(tmp_path, kind, name):
    values = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    if name == "a.npy":
        np.save(tmp_path / name, values[..., 0])
    else:
        cv2.imwrite(str(tmp_path / name), values)
    BYTES[kind](tmp_path / name)
    try:
        found = read_mask(tmp_path / name) if name == "a.npy" else read_picture(tmp_path / name).rgb
        assert found.dtype == np.uint8 and found.ndim >= 2
    except UserError as error:
        assert name in str(error)


SPLITS = {
    "a list": [1, 2],
    "null": None,
    "no train": {"val": [0], "test": [0]},
    "text": {"train": "0:3", "val": [0], "test": [0]},
    "negative": {"train": [-1], "val": [0], "test": [0]},
    "truth": {"train": [True], "val": [0], "test": [0]},
    "fractions": {"train": [0.5], "val": [0], "test": [0]},
    "a number": {"train": 3, "val": [0], "test": [0]},
    "a child": {"train": [0, 1], "val": [2], "test": [2], "gender": "child"},
    "nothing": {"train": [], "val": [], "test": []},
}


@pytest.mark.parametrize("kind", SPLITS)
def test_splits_that_are_none_are_refused(tmp_path, kind):
    folder = write_preprocessed(tmp_path / "one")
    (folder / "splits.json").write_text(json.dumps(SPLITS[kind]))
    with pytest.raises(UserError):
        read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))
