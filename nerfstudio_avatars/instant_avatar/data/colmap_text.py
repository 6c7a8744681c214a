"""Reads COLMAP's cameras.txt and images.txt: calibrated views of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.media.picture_files import by_number

_PARAMETERS = {"SIMPLE_PINHOLE": (0, 0, 1, 2), "PINHOLE": (0, 1, 2, 3)}
"""Places of fx, fy, cx and cy among the parameters of each camera model."""
_POSE = 10
"""Number of words in the line of an image: id, quaternion, translation, camera, name."""


@dataclass(frozen=True)
class ColmapView:
    """A picture and its camera, in COLMAP's own world and scale."""

    name: str
    intrinsic: Float[np.ndarray, "3 3"]
    """Camera matrix in OpenCV's convention: the centre of the first pixel is (0, 0)."""
    extrinsic: Float[np.ndarray, "4 4"]
    """Transform from world to camera."""
    height: int
    width: int


def read_colmap_text(folder: Path, fix: str) -> list[ColmapView]:
    """Reads the views of a reconstruction, sorted by the numbers in their names.

    Raises:
        DataError: if files are missing or damaged, a lens distorts, or pictures have several sizes.
    """
    if not (folder / "cameras.txt").exists() and (folder / "cameras.bin").exists():
        fix = f"colmap model_converter --input_path {folder} --output_path {folder} --output_type TXT"
        raise DataError(folder, "COLMAP's binary files", "its text files, cameras.txt and images.txt", fix)
    cameras = {}
    for words in _lines(folder / "cameras.txt", fix):
        cameras[words[0]] = _camera(folder / "cameras.txt", words, fix)
    views = []
    for words in _lines(folder / "images.txt", fix):
        # Every other line lists points, whose last word is a number; those of pictures end in a file's name.
        if len(words) < _POSE or _is_number(words[_POSE - 1]):
            continue
        views.append(_view(folder / "images.txt", words, cameras, fix))
    if not views:
        raise DataError(folder / "images.txt", "no pictures", "a line for each", fix)
    sizes = {(view.width, view.height) for view in views}
    if len(sizes) > 1:
        raise DataError(folder / "cameras.txt", f"pictures of {len(sizes)} sizes", "one", fix)
    return sorted(views, key=lambda view: by_number(view.name))


def _camera(path: Path, words: list[str], fix: str) -> tuple[Float[np.ndarray, "3 3"], int, int]:
    try:
        model, (width, height) = words[1], (int(word) for word in words[2:4])
        if model not in _PARAMETERS:
            undistort = "run `colmap image_undistorter`, which writes pictures and cameras without distortion"
            raise DataError(path, f"the camera model {model}", " or ".join(_PARAMETERS), undistort)
        numbers = [float(word) for word in words[4:]]
        fx, fy, cx, cy = (numbers[place] for place in _PARAMETERS[model])
    except (ValueError, IndexError) as error:
        raise DataError(path, f"the line {' '.join(words)[:60]!r}", "id, model, size, parameters", fix) from error
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1.0]]), height, width


def _view(path: Path, words: list[str], cameras: dict, fix: str) -> ColmapView:
    try:
        w, x, y, z, *shift = (float(word) for word in words[1:8])
        intrinsic, height, width = cameras[words[8]]
        extrinsic = np.eye(4)
        extrinsic[:3, :3], extrinsic[:3, 3] = Rotation.from_quat([x, y, z, w]).as_matrix(), shift
    except (ValueError, KeyError) as error:
        found = f"the line {' '.join(words)[:60]!r} ({type(error).__name__}: {error})"
        raise DataError(path, found, "id, quaternion, translation, camera, name", fix) from error
    return ColmapView(" ".join(words[_POSE - 1 :]), intrinsic, extrinsic, height, width)


def _lines(path: Path, fix: str) -> list[list[str]]:
    text = read_bytes(path, "COLMAP's text file", fix).decode("utf8", "replace")
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
