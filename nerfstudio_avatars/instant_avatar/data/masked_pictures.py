"""Finds pictures of a person and their masks under their usual names, pairs them, and reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import Splits
from nerfstudio_avatars.media.mask_files import MASK_SUFFIXES, read_mask
from nerfstudio_avatars.media.picture_files import PICTURE_SUFFIXES, by_number, read_values

_PICTURE_FOLDERS = ("images", "image", "imgs", "img", "frames", "rgb")
_MASK_FOLDERS = (
    "masks", "mask", "segmentations", "segmentation", "sam_masks", "masks_sam", "matting", "mattes", "alpha", "seg",
    "silhouettes",
)  # fmt: skip
"""Names of folders of masks, in order of preference; next comes any folder whose name contains one of `_MASK_WORDS`."""
_MASK_WORDS = ("mask", "segment", "matt", "silhouette")
_MASK_OF = re.compile(r"[_\-.]?(mask|masks|alpha|seg|matte)$", re.IGNORECASE)
_COLOUR = 3
"""Number of dimensions of a picture that is not grey."""


@dataclass(frozen=True)
class PictureFiles:
    """Pictures and masks as files, at most one mask per frame."""

    images: list[Path]
    masks: dict[int, Path] | None
    """Files of masks by frame; None if the transparency of the pictures is the mask."""
    height: int
    width: int

    @property
    def masked(self) -> list[int]:
        """Frames that have a mask."""
        return sorted(self.masks) if self.masks is not None else list(range(len(self.images)))

    def __call__(self, frames: Sequence[int]) -> Iterator[MaskedFrame]:
        """Yields frames one at a time."""
        for frame in frames:
            image = read_bgr(self.images[frame])
            _check_picture_size(self.images[frame], image, self.height, self.width)
            mask = _alpha(self.images[frame], image) if self.masks is None else self._mask(frame)
            rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim < _COLOUR else image[..., 2::-1]
            yield MaskedFrame(np.ascontiguousarray(rgb), mask)

    def masks_of(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """Yields only the masks."""
        for frame in frames:
            yield next(self([frame])).mask if self.masks is None else self._mask(frame)

    def _mask(self, frame: int) -> UInt8[np.ndarray, "height width"]:
        assert self.masks is not None
        mask = read_mask(self.masks[frame])
        _check_picture_size(self.masks[frame], mask, self.height, self.width)
        return mask


def recording_of(
    files: PictureFiles,
    folder: Path,
    motion: BodySequence,
    intrinsics: Float[np.ndarray, "frames 3 3"],
    extrinsics: Float[np.ndarray, "frames 4 4"],
    splits: Splits,
    notes: tuple[str, ...],
) -> Recording:
    """A recording whose pictures and masks are files, in a folder named after its subject.

    Raises:
        DataError: no frame of a split has a mask. Single frames without one are left out of their split.
    """
    return Recording(
        folder=folder,
        subject=folder.name,
        motion=motion,
        intrinsics=intrinsics,
        extrinsics=extrinsics,
        height=files.height,
        width=files.width,
        splits=_with_masks(splits, files.masked, folder),
        read=files,
        masks=files.masks_of,
        notes=notes,
    )


def _with_masks(splits: Splits, masked: list[int], folder: Path) -> Splits:
    left = {name: [frame for frame in frames if frame in set(masked)] for name, frames in splits.items()}
    for name, frames in left.items():
        if not frames:
            found = f"no mask for any of the {len(splits[name])} {name} frames"
            raise DataError(folder, found, "masks", f"write them, or give other frames with --{name}")
    return left


def find_masked_pictures(folder: Path) -> tuple[list[Path], dict[int, Path] | None, tuple[str, ...]]:
    """Finds the pictures of a subject, their masks by frame, and notes on where the masks were.

    Raises:
        DataError: if there are no pictures or no masks, or masks do not fit the pictures.
    """
    place = next((folder / name for name in _PICTURE_FOLDERS if (folder / name).is_dir()), folder / "images")
    beside = [path for path in listed(place, PICTURE_SUFFIXES) if _MASK_OF.search(path.stem)]
    images = [path for path in listed(place, PICTURE_SUFFIXES) if path not in beside]
    named = _mask_folder(folder, place)
    if named is not None:
        masks = listed(named, MASK_SUFFIXES)
        notes = () if named.name == "masks" else (f"masks are taken from {named.name}/",)
    elif beside:
        masks, notes = beside, (f"masks are taken from the pictures like {beside[0].name} in {place.name}/",)
    elif images and _has_alpha(images[0]):
        return images, None, (f"masks are taken from the transparency of the pictures in {place.name}/",)
    else:
        others = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        fix = f"write them to {folder / 'masks'}, one per picture, white where the person is"
        raise DataError(folder, f"{others}: no masks", "masks/ (or segmentations/, sam_masks/, ...)", fix)
    if not images:
        raise DataError(place, "masks alone", "one picture per mask", f"write the pictures to {place}")
    return images, *_paired(images, masks, notes)


def _paired(images: list[Path], masks: list[Path], notes: tuple[str, ...]) -> tuple[dict[int, Path], tuple[str, ...]]:
    """Pairs by order if there are as many masks as pictures, or else by the numbers in names; the rest is left out."""
    if len(images) == len(masks):
        _check_pairs(images, masks)
        return dict(enumerate(masks)), notes
    for of_images in numberings(images):
        for of_masks in numberings(masks):
            known = dict(zip(of_masks, masks, strict=True))
            found = {frame: known[number] for frame, number in enumerate(of_images) if number in known}
            # If only a few have a partner, the numbers mean something else.
            if 2 * len(found) > max(len(images), len(masks)):
                told = f"{len(images)} pictures and {len(masks)} masks: the {len(found)} that share a number are used"
                return found, (*notes, told)
    fix = "write one mask per picture, in the same order, or give each mask its picture's number"
    raise DataError(masks[0].parent, f"{len(masks)} masks", f"{len(images)}, as many as pictures", fix)


def _mask_folder(folder: Path, pictures: Path) -> Path | None:
    folders = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir() and path != pictures}
    others = [name for name in folders if any(word in name for word in _MASK_WORDS) and name[0] != "."]
    named = [folders[name] for name in (*_MASK_FOLDERS, *others) if name in folders]
    return next(
        (path for path in named if any(inside.suffix.lower() in MASK_SUFFIXES for inside in path.iterdir())), None
    )


def listed(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Lists files by name, with numbers as numbers: 9.png comes before 10.png."""
    within = folder.iterdir() if folder.is_dir() else ()
    files = [path for path in within if path.suffix.lower() in suffixes and path.name[0] != "."]
    if not files:
        found = "no such folder" if not folder.is_dir() else f"no {', '.join(sorted(suffixes))} in it"
        raise DataError(folder, found, "one file per frame, sorted by name", f"write them to {folder}")
    return sorted(files, key=lambda path: by_number(path.name))


def _check_pairs(images: list[Path], masks: list[Path]) -> None:
    """Refuses masks with other numbers than their pictures: one missing and one too many shift all masks in between."""
    of_images, of_masks = numberings(images), numberings(masks)
    if not of_images or not of_masks or any(numbers in of_masks for numbers in of_images):
        return
    place = next(i for i, (a, b) in enumerate(zip(of_images[-1], of_masks[-1], strict=True)) if a != b)
    found = f"{masks[place].name} in the place of the mask of {images[place].name}, the first that does not fit"
    fix = "add the mask that is missing, remove the one too many, or give each mask its picture's number"
    raise DataError(masks[place].parent, found, "masks that bear the numbers of their pictures", fix)


def numberings(files: list[Path]) -> list[list[int]]:
    """Lists of the numbers in names that tell the files apart; none if the names are not alike."""
    of_file = [[int(number) for number in re.findall(r"\d+", path.stem)] for path in files]
    if len({len(numbers) for numbers in of_file}) > 1:
        return []
    columns = [list(column) for column in zip(*of_file, strict=True)]
    return [column for column in columns if len(set(column)) == len(files) > 1]


def read_bgr(path: Path) -> np.ndarray:
    """Reads a picture as cv2 does (grey, BGR or BGRA, uint8), turned upright; deeper ones lose their lower bits."""
    picture = read_values(path)
    return np.rint(picture / 257).astype(np.uint8) if picture.dtype == np.uint16 else picture


def _check_picture_size(path: Path, picture: np.ndarray, height: int, width: int) -> None:
    """Refuses a picture or mask of another size than the camera's."""
    if picture.shape[:2] != (height, width):
        fix = "write pictures, masks and cameras at one resolution"
        raise DataError(path, f"{picture.shape[1]}x{picture.shape[0]} pixels", f"{width}x{height}", fix)


def rgba_picture(path: Path, height: int, width: int) -> MaskedFrame:
    """Reads an exact RGBA file."""
    picture = read_bgr(path)
    mask = _alpha(path, picture)
    _check_picture_size(path, picture, height, width)
    return MaskedFrame(np.ascontiguousarray(picture[..., 2::-1]), mask, clean=True)


def _has_alpha(path: Path) -> bool:
    picture = read_bgr(path)
    return picture.ndim == _COLOUR and picture.shape[2] == _COLOUR + 1 and bool(picture[..., 3].min() < 255)


def _alpha(path: Path, picture: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    if picture.ndim != _COLOUR or picture.shape[2] != _COLOUR + 1:
        raise DataError(path, f"an array of shape {picture.shape}", "RGBA", "write colour and mask in one PNG")
    return np.ascontiguousarray(picture[..., 3])
