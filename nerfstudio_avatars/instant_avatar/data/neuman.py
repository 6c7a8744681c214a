"""NeuMan's layout (Jiang et al. 2022), InstantAvatar's second data set: people walking in front of a moving phone.

`images/`, `segmentations/` (white is the background), `sparse/` (COLMAP's text files), `smpl_output_optimized.pkl`
(poses about the origin) and `alignments.npy` (their places in COLMAP's world, at its own scale); or, instead of these
two, HUGS' `4d_humans/smpl_optimized_aligned_scale.npz`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import compose_axis_angle, matrix_to_axis_angle
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes, regular_file
from nerfstudio_avatars.instant_avatar.data.colmap_text import ColmapView, read_colmap_text
from nerfstudio_avatars.instant_avatar.data.masked_pictures import PictureFiles, find_masked_pictures, recording_of
from nerfstudio_avatars.instant_avatar.data.recorded_cameras import check_cameras
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import SPLITS, Splits
from nerfstudio_avatars.motion.plain_contents import read_contents

COPY_AGAIN = "copy the scene's folder again from the distribution"
POSES = ("smpl_output_optimized.pkl", "smpl_output_romp.pkl")
_ALIGNMENTS = "alignments.npy"
_ALIGNED = Path("4d_humans") / "smpl_optimized_aligned_scale.npz"
_MOST_SPLIT_BYTES = 1 << 22
PelvisOf = Callable[[Float[Tensor, "10"]], Float[Tensor, "3"]]
"""Gives the rest pelvis of a body in metres for its shape; SMPL turns about it."""


def is_neuman(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / "sparse").is_dir() and ((folder / _ALIGNED).is_file() or (folder / _ALIGNMENTS).exists())


def count_neuman_frames(folder: Path) -> int:
    """Number of pictures with a camera and a pose."""
    return len(_frames(folder)[0])


def read_neuman_splits(folder: Path) -> Splits:
    """Reads `train_split.txt` and its siblings, which list names of pictures; empty if one is missing."""
    names = {view.name: frame for frame, view in enumerate(_frames(folder)[0])}
    splits = {}
    for name in SPLITS:
        path = folder / f"{name}_split.txt"
        if not path.exists():
            return {}
        content = read_bytes(path, "names of pictures, one a line", COPY_AGAIN, _MOST_SPLIT_BYTES)
        lines = content.decode("utf8", "replace").split("\n")
        splits[name] = sorted(names[line.strip()] for line in lines if line.strip() in names)
    return splits


def read_neuman(folder: Path, splits: Splits, pelvis_of: PelvisOf) -> Recording:
    """Reads everything but the pictures. The person has one size, in metres; COLMAP's world is scaled to it.

    If the scales of the alignments differ from frame to frame, the person is moved along the rays of the camera, so
    that they appear where NeuMan has them.

    Args:
        folder: the folder of one scene.
        splits: frame ids of each split.
        pelvis_of: the rest pelvis of the body that will be posed.
    """
    views, poses, placed, notes = _frames(folder)
    images, masks, told = find_masked_pictures(folder)
    by_name = {path.name: number for number, path in enumerate(images)}
    missing = [view.name for view in views if view.name not in by_name]
    if missing:
        raise DataError(folder / "images", f"no {missing[0]}", "a picture for every camera in sparse/", COPY_AGAIN)
    order = [by_name[view.name] for view in views]
    if masks is not None:
        masks = {frame: masks[number] for frame, number in enumerate(order) if number in masks}
    height, width = views[0].height, views[0].width
    files = PictureFiles([images[number] for number in order], masks, height, width)
    scale = float(np.median([one.scale for one in placed]))
    extrinsics = np.stack([view.extrinsic for view in views])
    motion = _motion(poses, placed, extrinsics, scale, pelvis_of)
    extrinsics = extrinsics.copy()
    extrinsics[:, :3, 3] /= scale
    intrinsics = np.stack([view.intrinsic for view in views])
    check_cameras(folder / "sparse", intrinsics, extrinsics, height, width, COPY_AGAIN)
    told = tuple(note for note in told if "segmentations" not in note)
    return recording_of(files, folder, motion, intrinsics, extrinsics, splits, (*notes, *told))


class _Placed:
    """The map from posed points x to COLMAP's world: scale * rotation @ x + shift."""

    def __init__(self, path: Path, matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, "3"]) -> None:
        volume = float(np.linalg.det(matrix)) if np.isfinite(matrix).all() and np.isfinite(shift).all() else np.nan
        self.scale, self.shift = np.cbrt(volume), shift
        self.rotation = matrix / self.scale if volume > 0 else matrix
        if not volume > 0 or np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 0.02:
            expected = "a rotation times a scale, and a translation"
            raise DataError(path, f"a matrix of determinant {volume:.3g}", expected, COPY_AGAIN)


def _frames(folder: Path) -> tuple[list[ColmapView], dict[str, np.ndarray], list[_Placed], tuple[str, ...]]:
    """Views that have a pose, in the order of their numbers, with the rows of the poses."""
    views = read_colmap_text(folder / "sparse", COPY_AGAIN)
    if (folder / _ALIGNED).is_file():
        path = regular_file(folder / _ALIGNED)
        fields = {name: _numbers(path, name, value) for name, value in _dict(path, read_contents(path)).items()}
        poses = {"pose": np.concatenate([_of(path, fields, "global_orient", 3), _of(path, fields, "body_pose", 69)], 1)}
        poses["betas"] = np.atleast_2d(_of(path, fields, "betas", 10)).mean(0)
        scales, shifts = _of(path, fields, "scale", 1)[:, 0], _of(path, fields, "transl", 3)
        count = min(len(views), len(poses["pose"]), len(scales), len(shifts))
        placed = [_Placed(path, np.eye(3) * scales[row], shifts[row]) for row in range(count)]
        numbers = list(range(count))
    else:
        poses = _smpl_output(folder)
        path = regular_file(folder / _ALIGNMENTS, "a matrix (4,3) for every picture", COPY_AGAIN)
        alignments = _dict(path, read_contents(path))
        numbers, kept, placed = [], [], []
        for place, view in enumerate(views):
            digits = "".join(letter for letter in Path(view.name).stem if letter.isdigit())
            number = int(digits) if digits else place
            if view.name in alignments and number < len(poses["pose"]):
                matrix = _numbers(path, view.name, alignments[view.name])
                if matrix.shape != (4, 3):
                    raise DataError(path, f"{view.name} of shape {matrix.shape}", "(4, 3)", COPY_AGAIN)
                numbers.append(number)
                kept.append(view)
                placed.append(_Placed(path, matrix[:3].T, matrix[3]))
        views, total = kept, len(views)
        if not kept:
            raise DataError(path, "none of the pictures that sparse/ has", "the scene's own alignments", COPY_AGAIN)
        count = len(kept)
        if count < total:
            told: tuple[str, ...] = (f"{total} cameras, {count} of them with a pose and an alignment: these are used",)
            return views, {"pose": poses["pose"][numbers], "betas": poses["betas"]}, placed, told
    if not count:
        raise DataError(path, "no frames", "a pose for every picture", COPY_AGAIN)
    told = () if count == len(views) else (f"{len(views)} cameras and {len(placed)} poses: the first {count} are used",)
    return views[:count], {"pose": poses["pose"][numbers], "betas": poses["betas"]}, placed, told


def _smpl_output(folder: Path) -> dict[str, np.ndarray]:
    path = next((folder / name for name in POSES if (folder / name).exists()), folder / POSES[0])
    regular_file(path, "poses of one person, as NeuMan has them", COPY_AGAIN)
    persons = _dict(path, read_contents(path))
    if len(persons) != 1:
        raise DataError(path, f"{len(persons)} persons", "one", COPY_AGAIN)
    person = {name: _numbers(path, name, value) for name, value in _dict(path, next(iter(persons.values()))).items()}
    return {"pose": _of(path, person, "pose", 72), "betas": np.atleast_2d(_of(path, person, "betas", 10)).mean(0)}


def _motion(
    poses: dict[str, np.ndarray],
    placed: list[_Placed],
    extrinsics: Float[np.ndarray, "frames 4 4"],
    scale: float,
    pelvis_of: PelvisOf,
) -> BodySequence:
    betas = torch.from_numpy(poses["betas"]).float()
    pelvis = pelvis_of(betas).detach().double().numpy()
    transl, turns = [], []
    for one, extrinsic in zip(placed, extrinsics, strict=True):
        turn, away = extrinsic[:3, :3], extrinsic[:3, 3]
        # First in front of the camera, at the person's own scale, then in the world at the common scale.
        seen = (turn @ one.shift + away) / one.scale
        shift = turn.T @ (seen - away / scale)
        transl.append(one.rotation @ pelvis - pelvis + shift)
        turns.append(one.rotation)
    pose = torch.from_numpy(poses["pose"]).float()
    turned = matrix_to_axis_angle(torch.from_numpy(np.stack(turns)).float())
    return BodySequence(
        betas=betas,
        global_orient=compose_axis_angle(turned, pose[:, :3]),
        body_pose=pose[:, 3:],
        transl=torch.from_numpy(np.stack(transl)).float(),
        body="smpl",
    )


def _dict(path: Path, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict) or not value:
        raise DataError(path, f"a {type(value).__name__}", "a dict, as NeuMan has it", COPY_AGAIN)
    return value


def _numbers(path: Path, name: Any, value: Any) -> np.ndarray:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(path, f"{name}: {error}", "numbers", COPY_AGAIN) from error
    if not np.isfinite(numbers).all():
        raise DataError(path, f"{name} with NaN or infinity", "finite numbers", COPY_AGAIN)
    return numbers


def _of(path: Path, fields: dict[Any, np.ndarray], name: str, width: int) -> Float[np.ndarray, "frames width"]:
    value = fields.get(name)
    if value is None or not value.size or value.size % width or (value.ndim > 1 and value[0].size % width):
        found = f"no {name}" if value is None else f"{name} of shape {value.shape}"
        raise DataError(path, found, f"{width} numbers a frame", COPY_AGAIN)
    return value.reshape(-1, width)
