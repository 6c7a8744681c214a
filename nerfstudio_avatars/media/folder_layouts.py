"""Recognises folders of other programs and data sets by the names in them, and says what to do with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_OWN = "ns-avatar process VIDEO --output FOLDER makes a subject of a video of one person who turns around"


def name_layout(folder: Path) -> tuple[str, str] | None:
    """What a folder is, and what to do with it; None if it is not recognised.

    Folders that this package can train on are included, in case they are given to the wrong reader.
    """
    if not folder.is_dir():
        return None
    names = {path.name.lower() for path in folder.iterdir()}
    return next(((what, way) for has, what, way in _KINDS if has(names)), None)


def _all(*wanted: str) -> Callable[[set[str]], bool]:
    return lambda names: set(wanted) <= names


def _any(*wanted: str) -> Callable[[set[str]], bool]:
    return lambda names: bool(set(wanted) & names)


def _ends(*endings: str) -> Callable[[set[str]], bool]:
    return lambda names: any(name.endswith(endings) for name in names)


_ONE = "take one camera's video: " + _OWN
_SUBJECT = "give it to the dataparser people-snapshot"
_KINDS: tuple[tuple[Callable[[set[str]], bool], str, str], ...] = (
    (_any("camera.pkl", "reconstructed_poses.hdf5"), "a subject of PeopleSnapshot", _SUBJECT),
    (_all("images", "cameras.npz"), "a subject in InstantAvatar's layout", _SUBJECT),
    (_all("sparse", "alignments.npy"), "a scene of NeuMan", _SUBJECT),
    (_all("sparse", "4d_humans"), "a scene of NeuMan, as HUGS has it", _SUBJECT),
    (_ends("_info.mat"), "clips of SURREAL", "give it to the dataparser surreal"),
    (
        _all("images", "segmentations"),
        "a scene of NeuMan without its cameras and poses",
        "add sparse/, alignments.npy and smpl_output_optimized.pkl from the distribution; or: " + _OWN,
    ),
    (
        _any("transforms.json", "transforms_train.json"),
        "a nerfstudio scene (transforms.json): cameras around something still, without a body",
        "train it with nerfacto or splatfacto; for a person who moves: " + _OWN,
    ),
    (
        _any("sparse", "colmap", "cameras.txt", "cameras.bin", "database.db"),
        "a reconstruction by COLMAP: cameras around something still, without a body",
        "run `ns-process-data` and train it with nerfacto; for a person who moves: " + _OWN,
    ),
    (_any("annots.npy", "annots.py"), "a subject of ZJU-MoCap, which has many cameras", _ONE),
    (_any("intri.yml", "extri.yml"), "a recording of EasyMocap, which has many cameras", _ONE),
    (_any("smplx_params_smoothed", "cam_params"), "a subject of ExAvatar or X-Avatar", "give its pictures: " + _OWN),
    (
        _all("images", "masks"),
        "pictures and masks of a subject without cameras.npz and poses.npz",
        "write these two; or: " + _OWN,
    ),
    (
        _all("config.yml", "nerfstudio_models"),
        "a trained run, not data",
        "give it to --load-config, and its data to --data",
    ),
)  # fmt: skip
