"""SMPL files: the kind of body they contain."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.bodies.smpl_arrays import KEYS
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.bodies.smpl_files import read_smpl
from nerfstudio_avatars.bodies.smpl_search import GENDERS, find_smpl
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.contact_sheet import SheetRow

SUFFIXES = frozenset({".npz", ".pkl", ".pth", ".pt"})
_GENDER = re.compile(r"(?:^|[_\-.])(neutral|male|female|n|m|f)(?=[_\-.]|$)")


def read_body_file(path: Path) -> Report:
    """Reads an SMPL file.

    Raises:
        Unfamiliar: the file is something else.
        DataError: it is a body that cannot be used.
    """
    try:
        arrays = read_smpl(path)
    except DataError as error:
        missing = error.found.startswith(f"no {', '.join(KEYS)};")
        if not missing and ("model, with" in error.found or any(key in error.found for key in KEYS[:-1])):
            raise
        raise Unfamiliar(error.found) from error
    gender = _gender(path)
    height = float(np.ptp(arrays.v_template[:, 1]))
    facts = (
        Fact("layout", "SMPL"),
        Fact("vertices", len(arrays.v_template)),
        Fact("faces", len(arrays.f)),
        Fact("joints", arrays.weights.shape[1]),
        Fact("betas used", arrays.shapedirs.shape[2]),
        Fact("pose correctives", "yes" if arrays.posedirs.any() else "none"),
        Fact("gender", gender or "not in its name"),
        Fact("height", height, "m"),
    )
    notes = () if gender else ("the file does not say its gender: name it SMPL_NEUTRAL, SMPL_MALE or SMPL_FEMALE",)
    return Report(path, "body", facts, notes, lambda: _rows(path, SmplBody(arrays, str(path), gender or "neutral")))


def read_body_folder(path: Path) -> Report:
    """Looks for SMPL files in a folder, as `--body` does, and opens them.

    Raises:
        Unfamiliar: the folder has none.
        DataError: one of them cannot be used.
    """
    found = {gender: find_smpl(gender, path).path for gender in GENDERS}
    files = {gender: str(file.relative_to(path)) for gender, file in found.items() if file is not None}
    if not files:
        raise Unfamiliar("no SMPL_NEUTRAL, SMPL_MALE or SMPL_FEMALE (.pkl, .npz, .pth) in it")
    for file in found.values():
        if file is not None:
            read_smpl(file)
    missing = [gender for gender in GENDERS if gender not in files]
    notes = (f"no file for {', '.join(missing)}",) if missing else ()
    return Report(path, "body", tuple(Fact(gender, file) for gender, file in files.items()), notes)


def _gender(path: Path) -> str | None:
    words = [*_GENDER.findall(path.stem.lower()), *(name for name in GENDERS if name == path.parent.name.lower())]
    return next((name for word in words for name in GENDERS if name.startswith(word)), None)


def _rows(path: Path, body: SmplBody) -> list[SheetRow]:
    import torch

    from nerfstudio_avatars.avatars.inspection.body_picture import motion_rows
    from nerfstudio_avatars.bodies.body_sequence import BodySequence

    # Upright and facing +y, in the rest pose.
    half = torch.pi / 2**0.5
    upright = torch.tensor([[0.0, half, half]])
    rest = BodySequence(torch.zeros(10), upright, torch.zeros(1, 69), torch.zeros(1, 3))
    return motion_rows(path.name, rest, body)
