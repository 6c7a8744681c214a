"""Body models by name: the stand-in, or SMPL from the user's files."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.bodies.smpl_files import read_smpl
from nerfstudio_avatars.bodies.smpl_search import find_smpl, not_found, warn_of_standin
from nerfstudio_avatars.bodies.standin import load_standin

__all__ = ["SmplBody", "load_body"]

_SEARCHED = ("auto", "smpl")


def load_body(name_or_path: str | Path = "auto", gender: str = "neutral") -> SmplBody:
    """Loads a body by name, on the CPU.

    >>> load_body("standin").faces.shape[1]
    3

    Args:
        name_or_path: `standin` (ships with the package), `smpl` (the user's SMPL file, from the usual places), `auto`
            (SMPL if it is found, otherwise the stand-in, with a warning), or the path of an SMPL file or of its folder.
        gender: `neutral`, `male` or `female`, which selects the SMPL file. The stand-in has one shape for all.

    Raises:
        DataError: the file does not exist, or is not an SMPL model.
    """
    name = str(name_or_path)
    if name == "standin":
        return load_standin()
    search = find_smpl(gender, None if name in _SEARCHED else name_or_path)
    if search.path is not None:
        return SmplBody(read_smpl(search.path), name="smpl" if name in _SEARCHED else name, gender=gender)
    if name == "auto":
        warn_of_standin(tuple(search.tried))
        return load_standin()
    raise not_found(name_or_path, gender, search)
