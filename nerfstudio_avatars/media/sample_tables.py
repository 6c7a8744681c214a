"""The tables of frames in MP4, MOV and 3GP files, looked at before FFmpeg makes room for what they claim.

A table of frames of one size takes twelve bytes however many it claims, and an edit list shows frames any number of
times (ISO/IEC 14496-12, 8.7.3 and 8.6.6); FFmpeg keeps some seventy bytes for each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MOST_SHOWN = 10_000_000
"""Frames, counted as often as edits show them: four days of film."""
_WITHIN = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"})
_DEEPEST, _MOST_BOXES = 8, 10_000


def too_many_frames(path: Path) -> int:
    """How many frames a file claims, if these are more than it can hold; otherwise 0.

    Args:
        path: a regular file, of any kind.
    """
    size, samples, edits = path.stat().st_size, 0, 1
    with path.open("rb") as file:
        head = file.read(8)
        if head[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return 0
        for kind, content in _boxes(file, 0, size, 0):
            if kind == b"stsz":
                of_one_size, count = struct.unpack(">4xII", content.ljust(12, b"\0"))
                if of_one_size and count > size:
                    return count
                samples = max(samples, count)
            elif kind == b"elst":
                edits = max(edits, struct.unpack(">4xI4x", content.ljust(12, b"\0"))[0])
    return samples * edits if samples * edits > MOST_SHOWN else 0


def _boxes(file: BinaryIO, start: int, end: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """The two kinds of box that matter, with their first twelve bytes; the others are stepped over."""
    for _ in range(_MOST_BOXES):
        file.seek(start)
        head = file.read(16)
        if start + 8 > end or len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head[:8])
        inside = start + 8
        if length == 1 and len(head) == 16:
            length, inside = struct.unpack(">Q", head[8:])[0], start + 16
        stop = end if length == 0 else min(start + length, end)
        if stop <= start + 7:
            return
        if kind in _WITHIN and depth < _DEEPEST:
            yield from _boxes(file, inside, stop, depth + 1)
        elif kind in (b"stsz", b"elst"):
            file.seek(inside)
            yield kind, file.read(12)
        start = stop
