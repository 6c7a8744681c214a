"""Packs clips into shards: cropped, resized and decoded once, so that training decodes nothing."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import check_folder, write_json
from nerfstudio_avatars.unsup_volanim.data.clip_folders import FoundClip
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable
from nerfstudio_avatars.unsup_volanim.data.shards import (
    FRAMES,
    INDEX,
    KIND,
    TABLE,
    PackedClip,
    Shard,
    ShardTable,
    is_packed,
    packed_clips,
    read_table,
)
from nerfstudio_avatars.whole_files import whole_file

_MEGABYTE = 1_000_000
_PLAN = "packing.json"
"""What is being packed, and how; gone when all is done."""


@dataclass
class Packed:
    """What was packed."""

    clips: int
    frames: int
    bytes: int
    left_out: list[DataError] = field(default_factory=list)
    """Clips that could not be decoded to their end."""


def pack_clips(
    found: Sequence[FoundClip],
    out: Path,
    size: int,
    shard_mb: int,
    tables: Sequence[Path] = (),
    report: Callable[[int, int], None] | None = None,
) -> Packed:
    """Packs clips. What an earlier, interrupted call has finished is kept: whole shards.

    Args:
        found: the clips.
        out: the folder for the shards.
        size: the side of the frames in pixels.
        shard_mb: size of a shard in megabytes; a longer clip has a shard of its own.
        tables: published tables about the clips, which are copied beside the shards.
        report: called with the number of clips packed so far, and of all.

    Raises:
        UserError: if the folder holds something else, or clips packed otherwise.
    """
    plan = _planned(found, size, shard_mb)
    _begin(out, size, plan)
    for published in tables:
        with whole_file(out / published.name) as partial:
            shutil.copyfile(published, partial)
    left_out: list[DataError] = []
    done, packed = 0, Packed(0, 0, 0, left_out)
    for number, clips in enumerate(plan):
        shard = out / f"{_name(number)}{FRAMES}"
        table = _kept(shard) or _write_shard(shard, clips, size, left_out)
        done += len(clips)
        packed.clips += len(table.clips)
        packed.frames += sum(clip.frames for clip in table.clips)
        packed.bytes += table.bytes
        if report:
            report(done, len(found))
    if not packed.clips:
        raise left_out[0] if left_out else DataError(out, "no clip that can be decoded", "clips", "delete the folder")
    write_json(out / INDEX, {"kind": KIND, "size": size, "shards": [_name(number) for number in range(len(plan))]})
    (out / _PLAN).unlink(missing_ok=True)
    return packed


def damaged_clips(folder: Path, report: Callable[[int, int], None] | None = None) -> list[str]:
    """Names of packed clips whose checksums do not fit.

    Args:
        folder: a packed folder.
        report: called with the number of shards read so far, and of all.

    Raises:
        DataError: if a file is missing or damaged as a whole.
    """
    shards = list(dict.fromkeys(shard for shard, _ in packed_clips(folder)))
    damaged = []
    for number, shard in enumerate(shards, 1):
        damaged += Shard(shard).damaged()
        if report:
            report(number, len(shards))
    return damaged


def _name(number: int) -> str:
    return f"shard-{number:05d}"


def _planned(found: Sequence[FoundClip], size: int, shard_mb: int) -> list[list[FoundClip]]:
    """Clips of each shard, in order. The same clips are always planned alike, so that packing can be resumed."""
    plan: list[list[FoundClip]] = []
    room = 0
    for clip in found:
        # As if with a mask: whether there is one shows only when it is decoded.
        needed = clip.frames * size * size * 4
        if needed > room:
            plan.append([])
            room = shard_mb * _MEGABYTE
        plan[-1].append(clip)
        room -= needed
    return plan


def _begin(out: Path, size: int, plan: list[list[FoundClip]]) -> None:
    """Checks that a folder is new, or holds the beginning of this very plan."""
    check_folder(out, "OUT")
    wanted = {"size": size, "shards": [[[clip.name, clip.frames] for clip in clips] for clips in plan]}
    note = out / _PLAN
    if note.is_file():
        try:
            same = json.loads(note.read_text("utf8")) == wanted
        except ValueError:
            same = False
        if not same:
            raise UserError(
                f"{out}: other clips, or clips of another size, are being packed there. Choose another folder, or "
                "delete it."
            )
    elif is_packed(out):
        raise UserError(f"{out}: holds packed clips already. Choose another folder, or delete it.")
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: holds other files. Expected a new or empty folder. Choose another.")
    write_json(note, wanted)


def _kept(shard: Path) -> ShardTable | None:
    """The table of a shard that was finished before, which is written last."""
    if not (shard.is_file() and shard.with_suffix(TABLE).is_file()):
        return None
    try:
        return read_table(shard)
    except DataError:
        return None


def _write_shard(shard: Path, clips: list[FoundClip], size: int, left_out: list[DataError]) -> ShardTable:
    packed: list[PackedClip] = []
    begin = 0
    with whole_file(shard) as partial, partial.open("wb") as file:
        for clip, decoded in _decoded(clips, size):
            if isinstance(decoded, DataError):
                left_out.append(decoded)
                continue
            pictures, masks = decoded
            masked, checksum = any(mask is not None for mask in masks), 0
            for picture, mask in zip(pictures, masks, strict=True):
                parts = [picture]
                if masked:
                    parts.append(np.zeros((size, size), np.uint8) if mask is None else mask)
                for part in parts:
                    data = part.tobytes()
                    checksum = zlib.crc32(data, checksum)
                    file.write(data)
            one = PackedClip(
                name=clip.name,
                frames=len(pictures),
                begin=begin,
                checksum=checksum,
                masked=masked,
                maskless=tuple(number for number, mask in enumerate(masks) if masked and mask is None),
                fps=None if clip.facts is None else clip.facts.fps,
                split=clip.split,
                person=clip.person,
            )
            packed.append(one)
            begin += one.frames * one.bytes_per_frame(size)
    table = ShardTable(size, tuple(packed))
    write_json(shard.with_suffix(TABLE), table.as_json())
    return table


_Decoded = tuple[list[UInt8[np.ndarray, "size size 3"]], list[UInt8[np.ndarray, "size size"] | None]]


def _decoded(clips: list[FoundClip], size: int) -> Iterator[tuple[FoundClip, _Decoded | DataError]]:
    """Clips in order, a few of them decoded at a time."""

    def decode(clip: FoundClip) -> _Decoded | DataError:
        mask = None if clip.mask is None else str(clip.mask)
        reader = ClipReader(ClipTable([Clip(clip.name, str(clip.path), clip.frames, mask=mask)]), size, 0, quiet=True)
        try:
            frames = [reader.read(0, frame) for frame in range(clip.frames)]
        except DataError as error:
            return error
        return [rgb for rgb, _ in frames], [mask for _, mask in frames]

    at_a_time = 4
    with ThreadPoolExecutor(at_a_time) as threads:
        for start in range(0, len(clips), at_a_time):
            some = clips[start : start + at_a_time]
            yield from zip(some, threads.map(decode, some), strict=True)
