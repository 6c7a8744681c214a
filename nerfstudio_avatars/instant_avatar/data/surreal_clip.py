"""A clip of SURREAL as distributed: <sequence>_c%04d.mp4, _info.mat, _segm.mat, _depth.mat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import regular_file
from nerfstudio_avatars.media.video_file import VideoFile
from nerfstudio_avatars.media.video_index import probe_video

COPY_AGAIN = "copy the clip's files again from the distribution"
INFO = "_info.mat"
_NEEDED = ("pose", "shape", "gender", "zrot", "joints2D", "joints3D", "camLoc")
_MOST_ENTRIES = 10_000_000
"""Of one array: a picture of 3000x3000, or poses of a hundred thousand frames."""
_LARGEST = 1e5
"""No angle, length or place in a picture is larger."""
PARTS = 24
_LARGEST_SPREAD = 1e-3
"""Largest spread of betas in a clip, which shows one person."""


@dataclass(frozen=True)
class SurrealClip:
    """Everything but the pictures, in SURREAL's world and pixels."""

    info: Path
    pose: Float[np.ndarray, "frames 72"]
    shape: Float[np.ndarray, "10"]
    gender: str
    zrot: Float[np.ndarray, " frames"]
    joints2d: Float[np.ndarray, "frames 24 2"]
    joints3d: Float[np.ndarray, "frames 24 3"]
    camera_location: Float[np.ndarray, "3"]
    cloth: str
    """Name of the texture picture, without folders."""
    body: str
    """`standin` if this package drew the clip, otherwise empty."""
    height: int
    width: int
    fps: float

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def name(self) -> str:
        """`<sequence>_c%04d`."""
        return self.info.name.removesuffix(INFO)

    def beside(self, ending: str) -> Path:
        """Another file of the clip, given by what follows the name of the clip."""
        return self.info.with_name(self.name + ending)

    def shows_the_person_of(self, other: SurrealClip) -> bool:
        """Whether body and clothes are the same. Clips of one sequence are usually different people."""
        alike = self.gender == other.gender and self.cloth == other.cloth and self.body == other.body
        return alike and np.allclose(self.shape, other.shape, atol=_LARGEST_SPREAD)

    def layers(self, kind: str, frames: Sequence[int]) -> list[np.ndarray]:
        """`segm` (0 or a body part from 1 to 24) or `depth` (metres) of some frames, mirrored as the video is."""
        path = self.beside(f"_{kind}.mat")
        names = [f"{kind}_{frame + 1}" for frame in frames]
        found = _load(path, names)
        missing = [name for name in names if name not in found]
        if missing:
            expected = f"{kind}_1 ... {kind}_{len(self)}: one per pose in {self.info.name}"
            raise DataError(path, f"no {missing[0]}", expected, COPY_AGAIN)
        for name in names:
            if found[name].shape != (self.height, self.width) or found[name].dtype.kind not in "uif":
                expected = f"numbers of shape ({self.height}, {self.width}), as the video"
                raise DataError(path, f"{name} of shape {found[name].shape}", expected, COPY_AGAIN)
            if kind == "segm" and not ((found[name] >= 0) & (found[name] <= PARTS)).all():
                raise DataError(path, f"{name} with other labels", f"0, or a part from 1 to {PARTS}", COPY_AGAIN)
        return [found[name] for name in names]


def read_clip(info: Path) -> SurrealClip:
    """Reads and checks the `_info.mat` of a clip; arrays of a single frame may lack their last axis.

    Raises:
        DataError: a file is missing or damaged, or an array has the wrong shape.
    """
    fields = _load(info, [*_NEEDED, "cloth", "body"])
    missing = [name for name in _NEEDED if name not in fields]
    if missing:
        raise DataError(info, f"no {', '.join(missing)}", f"the fields {', '.join(_NEEDED)}", COPY_AGAIN)
    count = fields["pose"].shape[-1] if fields["pose"].ndim == 2 and len(fields["pose"]) == 72 else 1
    arrays = {
        name: _frames_first(info, name, fields[name], head, count)
        for name, head in (("pose", (72,)), ("shape", (10,)), ("joints2D", (2, 24)), ("joints3D", (3, 24)))
    }
    zrot, gender = (_per_frame(info, name, fields[name], count) for name in ("zrot", "gender"))
    if not np.isin(gender, (0, 1)).all():
        raise DataError(info, f"gender {gender[0]:g}", "0 for female, 1 for male", COPY_AGAIN)
    if fields["camLoc"].size != 3:
        raise DataError(info, f"camLoc of shape {fields['camLoc'].shape}", "(3, 1), metres", COPY_AGAIN)
    if np.ptp(arrays["shape"], axis=0).max() > _LARGEST_SPREAD or np.ptp(gender) > 0:
        raise DataError(info, "shape or gender changes within the clip", "one person a clip", "split the clip")
    path = info.with_name(info.name.removesuffix(INFO) + ".mp4")
    video, (height, width) = probe_video(path, COPY_AGAIN), VideoFile(path, COPY_AGAIN).size()
    if video.frames < count:
        found, expected = f"a video of {video.frames} frames", f"{count}, one per column of pose"
        raise DataError(info, found, expected, COPY_AGAIN)
    return SurrealClip(
        info=info,
        pose=arrays["pose"],
        shape=arrays["shape"][0],
        gender="male" if gender[0] == 1 else "female",
        zrot=zrot,
        joints2d=arrays["joints2D"].swapaxes(1, 2),
        joints3d=arrays["joints3D"].swapaxes(1, 2),
        camera_location=_numbers(info, "camLoc", fields["camLoc"]).ravel(),
        cloth=_first_text(fields.get("cloth")).replace("\\", "/").split("/")[-1],
        body="standin" if _first_text(fields.get("body")) == "standin" else "",
        height=height,
        width=width,
        fps=video.fps,
    )


def _load(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Reads the arrays in a MATLAB 5 file. Such files hold no code, and nothing they name is called."""
    import scipy.io

    regular_file(path, "mp4, _info.mat and _segm.mat of one clip, side by side", COPY_AGAIN)
    try:
        for name, shape, _ in scipy.io.whosmat(path):
            if name in names and math.prod(map(int, shape)) > _MOST_ENTRIES:
                raise ValueError(f"{name} of shape {shape}: the limit is {_MOST_ENTRIES / 1e6:.0f} million numbers")
        return {key: np.asarray(value) for key, value in scipy.io.loadmat(path, variable_names=names).items()}
    except NotImplementedError as error:
        fix = "save it again in MATLAB with save(..., '-v7'), or in Python with scipy.io.savemat"
        raise DataError(path, "a MATLAB 7.3 file", "MATLAB 5 to 7, as distributed", fix) from error
    except Exception as error:  # scipy raises what its decoder stumbles over, from zlib.error to UnboundLocalError
        found = f"{type(error).__name__}: {error}"
        raise DataError(path, found, "a whole MATLAB file", COPY_AGAIN) from error


def _frames_first(info: Path, name: str, value: np.ndarray, head: tuple[int, ...], count: int) -> np.ndarray:
    numbers = _numbers(info, name, value)
    if count == 1 and numbers.size == np.prod(head) and numbers.shape[: len(head)] in (head, (1, *head)[: len(head)]):
        return numbers.reshape(1, *head)
    if numbers.shape != (*head, count):
        expected = "({}, {}): the last axis counts the frames of pose".format(", ".join(map(str, head)), count)
        raise DataError(info, f"{name} of shape {value.shape}", expected, COPY_AGAIN)
    return np.moveaxis(numbers, -1, 0)


def _per_frame(info: Path, name: str, value: np.ndarray, count: int) -> np.ndarray:
    if value.size != count:
        raise DataError(info, f"{name} of shape {value.shape}", f"({count}, 1), one per frame of pose", COPY_AGAIN)
    return _numbers(info, name, value).ravel()


def _numbers(info: Path, name: str, value: np.ndarray) -> np.ndarray:
    if value.dtype.kind not in "uif" or not np.isfinite(value).all():
        found = f"{name} of type {value.dtype}" if value.dtype.kind not in "uif" else f"NaN or infinity in {name}"
        raise DataError(info, found, "finite numbers", COPY_AGAIN)
    if np.abs(value).max(initial=0) > _LARGEST:
        raise DataError(info, f"{name} up to {np.abs(value).max():.3g}", "radians, metres and pixels", COPY_AGAIN)
    return value.astype(np.float64)


def _first_text(value: Any) -> str:
    while isinstance(value, np.ndarray) and value.size:
        value = value.ravel()[0]
    return str(value) if isinstance(value, str) else ""
