"""Reads any motion file, recognised by its contents."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.file_kinds import HEAD, refuse_other_kinds
from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion import (
    aist,
    easymocap,
    frame_dicts,
    gvhmr,
    mdm,
    npz,
    phalp,
    romp,
    sam3d,
    slahmr,
    threedpw,
    trackers,
    up_axis,
    wham,
)
from nerfstudio_avatars.motion.joint_map import JointMap
from nerfstudio_avatars.motion.motion_file import MotionFile, MotionSource
from nerfstudio_avatars.motion.plain_contents import Unreadable, frame_files, read_contents

_LOG = logging.getLogger(__name__)
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
SHIPPED = Path(__file__).parents[1] / "assets" / "motions"
"""Folder of the motions that ship with the package. All are y-up, although the body does not show it in some."""
_ALWAYS_TOLD = ("lengths are multiplied", up_axis.ALWAYS)
"""How the notes begin that every file has: that of `retarget` on the scale, and that on the upward axis."""
_DOUBTFUL = {"AMASS", "SMPL arrays", easymocap.NAME, slahmr.NAME, frame_dicts.NAME}
"""Layouts that are also written by tools with another upward axis."""


class Reader(NamedTuple):
    """A layout: how to recognise it in the contents of a file, and how to read it."""

    name: str
    can_read: Callable[[Any], bool]
    read: Callable[[MotionSource], MotionFile]


READERS = (
    Reader(threedpw.NAME, threedpw.can_read, threedpw.read),
    Reader(aist.NAME, aist.can_read, aist.read),
    Reader(easymocap.NAME, easymocap.can_read, easymocap.read),
    Reader("ROMP, BEV, TRACE", romp.can_read, romp.read),
    Reader(phalp.NAME, phalp.can_read, phalp.read),
    Reader(wham.NAME, wham.can_read, wham.read),
    Reader(gvhmr.NAME, gvhmr.can_read, gvhmr.read),
    Reader(trackers.TRAM, trackers.can_read_tram, trackers.read_tram),
    Reader(trackers.VIBE, trackers.can_read_vibe, trackers.read_vibe),
    Reader(slahmr.NAME, slahmr.can_read, slahmr.read),
    Reader(mdm.NAME, mdm.can_read, mdm.read),
    Reader(sam3d.NAME, sam3d.can_read, sam3d.read),
    Reader(frame_dicts.NAME, frame_dicts.can_read, frame_dicts.read),
    # Last, because other layouts have fields of these names too.
    Reader("AMASS, InstantAvatar, GART", npz.can_read, npz.read),
)


def read_motion(
    path: str | Path,
    person: str | int | None = None,
    pelvis_rest: Float[Tensor, "3"] | None = None,
    *,
    rest_joints: Float[Tensor, "24 3"] | None = None,
    joint_map: JointMap | None = None,
    in_camera: bool = False,
) -> MotionFile:
    """Reads a motion in the frame of its file. Nothing in the file is executed.

    Anything odd is logged in one line. The scale of a skeleton, which every file has, is only logged as information.

    Args:
        path: a file that one of `READERS` can read, BVH or glTF; or EasyMocap's folder of JSON or npy files.
        person: the person to take if there are several, by name or number in the file; by default the one in most
            frames.
        pelvis_rest: rest pelvis in metres of the body that the motion was fitted to, for tools that place something
            else than SMPL's origin (EasyMocap, ROMP, WHAM); by default that of the stand-in, which is within 2 cm of
            SMPL's.
        rest_joints: all rest joints of the body that will move, for BVH and glTF; by default those of the stand-in.
        joint_map: the file's names for SMPL's joints, for BVH and glTF; by default they are found.
        in_camera: whether to take the motion in the camera's axes, if a tool writes it in the world's too.

    Raises:
        DataError: no reader recognises the contents, or they cannot be used.
    """
    path = Path(path)
    motion = _read_scene(path, person, rest_joints, joint_map)
    if motion is None:
        if path.is_dir() and not frame_files(path):
            raise DataError(path, "a folder without JSON or npy files", "a motion file", "name the file in it")
        if pelvis_rest is None:
            pelvis_rest = load_standin().rest(torch.zeros(10))[1][0]
        data = read_contents(path)
        pelvis = pelvis_rest.detach().cpu().double().numpy()
        source = MotionSource(path, data, pelvis, None if person is None else str(person), in_camera)
        motion = _read(_reader(source), source)
    if motion.up_from == "format" and path.parent != SHIPPED:
        up, told_by, note = up_axis.find_up(motion.sequence, motion.up, motion.format not in _DOUBTFUL)
        changed = up != motion.up
        motion = replace(motion, up=up, up_from=told_by, notes=(*motion.notes, note))
    else:
        changed = False
    for level, told in ((logging.INFO, True), (logging.WARNING, False)):
        notes = [note for note in motion.notes if (note.startswith(_ALWAYS_TOLD) and not changed) == told]
        if notes:
            _LOG.log(level, "%s (%s): %s", path, motion.format, "; ".join(notes))
    return motion


def _read(reader: Reader, source: MotionSource) -> MotionFile:
    fix = "give the file as its tool wrote it"
    try:
        motion = reader.read(source)
    except _MISFITS as error:
        # Readers report what is likely to be wrong. Fields of an entirely different type end up here.
        found = f"fields of {reader.name} with values that do not fit ({type(error).__name__}: {error})"
        raise DataError(source.path, found, "the values that the tool writes", fix) from error
    sequence = motion.sequence
    values = (sequence.betas, sequence.global_orient, sequence.body_pose, sequence.transl)
    if not (all(value.isfinite().all() for value in values) and 0 < sequence.fps < math.inf):
        found = f"numbers beyond all bounds, or {sequence.fps:g} frames per second"
        raise DataError(source.path, found, "finite angles, metres and a positive rate", fix)
    return motion


def _reader(source: MotionSource) -> Reader:
    for reader in READERS:
        try:
            if reader.can_read(source.data):
                return reader
        except _MISFITS:  # A check for numbers found something else.
            continue
    fields = source.data if isinstance(source.data, dict) else {}
    for value in fields.values():
        if isinstance(value, Unreadable):
            raise value.error
    names = ", ".join(sorted(map(str, fields))[:12])
    found = f"a dict with {names or 'nothing'}" if isinstance(source.data, dict) else f"a {type(source.data).__name__}"
    expected = f"a file of {', '.join(reader.name for reader in READERS)}, BVH or glTF"
    fix = "convert it: a npz with `poses` (frames, 72) and `trans` (frames, 3) will do"
    raise DataError(source.path, found, expected, fix)


def _read_scene(
    path: Path, person: str | int | None, rest_joints: Tensor | None, joint_map: JointMap | None
) -> MotionFile | None:
    """Reads BVH and glTF, which hold named joints instead of SMPL's parameters."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DataError(path, error.strerror or str(error), "a readable file", "check the path") from error
    refuse_other_kinds(path, head, "a motion file: BVH, glTF, npz, npy, a pickle, torch or JSON file", motion=True)
    from nerfstudio_avatars.motion import bvh, gltf

    if bvh.is_bvh(head):
        return bvh.read_bvh(path, rest_joints, person=person, joint_map=joint_map)
    if not gltf.is_gltf(head):
        return None
    if person not in (None, 0, "0"):
        raise DataError(path, f"no person {person}", "0: such a file holds one", "leave `person` out")
    return gltf.read_gltf(path, rest_joints, joint_map=joint_map)
