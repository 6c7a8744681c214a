"""Reads the text of a BVH file: the hierarchy, the table of channels, and the frame rate."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes

FIX = "export the motion again as BVH"
_AXES = {"x": 0, "y": 1, "z": 2}
_MOST_NODES = 10_000
_MOST_STILL = 1_000_000
"""Joints without channels, times frames: they take no room in the file, but in memory."""
_SLOWEST, _FASTEST = 4.0, 1000.0
"""Range of plausible frame rates, in frames per second."""
_RADIANS = 3.15
"""Largest angle in a file in radians, except for a root that keeps turning."""
_STIFF = 0.3
"""Angle in radians that some joint of a moving person exceeds."""
_MOST_TURNS = 20.0
"""Largest angle in radians of a root that keeps turning."""


@dataclass
class Joint:
    """One joint or End Site; `channels` are ("p" or "r", axis, column of the frames' table)."""

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    channels: list[tuple[str, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class BvhText:
    """The contents of a BVH file."""

    joints: list[Joint]
    """All nodes, parents first; End Sites have no name."""
    table: np.ndarray
    """(frames, channels), in degrees and in the unit of the file."""
    fps: float
    notes: tuple[str, ...]


def decode(content: bytes) -> str:
    """Decodes text in any encoding that tools write: UTF-8, UTF-16 with or without a byte order mark, else Latin 1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    if b"\0" in content[:64]:
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def is_bvh(head: bytes) -> bool:
    """Whether a file that begins like this is a BVH file."""
    return decode(head[:256]).lstrip("\ufeff \t\r\n")[:9].upper() == "HIERARCHY"


def parse(path: Path) -> BvhText:
    """Reads a BVH file.

    Raises:
        DataError: if the file is incomplete; the message names the line.
    """
    lines = re.split(r"\r\n|\r|\n", decode(read_bytes(path, "a BVH file of at most 1 GB", FIX)))
    joints, start = _hierarchy(path, lines)
    width = sum(len(joint.channels) for joint in joints)
    table, fps, notes = _frames(path, lines, start, width)
    if len(table) * len(joints) > _MOST_STILL + table.size:
        found = f"{len(table)} frames of {len(joints)} joints, most of which never move"
        raise DataError(path, found, "CHANNELS for most joints", FIX)
    table, turned = _in_degrees(joints, table)
    return BvhText(joints, table, fps, (*notes, *turned))


def _hierarchy(path: Path, lines: list[str]) -> tuple[list[Joint], int]:
    """The joints, and the index of the line after MOTION."""

    def wrong(number: int, expected: str) -> DataError:
        found = f"line {number + 1}: {lines[number].strip()[:80]!r}" if number < len(lines) else "the end of the file"
        return DataError(path, found, expected, FIX)

    joints: list[Joint] = []
    stack: list[int] = []
    opened, columns = True, 0
    for number, line in enumerate(lines):
        for statement in filter(None, map(str.strip, re.split(r"([{}])", line))):
            word, _, rest = re.sub(r"\s+", " ", statement).partition(" ")
            word = word.upper()
            if word == "MOTION" and not stack and joints and opened:
                if any(np.isnan(joint.offset).any() for joint in joints):
                    raise wrong(number, "an OFFSET for every joint before MOTION")
                return joints, number + 1
            # Some tools write it before the skeleton of every person.
            if word == "HIERARCHY" and not stack:
                continue
            if not opened and word != "{":
                raise wrong(number, "a { after a joint's name")
            if word == "{" and not opened:
                stack.append(len(joints) - 1)
                opened = True
            elif word == "}" and stack:
                stack.pop()
            elif (word == "ROOT" and not stack) or (word in ("JOINT", "END") and stack):
                joints.append(Joint("" if word == "END" else rest, stack[-1] if stack else -1))
                opened = False
                if len(joints) > _MOST_NODES:
                    raise wrong(number, f"at most {_MOST_NODES} joints")
            elif word == "OFFSET" and stack:
                offset = _numbers(rest.split(), 3)
                if offset is None:
                    raise wrong(number, "OFFSET with three finite numbers")
                joints[stack[-1]].offset = offset
            elif word == "CHANNELS" and stack:
                count, *names = rest.lower().split() or ["?"]
                found = [re.fullmatch(r"([xyz])(rotation|position)", name) for name in names]
                if not count.isdecimal() or int(count) != len(names) or not all(found):
                    raise wrong(number, "CHANNELS, their number, and as many names such as Xposition or Zrotation")
                joints[stack[-1]].channels = [(m[2][0], _AXES[m[1]], columns + i) for i, m in enumerate(found) if m]
                columns += len(names)
            else:
                raise wrong(number, "ROOT, JOINT, End Site, OFFSET, CHANNELS, braces in pairs, then MOTION")
    raise wrong(len(lines), "a hierarchy with braces in pairs, then MOTION")


def _numbers(words: list[str], count: int) -> np.ndarray | None:
    """The words as `count` finite numbers, or None."""
    try:
        values = np.array(words, np.float64)
    except ValueError:
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _frames(path: Path, lines: list[str], start: int, width: int) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """The table, the frame rate, and notes."""
    rows = [(number, line) for number, line in enumerate(lines[start:], start + 1) if line.strip()]
    header = " ".join(line for _, line in rows[:2])
    match = re.match(r"\s*Frames:?\s*(\d{1,18})\s*Frame\s*Time:?\s*(\S+)\s*$", header, re.IGNORECASE)
    # Some countries write a decimal comma.
    step = _numbers([match[2].replace(",", ".")], 1) if match else None
    if not match or step is None or step[0] < 0:
        found = f"line {rows[0][0] if rows else len(lines)}: {header.strip()[:80]!r}"
        raise DataError(path, found, "`Frames: <number>` and `Frame Time: <seconds>` after MOTION", FIX)
    declared, rows = int(match[1]), rows[2:]
    notes = (f"{len(rows) - declared} frames more than the {declared} declared are left out",)
    if len(rows) < declared or not declared:
        last = rows[-1][0] if rows else len(lines)
        found = f"{len(rows)} frames up to line {last}, where {declared} are declared"
        raise DataError(path, found, "as many lines of numbers as `Frames:` says, at least one", FIX)
    table = np.empty((declared, width))
    for row, (number, line) in zip(table, rows, strict=False):
        words = line.split()
        values = _numbers(words, width)
        if values is None:
            found = f"line {number}: {len(words)} values, {line.strip()[:60]!r}"
            raise DataError(path, found, f"{width} finite numbers, one for each channel", FIX)
        row[:] = values
    fps, said = _rate(path, float(step[0]))
    return table, fps, (*(notes if len(rows) > declared else ()), *said)


def _rate(path: Path, step: float) -> tuple[float, tuple[str, ...]]:
    """The frame rate, from what should be the duration of a frame in seconds."""
    if step == 0:
        return 30.0, ("`Frame Time: 0`: 30 frames per second are assumed; give --source-fps if that is wrong",)
    fps, said = 1 / step, ""
    if not _SLOWEST <= fps <= _FASTEST:
        # 16.667, 33.333 and 41.667 are milliseconds; 24, 25, 30, 60 and 120 are frame rates.
        whole = abs(step - round(step)) < 1e-6
        if whole and _SLOWEST <= step <= _FASTEST:
            fps, said = step, "a rate"
        elif _SLOWEST <= 1000 / step <= _FASTEST:
            fps, said = 1000 / step, "milliseconds"
        else:
            found = f"`Frame Time: {step:g}`, which means {fps:g} frames per second"
            raise DataError(path, found, "seconds: 0.0333 for 30 frames per second", "put the right time into the file")
    # Files round 1/30 to 0.033333; nobody films at 30.0003 frames per second.
    fps = float(round(fps)) if abs(fps - round(fps)) < 2e-3 * fps else fps
    return fps, (f"`Frame Time: {step:g}` is read as {said}: {fps:g} frames per second",) if said else ()


def _in_degrees(joints: list[Joint], table: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The table with all angles in degrees. If no angle exceeds pi, they are in radians."""
    columns = [column for joint in joints for kind, _, column in joint.channels if kind == "r"]
    inner = [column for joint in joints if joint.parent >= 0 for kind, _, column in joint.channels if kind == "r"]
    largest = abs(table[:, inner]).max(initial=0)
    if not _STIFF < largest <= _RADIANS or abs(table[:, columns]).max(initial=0) > _MOST_TURNS:
        return table, ()
    table = table.copy()
    table[:, columns] = np.rad2deg(table[:, columns])
    return table, ("no angle exceeds pi: the angles are read as radians",)
