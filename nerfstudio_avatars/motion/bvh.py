"""BVH files: skeleton and motion capture as text, from CMU, Mixamo, Rokoko, Xsens and most other tools."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.motion_file import MotionFile
from nerfstudio_avatars.motion.retarget import SkeletonMotion, SkeletonPose, retarget

_FIX = "export the motion again as BVH"
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass
class _Joint:
    """A joint or End Site; `channels` are ("p" or "r", axis, column in the table of frames)."""

    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    channels: list[tuple[str, int, int]] = field(default_factory=list)


def is_bvh(head: bytes) -> bool:
    """Whether the start of a file is that of a BVH file."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:9].upper() == b"HIERARCHY"


def read_bvh(path: str | Path, rest_joints: Float[torch.Tensor, "24 3"] | None = None) -> MotionFile:
    """Reads the motion of a person, retargeted to SMPL's joints by name.

    Channels may have any order and number, with positions on any joint. A position replaces the OFFSET of its joint, as
    written by MotionBuilder and Blender, unless adding it preserves the length of the bone better.

    Args:
        path: the file.
        rest_joints: T-pose joints of the body that will move, `body.rest(betas)[1]`, in metres; by default those of
            the stand-in.

    Raises:
        DataError: the file is not a complete BVH file (the line is named), or its joints are not those of a person.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "a BVH file", "check the path") from error
    joints, start = _hierarchy(path, lines)
    width = sum(len(joint.channels) for joint in joints)
    table, fps, notes = _frames(path, lines, start, width)
    rotations, positions = _pose(joints, table)
    eye = np.broadcast_to(np.eye(3), (len(joints), 3, 3)).copy()
    rest = np.zeros((len(joints), 3))
    for node, joint in enumerate(joints):
        rest[node] = joint.offset + (rest[joint.parent] if joint.parent >= 0 else 0)
    source = SkeletonMotion(
        names=tuple(joint.name for joint in joints),
        parents=tuple(joint.parent for joint in joints),
        rests=(SkeletonPose(torch.from_numpy(eye), torch.from_numpy(rest)),),
        frames=SkeletonPose(torch.from_numpy(rotations), torch.from_numpy(positions)),
        fps=fps,
    )
    return retarget(source, path, "BVH", notes, rest_joints)


def _hierarchy(path: Path, lines: list[str]) -> tuple[list[_Joint], int]:
    """The joints, parents first and End Sites without a name, and the index of the line after MOTION."""

    def wrong(number: int, expected: str) -> DataError:
        found = f"line {number + 1}: {lines[number].strip()[:80]!r}" if number < len(lines) else "the end of the file"
        return DataError(path, found, expected, _FIX)

    joints: list[_Joint] = []
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
            if word == "HIERARCHY" and not joints:
                continue
            if not opened and word != "{":
                raise wrong(number, "a { after a joint's name")
            if word == "{" and not opened:
                stack.append(len(joints) - 1)
                opened = True
            elif word == "}" and stack:
                stack.pop()
            elif (word == "ROOT" and not stack) or (word in ("JOINT", "END") and stack):
                joints.append(_Joint("" if word == "END" else rest, stack[-1] if stack else -1))
                opened = False
            elif word == "OFFSET" and stack:
                offset = _numbers(rest.split(), 3)
                if offset is None:
                    raise wrong(number, "OFFSET with three finite numbers")
                joints[stack[-1]].offset = offset
            elif word == "CHANNELS" and stack:
                count, *names = rest.lower().split() or ["?"]
                found = [re.fullmatch(r"([xyz])(rotation|position)", name) for name in names]
                if not count.isdecimal() or int(count) != len(names) or not all(found):
                    raise wrong(number, "CHANNELS, their number, and so many names such as Xposition or Zrotation")
                joints[stack[-1]].channels = [(m[2][0], _AXES[m[1]], columns + i) for i, m in enumerate(found) if m]
                columns += len(names)
            else:
                raise wrong(number, "ROOT, JOINT, End Site, OFFSET, CHANNELS, braces in pairs, then MOTION")
    raise wrong(len(lines), "a hierarchy with braces in pairs, then MOTION")


def _numbers(words: list[str], count: int) -> np.ndarray | None:
    """The finite numbers in a line, or None if it has others or too few."""
    try:
        values = np.array(words, np.float64)
    except ValueError:
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _frames(path: Path, lines: list[str], start: int, width: int) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """The table (frames, channels) in degrees and units of the file; the frame rate; and notes."""
    rows = [(number, line) for number, line in enumerate(lines[start:], start + 1) if line.strip()]
    header = " ".join(line for _, line in rows[:2])
    match = re.match(r"\s*Frames:?\s*(\d+)\s*Frame\s*Time:?\s*(\S+)\s*$", header, re.IGNORECASE)
    step = _numbers([match[2]], 1) if match else None
    if not match or step is None or not 1e-4 < step[0] < 1e3:  # noqa: PLR2004
        found = f"line {rows[0][0] if rows else len(lines)}: {header.strip()[:80]!r}"
        raise DataError(path, found, "`Frames: <number>` and `Frame Time: <seconds>` after MOTION", _FIX)
    declared, rows = int(match[1]), rows[2:]
    notes = (f"{len(rows) - declared} frames more than the {declared} declared are left out",)
    if len(rows) < declared or not declared:
        last = rows[-1][0] if rows else len(lines)
        found = f"{len(rows)} frames up to line {last}, where {declared} are declared"
        raise DataError(path, found, "as many lines of numbers as `Frames:` says, at least one", _FIX)
    table = np.empty((declared, width))
    for row, (number, line) in zip(table, rows, strict=False):
        words = line.split()
        values = _numbers(words, width)
        if values is None:
            found = f"line {number}: {len(words)} values, {line.strip()[:60]!r}"
            raise DataError(path, found, f"{width} finite numbers, one for each channel", _FIX)
        row[:] = values
    fps = 1 / float(step[0])
    # Files round 1/30 to 0.033333; nobody films at 30.0003 frames a second.
    fps = round(fps) if abs(fps - round(fps)) < 2e-3 * fps else fps  # noqa: PLR2004
    return table, float(fps), notes if len(rows) > declared else ()


def _pose(
    joints: list[_Joint], table: np.ndarray
) -> tuple[Float[np.ndarray, "frames nodes 3 3"], Float[np.ndarray, "frames nodes 3"]]:
    """Global rotations and positions. Channels rotate one after the other, each about the axes rotated so far."""
    rotations = np.empty((len(table), len(joints), 3, 3))
    positions = np.empty((len(table), len(joints), 3))
    for node, joint in enumerate(joints):
        local, moved = np.eye(3), np.tile(joint.offset, (len(table), 1))
        for kind, axis, column in joint.channels:
            if kind == "r":
                local = local @ _about(axis, np.deg2rad(table[:, column]))
            else:
                moved[:, axis] = table[:, column]
        if joint.parent < 0:
            rotations[:, node], positions[:, node] = local, moved
            continue
        given = np.zeros(3)
        given[[axis for kind, axis, _ in joint.channels if kind == "p"]] = 1
        added = joint.offset + moved * given
        length = np.linalg.norm(joint.offset)
        if abs(np.linalg.norm(added, axis=1) - length).mean() < abs(np.linalg.norm(moved, axis=1) - length).mean():
            moved = added
        before = rotations[:, joint.parent]
        rotations[:, node] = before @ local
        positions[:, node] = positions[:, joint.parent] + (before @ moved[..., None])[..., 0]
    return rotations, positions


def _about(axis: int, angles: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames 3 3"]:
    """Rotations about x (0), y (1) or z (2), in radians."""
    matrix = np.zeros((len(angles), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angles)
    matrix[:, j, i], matrix[:, i, j] = np.sin(angles), -np.sin(angles)
    return matrix
