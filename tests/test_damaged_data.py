"""Every file that data are read from, damaged in every way: one clear error, or data that are sound. No training."""

import json
import pickle
import shutil
from functools import lru_cache

import cv2
import h5py
import numpy as np
import pytest
from damage import BYTES, SHORT, VALUES, bounded, change_npz, told
from neuman_folders import write_neuman
from snapshot_folders import write_preprocessed, write_raw

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data import people_snapshot
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig, read_scene
from nerfstudio_avatars.media.mask_files import read_mask
from nerfstudio_avatars.media.picture_files import read_picture

pytestmark = pytest.mark.slow


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
    *(("files", "cameras.npz", change_npz, name) for name in ("intrinsic", "extrinsic", "height")),
    *(("files", "poses.npz", change_npz, name) for name in ("thetas", "transl", "betas")),
]
NEUMAN = (
    "alignments.npy", "smpl_output_optimized.pkl", "sparse/cameras.txt", "sparse/images.txt", "images/00003.png",
    "segmentations/00003.png", "train_split.txt",
)  # fmt: skip
CASES = [("raw", file, kind, None) for file in RAW for kind in BYTES]
CASES += [("files", file, kind, None) for file in PREPROCESSED for kind in BYTES]
CASES += [("neuman", file, kind, None) for file in NEUMAN for kind in SHORT]
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
    write_neuman(folder / "neuman" / "one")
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
    try:
        with bounded():
            scene = read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin", downscale_factor=1))
            pictures = scene.pictures.load(scene.recording.splits["train"])
    except UserError as error:
        told(error)
        return
    assert pictures[..., 3].float().mean() > 1
    assert scene.person.motion.transl.isfinite().all() and scene.intrinsics.isfinite().all()
    assert scene.camera_to_worlds.isfinite().all() and (scene.intrinsics[:, :2] > 0).all()
    # Betas of no numbers are no betas.
    senseless = kind in ("NaN", "infinity", "text", "complex") and field is not None and field[1] != "betas"
    assert not senseless, "nonsense was taken"


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
        with bounded():
            found = read_mask(tmp_path / name) if name == "a.npy" else read_picture(tmp_path / name).rgb
        assert found.dtype == np.uint8 and found.ndim >= 2
    except UserError as error:
        assert name in told(error)


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
    "one frame a million times": {"train": [0] * 1_000_000, "val": [0], "test": [0]},
    "a frame beyond all bounds": {"train": [10**400], "val": [0], "test": [0]},
}


@pytest.mark.parametrize("kind", SPLITS)
def test_splits_that_are_none_are_refused(tmp_path, kind):
    folder = write_preprocessed(tmp_path / "one")
    (folder / "splits.json").write_text(json.dumps(SPLITS[kind]))
    with pytest.raises(UserError):
        read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))
