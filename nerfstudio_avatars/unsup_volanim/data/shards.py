"""Clips packed into memory-mapped files: frames at the training size, read at random without decoding anything.

A packed folder holds `clips.json` and shards: `shard-00000.frames`, raw bytes, beside `shard-00000.json`, which says
where each clip begins. The frames of a clip follow one another, each as (size, size, 3) of RGB, then (size, size) of
the mask if the clip has masks, all 8 bits.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.media.picture_files import Picture, squared

INDEX = "clips.json"
FRAMES, TABLE = ".frames", ".json"
KIND = "nerfstudio-avatars packed clips 1"
_AGAIN = "pack the clips again with `ns-avatar pack`"


@dataclass(frozen=True)
class PackedClip:
    """Where a clip is in its shard, and what is known of it."""

    name: str
    frames: int
    begin: int
    """Position of its first byte in the shard."""
    checksum: int
    """CRC-32 of its bytes."""
    masked: bool
    """Whether every frame is followed by a mask."""
    maskless: tuple[int, ...] = ()
    """Frames of a masked clip that have no mask; it is stored as zeros."""
    fps: float | None = None
    """Frame rate of a video; None for folders of pictures."""
    split: str | None = None
    """Name of the folder `train` or `test` that it was in."""
    person: str | None = None
    """Name of the folder above that of the clip."""

    def bytes_per_frame(self, size: int) -> int:
        """Number of bytes of a frame."""
        return size * size * (4 if self.masked else 3)


@dataclass(frozen=True)
class ShardTable:
    """The clips of one shard."""

    size: int
    """Side of the square frames in pixels."""
    clips: tuple[PackedClip, ...]

    @property
    def bytes(self) -> int:
        """Number of bytes in the shard."""
        return sum(clip.frames * clip.bytes_per_frame(self.size) for clip in self.clips)

    def as_json(self) -> dict[str, Any]:
        """The content of the file beside the shard."""
        return {"kind": KIND, "size": self.size, "clips": [asdict(clip) for clip in self.clips]}


def is_packed(folder: Path) -> bool:
    """Whether a folder was written by `ns-avatar pack`."""
    return (folder / INDEX).is_file()


def packed_size(folder: Path) -> int:
    """The side of the frames of a packed folder, in pixels.

    Raises:
        DataError: if its index is damaged.
    """
    return int(_index(folder)["size"])


def packed_clips(folder: Path) -> Iterator[tuple[Path, PackedClip]]:
    """All clips of a packed folder, each with its shard.

    Raises:
        DataError: if a file is missing or damaged.
    """
    for name in _index(folder)["shards"]:
        shard = folder / f"{name}{FRAMES}"
        if shard.parent != folder or not shard.is_file():
            raise DataError(shard, "no such file", "a shard", _AGAIN)
        for clip in read_table(shard).clips:
            yield shard, clip


def read_table(shard: Path) -> ShardTable:
    """The table of a shard.

    Raises:
        DataError: if it is missing or damaged, or does not fit the shard.
    """
    file = shard.with_suffix(TABLE)
    try:
        content = _json(file)
        clips = tuple(PackedClip(**{**one, "maskless": tuple(one["maskless"])}) for one in content["clips"])
        table = ShardTable(int(content["size"]), clips)
        ends = 0
        for clip in clips:
            if clip.begin != ends or clip.frames < 1:
                raise ValueError(f"clip {clip.name!r:.80} out of place")
            ends += clip.frames * clip.bytes_per_frame(table.size)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(file, f"{type(error).__name__}: {error}", "the table of a shard", _AGAIN) from error
    if shard.is_file() and shard.stat().st_size != table.bytes:
        raise DataError(shard, f"{shard.stat().st_size} bytes", f"{table.bytes}, as its table says", _AGAIN)
    return table


class Shard:
    """Frames of one shard. Mapped: memory is taken only for what is read, and given back when it is needed elsewhere.

    Args:
        path: of the shard.

    Raises:
        DataError: if it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(path, "no such file", "a shard", "put it back, or " + _AGAIN)
        table = read_table(path)
        self._path, self._side = path, table.size
        self._clips = {clip.name: clip for clip in table.clips}
        self._bytes = np.memmap(path, np.uint8, mode="r") if table.bytes else np.zeros(0, np.uint8)

    def picture(self, name: str, frame: int, size: int | None = None) -> Picture:
        """A frame and its mask, if it has one.

        Args:
            name: of the clip.
            frame: its number.
            size: the side to read it at, in pixels; by default that of the shard.

        Raises:
            DataError: if there is no such clip.
        """
        clip = self._clips.get(name)
        if clip is None:
            raise DataError(self._path, f"no clip {name}", "a clip that the run was trained on", _AGAIN)
        side, each = self._side, clip.bytes_per_frame(self._side)
        data = self._bytes[clip.begin + frame * each : clip.begin + (frame + 1) * each]
        colours = side * side * 3
        # Copied: what is mapped cannot be written to, which torch warns of.
        rgb, mask = np.array(data[:colours].reshape(side, side, 3)), None
        if clip.masked and frame not in clip.maskless:
            mask = np.array(data[colours:].reshape(side, side))
        if size is None or size == side:
            return Picture(rgb, mask)
        return Picture(squared(rgb, size), None if mask is None else squared(mask, size))

    def damaged(self) -> list[str]:
        """Names of the clips whose bytes are not those that were written."""
        return [clip.name for clip in self._clips.values() if zlib.crc32(self._of(clip).data) != clip.checksum]

    def _of(self, clip: PackedClip) -> UInt8[np.ndarray, " bytes"]:
        return self._bytes[clip.begin : clip.begin + clip.frames * clip.bytes_per_frame(self._side)]


def _index(folder: Path) -> dict[str, Any]:
    file = folder / INDEX
    content = _json(file)
    if not isinstance(content.get("size"), int) or not isinstance(content.get("shards"), list):
        raise DataError(file, "no size or no shards", "the index of packed clips", _AGAIN)
    return content


def _json(file: Path) -> dict[str, Any]:
    expected = "a file written by `ns-avatar pack`"
    try:
        content = json.loads(read_bytes(file, expected, _AGAIN))
        if content["kind"] != KIND:
            raise DataError(file, f"the kind {content['kind']!r:.80}", KIND, _AGAIN)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(file, f"{type(error).__name__}: {error}", expected, _AGAIN) from error
    return content
