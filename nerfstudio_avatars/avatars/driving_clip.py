"""The motion of a clip: poses of the parts, frame by frame, and the files that hold them.

A file of curves is an .npz archive or a .json object with the same names:

| name               | shape              | what                                                               |
|--------------------|--------------------|--------------------------------------------------------------------|
| `format`           | text               | `nerfstudio-avatars part motion 1`                                 |
| `network`          | text               | fingerprint of the network that the parts belong to                |
| `fps`              | number             | frames per second                                                  |
| `rotation`         | (frames, parts, 4) | unit quaternion (x, y, z, w) of each part                          |
| `translation`      | (frames, parts, 3) | of each part: x_posed = R x_canonical + t                          |
| `root_rotation`    | (frames, 4)        | of the whole object: the mean of the parts, for other programs     |
| `root_translation` | (frames, 3)        | likewise                                                           |

Axes are x right, y down, z away from the camera; the unit is half a picture, and 0 its middle.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.errors import DataError, UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

CURVES = (".npz", ".json")
"""Endings of files of curves."""
_FORMAT = "nerfstudio-avatars part motion 1"
_EXPECTED = "part curves that `ns-avatar drive --save-motion` wrote"
_FIX = "write them again: ns-avatar drive --save-motion"
_MOST_BYTES = 1 << 28
_MOST_FRAMES, _FARTHEST, _TOLERANCE = 1_000_000, 1e3, 1e-3
"""Frames, half pictures, and deviation of a quaternion's length from 1, beyond which a file is refused."""


@dataclass(frozen=True)
class DrivingClip:
    """The motion of a clip."""

    poses: list[PartPoses]
    """(1, parts) of each frame."""
    fps: float
    """Frames per second."""

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, frame: int) -> PartPoses:
        return self.poses[frame]

    def joined(self) -> PartPoses:
        """All frames (frames, parts), on the CPU."""
        import torch

        from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

        every = [pose.to("cpu") for pose in self.poses]
        return PartPoses(torch.cat([pose.rotation for pose in every]), torch.cat([pose.translation for pose in every]))


def check_curves(path: Path) -> None:
    """Refuses a name that tells no format, and a place that cannot be written to.

    Raises:
        UserError: with what is expected.
    """
    from nerfstudio_avatars.files import check_file

    if path.suffix.lower() not in CURVES:
        raise UserError(f"--save-motion {path}: expected a file name that ends in {' or '.join(CURVES)}.")
    check_file(path, "--save-motion")


def save_curves(clip: DrivingClip, model: UnsupVolanimModel, path: Path) -> None:
    """Writes the curves of a motion.

    Args:
        clip: the motion.
        model: whose parts move.
        path: the file, .npz or .json.
    """
    import numpy as np

    from nerfstudio_avatars.files import write_json, write_npz
    from nerfstudio_avatars.unsup_volanim.root_pose import part_places

    poses = clip.joined()
    root = part_places(model.network).root(poses)
    arrays = {
        "rotation": _quaternions(poses.rotation),
        "translation": poses.translation.numpy(),
        "root_rotation": _quaternions(root.rotation[:, 0]),
        "root_translation": root.translation[:, 0].numpy(),
    }
    about = {"format": _FORMAT, "network": model.network.fingerprint(), "fps": float(clip.fps)}
    if path.suffix.lower() == ".json":
        write_json(path, about | {name: array.tolist() for name, array in arrays.items()})
    else:
        write_npz(path, **{name: np.array(value) for name, value in about.items()}, **arrays)


def _quaternions(rotation: Tensor) -> np.ndarray:
    from nerfstudio_avatars.bodies.rotations import axis_angle_to_quaternion, matrix_to_axis_angle

    return axis_angle_to_quaternion(matrix_to_axis_angle(rotation)).roll(-1, -1).numpy()


def load_curves(path: Path, model: UnsupVolanimModel, seconds: float | None = None) -> DrivingClip:
    """Reads the curves of a motion; those of the root are for other programs, and not read.

    Args:
        path: a file of `save_curves`.
        model: whose parts are to move.
        seconds: the length to read from its start; by default all.

    Raises:
        DataError: no such file, or the parts are those of another network.
    """
    import torch

    from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix, quaternion_to_axis_angle
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

    kind, network, fps, rotation, translation = _read(path)
    if kind != _FORMAT:
        raise DataError(path, f"the format {kind!r:.60}", f"{_EXPECTED} ({_FORMAT!r})", _FIX)
    parts = model.network.parts
    shapes = rotation.shape, translation.shape
    if rotation.ndim != 3 or shapes != ((len(rotation), parts, 4), (len(rotation), parts, 3)) or not len(rotation):
        found = f"rotations of shape {shapes[0]} and translations of shape {shapes[1]}"
        raise DataError(path, found, f"(frames, {parts}, 4) and (frames, {parts}, 3), as the run's parts are", _FIX)
    turns, shifts = torch.from_numpy(rotation), torch.from_numpy(translation)
    whole = bool(turns.isfinite().all() and shifts.isfinite().all()) and len(turns) <= _MOST_FRAMES
    if not whole or bool((turns.norm(dim=-1) - 1).abs().max() > _TOLERANCE) or bool(shifts.abs().max() > _FARTHEST):
        raise DataError(path, "rotations that are no unit quaternions, or numbers beyond all pictures", _EXPECTED, _FIX)
    if not (isinstance(fps, float) and 0 < fps < math.inf):
        raise DataError(path, f"{fps!r:.40} frames per second", "a number above zero", _FIX)
    if network != model.network.fingerprint():
        raise DataError(path, "curves of another run, or of this run before it was trained further", _EXPECTED, _FIX)
    count = len(turns) if seconds is None else min(len(turns), max(1, round(seconds * fps)))
    matrices = axis_angle_to_matrix(quaternion_to_axis_angle(turns[:count].roll(1, -1)))
    every = PartPoses(matrices, shifts[:count]).to(model.device)
    return DrivingClip([every[frame : frame + 1] for frame in range(count)], fps)


def _read(path: Path) -> tuple[Any, Any, Any, np.ndarray, np.ndarray]:
    """Format, network, frame rate, rotations and translations, as they stand there."""
    import numpy as np

    try:
        content: Callable[[str], Any] = _json(path) if path.suffix.lower() == ".json" else _npz(path)
        arrays = [np.array(content(name), np.float32) for name in ("rotation", "translation")]
        texts = [content(name) for name in ("format", "network")]
        return str(texts[0]), str(texts[1]), float(content("fps")), arrays[0], arrays[1]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, zipfile.BadZipFile) as error:
        raise DataError(path, f"{type(error).__name__}: {str(error)[:200]}", _EXPECTED, _FIX) from error


def _json(path: Path) -> Callable[[str], Any]:
    from nerfstudio_avatars.files import read_bytes

    content = json.loads(read_bytes(path, _EXPECTED, _FIX, _MOST_BYTES))
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}")
    return content.__getitem__


def _npz(path: Path) -> Callable[[str], Any]:
    from nerfstudio_avatars.media.npz_file import open_npz

    with open_npz(path, _EXPECTED, _FIX, _MOST_BYTES) as file:
        names = ("format", "network", "fps", "rotation", "translation")
        return {name: file[name] for name in names}.__getitem__
