"""Recognises files that are not what their name says, or whose format is not supported, and says what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nerfstudio_avatars.errors import DataError

HEAD = 4096
"""Number of bytes that `refuse_other_kinds` needs."""

_BLENDER = "import it in Blender and export it as BVH or glTF (.glb)"
_DOWNLOAD = "log in on the web page and download the file itself"


class _Kind(NamedTuple):
    """A kind of file: how it begins, what it is called, and what to do with it."""

    begins: Callable[[bytes], bool]
    name: str
    fix: str


def _starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    """Whether text or bytes begin with one of these, ignoring case and leading white space."""
    return lambda head: head.lstrip().lower().startswith(tuple(beginning.lower() for beginning in beginnings))


def _is_c3d(head: bytes) -> bool:
    """The second byte of a C3D file is 0x50; the first names the block of parameters (c3d.org's manual)."""
    return len(head) >= 512 and head[1] == 0x50 and 0 < head[0] < 128


_ANYWHERE = (
    _Kind(
        _starts(b"version https://git-lfs"),
        "a Git LFS pointer: a text of three lines that stands for the file",
        "fetch the file itself: `git lfs install`, then `git lfs pull` in the repository it came from",
    ),
    _Kind(_starts(b"<!doctype html", b"<html"), "a web page (HTML), perhaps a login page", _DOWNLOAD),
    _Kind(_starts(b"<error>", b'<?xml version="1.0" encoding="utf-8"?><error>'), "an error of a web server", _DOWNLOAD),
    _Kind(_starts(b"%pdf-"), "a PDF document", "give the file that the document describes"),
    _Kind(_starts(b"\x89png", b"\xff\xd8\xff", b"gif8", b"bm6"), "a picture", "give a motion or a body file"),
    _Kind(lambda head: head[4:8] == b"ftyp", "a video", "estimate the motion first: `ns-avatar process` does that"),
    _Kind(_starts(b"rar!", b"7z\xbc\xaf"), "a packed archive", "unpack it and give the file inside"),
)
"""Kinds that are refused whatever the file should have been."""

_MOTIONS = (
    _Kind(_starts(b"kaydara fbx binary", b"; fbx"), "FBX", f"FBX: export as glTF or BVH in Blender ({_BLENDER})"),
    _Kind(
        _starts(b"vocaloid motion data"),
        "VMD, MikuMikuDance's motion",
        "VMD: import model and motion in Blender with the add-on mmd_tools, and export as BVH or glTF (.glb)",
    ),
    _Kind(_starts(b"<?xml", b"<collada"), "COLLADA (DAE) or other XML", f"DAE: {_BLENDER}"),
    _Kind(_starts(b"#usda", b"pxr-usdc"), "USD", f"USD: {_BLENDER}"),
    _Kind(_starts(b"blender"), "a Blender file", "open it in Blender and export as BVH or glTF (.glb)"),
    _Kind(_starts(b"ogawa"), "Alembic", "Alembic holds surfaces without a skeleton: export BVH or glTF instead"),
    _Kind(_starts(b"%yaml", b"%tag"), "YAML, perhaps Unity's", "export it from Unity as FBX, then in Blender as BVH"),
    _Kind(_starts(b"pmx ", b"pmd"), "a MikuMikuDance model without a motion", "give the motion, as BVH or glTF"),
    _Kind(_starts(b"//maya", b"for4"), "a Maya file", "export it from Maya as FBX, then in Blender as BVH"),
    _Kind(_is_c3d, "C3D, marker positions", "C3D holds markers: solve them to a skeleton and export BVH"),
)  # fmt: skip
"""Motion formats that are not supported."""

_ENDINGS = {
    ".fbx": _MOTIONS[0],
    ".vmd": _MOTIONS[1],
    ".dae": _MOTIONS[2],
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), _MOTIONS[3]),
    ".abc": _MOTIONS[5],
    ".c3d": _MOTIONS[-1],
    **dict.fromkeys(
        (".amc", ".asf"),
        _Kind(
            _starts(b""),
            "AMC/ASF, Acclaim's motion and skeleton",
            "AMC: convert it with its ASF to BVH (Blender's Acclaim add-on, `amc2bvh`); CMU's motions exist as BVH too",
        ),
    ),
    **dict.fromkeys(
        (".csv", ".tsv"),
        _Kind(_starts(b""), "a table (CSV)", "CSV: its columns mean something else in every tool; export BVH or glTF"),
    ),
    **dict.fromkeys(
        (".trc", ".mot", ".sto"),
        _Kind(_starts(b""), "markers or joint angles of OpenSim (TRC, MOT)", "solve them to a skeleton and export BVH"),
    ),
    ".bip": _Kind(_starts(b""), "3ds Max's Biped (BIP)", "load it in 3ds Max and export BVH, or FBX for Blender"),
    ".max": _Kind(_starts(b""), "a 3ds Max scene", "export it from 3ds Max as FBX, then in Blender as BVH"),
    ".mvnx": _Kind(_starts(b""), "Xsens' MVNX", "export the recording from Xsens MVN as BVH"),
    ".htr": _Kind(_starts(b""), "Motion Analysis' HTR", f"HTR: {_BLENDER}"),
}
"""Formats that are recognised by the ending of the file, because they begin in too many ways."""

_TEXT_ENDINGS = (b":fully-specified", b":version", b"pathfiletype")
_KNOWN = (b"HIERARCHY", b"glTF", b"{", b"[", b"PK\x03\x04", b"\x93NUMPY", b"\x80", b"\x78", b"\x1f\x8b")
"""How supported files begin, which are read whatever their ending."""


def refuse_other_kinds(path: Path, head: bytes, expected: str, motion: bool = False) -> None:
    """Raises a `DataError` if a file is known to be something else.

    Args:
        path: the file.
        head: its first `HEAD` bytes.
        expected: what it should be, for the message.
        motion: whether to look for motion formats too.
    """
    if not head:
        raise DataError(path, "an empty file", expected, "download or copy it again")
    if not head.strip(b"\0"):
        found = f"nothing but zeros in the first {len(head)} bytes: a download or a copy that failed"
        raise DataError(path, found, expected, "download or copy it again")
    text = head.removeprefix(b"\xef\xbb\xbf")
    for kind in (*_ANYWHERE, *(_MOTIONS if motion else ())):
        if kind.begins(text):
            raise DataError(path, kind.name, expected, kind.fix)
    if not motion:
        return
    plain = b"".join(line for line in text.splitlines() if not line.startswith((b";", b"#"))).lstrip().lower()
    ending = ".amc" if plain.startswith(_TEXT_ENDINGS[:2]) else ".trc" if plain.startswith(_TEXT_ENDINGS[2]) else ""
    ending = ending or ("" if text.lstrip().startswith(_KNOWN) else path.suffix.lower())
    if ending in _ENDINGS:
        raise DataError(path, _ENDINGS[ending].name, expected, _ENDINGS[ending].fix)
