"""InstantAvatar's preprocessed layout: cameras.npz, images/, masks/, poses.npz, poses/{anim_nerf_,}{split}.npz."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import slerp_axis_angle
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import SPLITS, Splits
from nerfstudio_avatars.media.mask_files import read_mask
from nerfstudio_avatars.media.picture_files import by_number, read_values
from nerfstudio_avatars.motion.npz import read_npz

PICTURES = (".png", ".jpg", ".jpeg")
MASKS = (".npy", *PICTURES)
MATRIX_STACK = 3
"""Dimensions of one matrix per frame."""


def is_preprocessed(folder: Path) -> bool:
    """Whether a folder is laid out this way."""
    return (folder / "cameras.npz").is_file()


def count_frames(folder: Path) -> int:
    """Pictures of the sequence."""
    return len(_listed(folder / "images", PICTURES))


def read_preprocessed(folder: Path, splits: Splits) -> Recording:
    """Reads everything but the pictures.

    Args:
        folder: of one subject.
        splits: frame ids of each split; rows of the per-split pose files belong to them in this order.
    """
    images, masks = _listed(folder / "images", PICTURES), _listed(folder / "masks", MASKS)
    if len(images) != len(masks):
        fix = "write one mask per picture, in the same order"
        raise DataError(folder / "masks", f"{len(masks)} masks", f"{len(images)}, as many as in images/", fix)
    _check_pairs(images, masks)
    intrinsics, extrinsics, height, width = read_cameras(folder / "cameras.npz", len(images), images[0])
    motion = _motion(folder, splits, len(images))
    return Recording(
        folder=folder,
        subject=folder.name,
        motion=motion,
        intrinsics=intrinsics,
        extrinsics=extrinsics,
        height=height,
        width=width,
        splits=splits,
        read=PictureFiles(images, masks, height, width),
    )


def read_cameras(
    path: Path, count: int, first_picture: Path
) -> tuple[Float[np.ndarray, "frames 3 3"], Float[np.ndarray, "frames 4 4"], int, int]:
    """One still camera or one per frame."""
    fix = "write intrinsic (3,3) and extrinsic (4,4), or one of each per frame"
    try:
        with np.load(path, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
        intrinsic, extrinsic = (np.asarray(fields[name], np.float64) for name in ("intrinsic", "extrinsic"))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "an npz with intrinsic and extrinsic", fix) from error
    stacked = []
    for name, value, side in (("intrinsic", intrinsic, 3), ("extrinsic", extrinsic, 4)):
        every = value if value.ndim == MATRIX_STACK else value[None]
        if every.shape[1:] != (side, side) or len(every) not in (1, count) or not np.isfinite(every).all():
            expected = f"finite ({side},{side}) or ({count},{side},{side})"
            raise DataError(path, f"{name} of shape {value.shape}", expected, fix)
        stacked.append(np.broadcast_to(every, (count, side, side)))
    picture = read_8_bit(first_picture)
    height, width = (int(fields.get(name, picture.shape[i])) for i, name in enumerate(("height", "width")))
    return stacked[0], stacked[1], height, width


def _listed(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files by name; numbers in names count as numbers: 9.png comes before 10.png."""
    listed = folder.iterdir() if folder.is_dir() else ()
    files = [path for path in listed if path.suffix.lower() in suffixes and path.name[0] != "."]
    if not files:
        found = "no such folder" if not folder.is_dir() else f"no {', '.join(suffixes)} in it"
        raise DataError(folder, found, "one file per frame, sorted by name", f"write them to {folder}")
    return sorted(files, key=lambda path: by_number(path.name))


def _check_pairs(images: list[Path], masks: list[Path]) -> None:
    """Refuses masks whose numbers are not their pictures': one missing and another too many shift all between."""
    of_images, of_masks = _numberings(images), _numberings(masks)
    if not of_images or not of_masks or any(numbers in of_masks for numbers in of_images):
        return
    place = next(i for i, (a, b) in enumerate(zip(of_images[-1], of_masks[-1], strict=True)) if a != b)
    found = f"{masks[place].name} in the place of the mask of {images[place].name}, the first that does not fit"
    fix = "add the mask that is missing, remove the one too many, or give each mask its picture's number"
    raise DataError(masks[place].parent, found, "masks that bear the numbers of their pictures", fix)


def _numberings(files: list[Path]) -> list[list[int]]:
    """Numbers in the names by which the files can be told apart; none where names are not alike."""
    of_file = [[int(number) for number in re.findall(r"\d+", path.stem)] for path in files]
    if len({len(numbers) for numbers in of_file}) > 1:
        return []
    columns = [list(column) for column in zip(*of_file, strict=True)]
    return [column for column in columns if len(set(column)) == len(files) > 1]


def _motion(folder: Path, splits: Splits, count: int) -> BodySequence:
    # One person has one shape: the training file's. The test file's own betas, where they differ, are not used.
    whole = folder / "poses.npz"
    parts = {name: _first_file(folder / "poses", name) for name in SPLITS}
    refined = {name: read_npz(path) for name, path in parts.items() if path is not None}
    for name, sequence in refined.items():
        if len(sequence) != len(splits[name]):
            fix = f"give the frames that the file belongs to, --{name} start:end:step"
            raise DataError(str(parts[name]), f"{len(sequence)} poses", f"{len(splits[name])}, the {name} frames", fix)
    if "train" not in refined:
        motion = read_npz(whole)
        if len(motion) != count:
            fix = "write one pose per picture, or remove the pictures without a pose"
            raise DataError(whole, f"{len(motion)} poses", f"{count}, as many as pictures in images/", fix)
        return motion
    motion = read_npz(whole) if whole.is_file() else refined["train"]
    rows: dict[int, torch.Tensor] = {}
    for name in ("test", "val", "train"):
        if name in refined:
            rows.update(zip(splits[name], _rows(refined[name]), strict=True))
    frames = _filled(rows, count)
    return replace(
        motion,
        betas=refined["train"].betas,
        global_orient=frames[:, :3],
        body_pose=frames[:, 3:72],
        transl=frames[:, 72:],
    )


def _first_file(folder: Path, split: str) -> Path | None:
    return next((path for prefix in ("anim_nerf_", "") if (path := folder / f"{prefix}{split}.npz").is_file()), None)


def _rows(sequence: BodySequence) -> torch.Tensor:
    return torch.cat([sequence.global_orient, sequence.body_pose, sequence.transl], 1)


def _filled(rows: dict[int, torch.Tensor], count: int) -> torch.Tensor:
    """Poses of all frames: refined where there are, interpolated between. Raw poses beside refined ones would jump."""
    known = sorted(rows)
    filled = []
    for frame in range(count):
        after = next((other for other in known if other >= frame), known[-1])
        before = next((other for other in reversed(known) if other <= frame), known[0])
        share = (frame - before) / (after - before) if after > before else 0.0
        a, b = rows[before], rows[after]
        pose = slerp_axis_angle(a[:72].view(-1, 3), b[:72].view(-1, 3), share).flatten()
        filled.append(torch.cat([pose, torch.lerp(a[72:], b[72:], share)]))
    return torch.stack(filled)


def read_8_bit(path: Path) -> np.ndarray:
    """A picture as cv2 has it (BGR or BGRA, uint8), turned upright."""
    picture = read_values(path)
    if picture.dtype != np.uint8:
        found = "something that is no 8-bit picture"
        raise DataError(path, found, "a PNG or JPEG picture", "write the picture again")
    return picture


def check_size(path: Path, picture: np.ndarray, height: int, width: int) -> None:
    """Refuses a picture or mask of another size than the camera's."""
    if picture.shape[:2] != (height, width):
        fix = "write pictures, masks and cameras at one resolution"
        raise DataError(path, f"{picture.shape[1]}x{picture.shape[0]} pixels", f"{width}x{height}", fix)


def rgba_picture(path: Path, height: int, width: int) -> MaskedFrame:
    """An exact RGBA file."""
    picture = read_8_bit(path)
    if picture.ndim != MATRIX_STACK or picture.shape[2] != 4:  # noqa: PLR2004
        raise DataError(path, f"an array of shape {picture.shape}", "RGBA", "write colour and mask in one PNG")
    check_size(path, picture, height, width)
    return MaskedFrame(np.ascontiguousarray(picture[..., 2::-1]), np.ascontiguousarray(picture[..., 3]), clean=True)


@dataclass(frozen=True)
class PictureFiles:
    """Pictures and masks as files, one each per frame."""

    images: list[Path]
    masks: list[Path]
    height: int
    width: int

    def __call__(self, frames: Sequence[int]) -> Iterator[MaskedFrame]:
        """One at a time."""
        for frame in frames:
            image, mask = read_8_bit(self.images[frame]), read_mask(self.masks[frame])
            check_size(self.images[frame], image, self.height, self.width)
            check_size(self.masks[frame], mask, self.height, self.width)
            rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image[..., 2::-1]  # noqa: PLR2004
            yield MaskedFrame(np.ascontiguousarray(rgb), mask)
