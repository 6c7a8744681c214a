"""Decodes picture files into arrays, after checking their size, completely and upright."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from nerfstudio_avatars.errors import DataError

MOST_PIXELS = 1 << 26
"""Maximum number of pixels in a picture. Some files of a few bytes claim billions."""
EXPECTED = "a PNG, JPEG, WebP, BMP, TIFF or HEIC picture"
FIX = "write the picture again, or leave it out"
_OPAQUE_KINDS = frozenset({"JPEG", "MPO", "BMP", "DIB"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 256, 257
"""Tags of TIFF."""
_UPRIGHT = {2: (0, -1), 3: (2, 1), 4: (2, -1), 5: (3, -1), 6: (3, 1), 7: (1, -1), 8: (1, 1)}
"""Quarter turns counter-clockwise, and then the step along rows, that turn each orientation upright."""
_EIGHT, _SIXTEEN = np.dtype(np.uint8), np.dtype(np.uint16)


@dataclass(frozen=True)
class _Header:
    """Information in a file's header, read before its pixels are unpacked."""

    kind: str
    height: int
    width: int
    orientation: int = 1
    """Orientation that cv2 does not apply."""


def decode_picture(path: Path, data: bytes) -> np.ndarray:
    """Decodes a picture: grey (H,W), BGR or BGRA (H,W,C) as in cv2, 8 or 16 bits deep, turned upright.

    Args:
        path: the path, for messages.
        data: the content of the file. Of an animated picture, the first frame is read.

    Raises:
        DataError: it is not such a picture, is truncated, or is larger than `MOST_PIXELS`.
    """
    header = _header(path, data)
    if header.height * header.width > MOST_PIXELS or not header.height * header.width:
        found = f"a picture of {header.width}x{header.height} pixels"
        raise DataError(path, found, f"at least one pixel and at most {MOST_PIXELS // 10**6} million", FIX)
    if not _is_whole(header.kind, data):
        raise DataError(path, f"a {header.kind} picture that is cut off", "a whole picture", FIX)
    values = _by_cv2(data, header.kind) if header.kind not in ("GIF", "HEIF", "AVIF") else None
    if values is None:
        values = _by_pillow(path, data)
    elif header.orientation in _UPRIGHT:
        turns, step = _UPRIGHT[header.orientation]
        values = np.ascontiguousarray(np.rot90(values, turns)[:, ::step])
    if values.dtype not in (_EIGHT, _SIXTEEN):
        raise DataError(path, f"a picture of {values.dtype}", "8 or 16 bits a channel", FIX)
    return values


def _header(path: Path, data: bytes) -> _Header:
    # By the content: phones' programs give it any ending.
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        _learn_heif(path)
    try:
        with warnings.catch_warnings():
            # Its own limit is another than ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                kind, (width, height) = picture.format or "", picture.size
                noted = kind in ("WEBP", "PNG") and "exif" in picture.info
                return _Header(kind, height, width, picture.getexif().get(_ORIENTATION, 1) if noted else 1)
    except Image.DecompressionBombError as error:
        found = "a picture whose header claims hundreds of millions of pixels"
        raise DataError(path, found, f"at most {MOST_PIXELS // 10**6} million pixels", FIX) from error
    except UnidentifiedImageError:
        return _tiff_header(path, data)
    except Exception as error:  # Pillow raises whatever its readers stumble over, from struct.error to SyntaxError.
        raise DataError(path, _unlike(data, error), EXPECTED, FIX) from error


def _tiff_header(path: Path, data: bytes) -> _Header:
    """Reads the header of a TIFF; cv2 reads some that Pillow does not, such as 16-bit colours."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return _Header("TIFF", int(tags[_HEIGHT]), int(tags[_WIDTH]))
    except Exception as error:  # Files that are not TIFF may raise any error.
        raise DataError(path, _unlike(data, None), EXPECTED, FIX) from error


def _unlike(data: bytes, error: Exception | None) -> str:
    start = data[:512].lstrip().lower()
    if not data:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, not the file itself"
    return "a file that is not a picture" + (f" ({error})" if error is not None and str(error) else "")


def _by_cv2(data: bytes, kind: str) -> np.ndarray | None:
    # cv2 turns pictures upright only when it may drop their alpha.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if kind in _OPAQUE_KINDS else cv2.IMREAD_UNCHANGED
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        return None
    return values if values is None or values.ndim == 2 or values.shape[2] != 2 else None


def _by_pillow(path: Path, data: bytes) -> np.ndarray:
    """Reads what cv2 does not: HEIC, animated pictures (the first frame), unusual TIFFs."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            upright = ImageOps.exif_transpose(picture) or picture
            transparent = "A" in upright.getbands() or "transparency" in upright.info
            values = np.asarray(upright.convert("RGBA" if transparent else "RGB"))
    except Exception as error:  # As above.
        raise DataError(path, f"a damaged {_kind(data)} ({error})", "a whole picture", FIX) from error
    return cv2.cvtColor(values, cv2.COLOR_RGBA2BGRA if transparent else cv2.COLOR_RGB2BGR)


def _kind(data: bytes) -> str:
    """Pillow's name of a picture's format."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return f"{picture.format} picture"
    except Exception:  # As above.
        return "picture"


def _learn_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        fix = "pip install pillow-heif, or convert the picture to PNG or JPEG"
        raise DataError(path, "a HEIC picture, which takes the package pillow-heif to read", EXPECTED, fix) from error
    register_heif_opener()


def _is_whole(kind: str, data: bytes) -> bool:
    """Whether the end marker follows the pixels; cv2 fills missing pixels with grey."""
    if kind == "PNG":
        return data.rfind(b"IEND") > data.find(b"IDAT") > 0
    if kind not in ("JPEG", "MPO"):
        return True
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        mark = data[place + 1]
        if mark == 0xDA:
            return data.find(b"\xff\xd9", place) > 0
        length = (
            0 if mark in (0xFF, 0x01) or 0xD0 <= mark <= 0xD8 else int.from_bytes(data[place + 2 : place + 4], "big")
        )
        place += (1 if mark == 0xFF else 2) + length
    return False
