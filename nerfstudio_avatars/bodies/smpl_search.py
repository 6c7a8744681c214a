"""Places where SMPL files are usually kept, and the message to print if there are none."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from nerfstudio_avatars.errors import DataError

_LOG = logging.getLogger(__name__)
GENDERS = ("neutral", "male", "female")
VARIABLES = ("SMPL_MODEL_PATH", "SMPLX_MODEL_PATH")

# Ours, smplx, InstantAvatar (data/SMPLX), 3DGS-Avatar (body_models), GauHuman (assets), InstantNVR (smpl-meta),
# VIBE-like (data, smpl_data), 4D-Humans and PHALP (~/.cache), ROMP (~/.romp); {home} is the user's folder.
_FOLDERS = (
    ".",
    "data",
    "data/SMPLX",
    "data/smplx",
    "data/body_models",
    "body_models",
    "models",
    "assets",
    "smpl-meta",
    "smplx/models",
    "smplx",
    "{home}/.cache/phalp/3D/models",
    "{home}/.cache/4DHumans/data",
    "{home}/.romp",
    "{home}/.cache/nerfstudio_avatars",
)
# Folders inside each of them: smplx's layout, the official zip files, 3DGS-Avatar's.
_INNER = (
    "",
    "smpl",
    "SMPL",
    "smpl/{gender}",
    "{gender}",
    "models",
    "smpl/models",
    "smpl_models",
    "SMPL_python_v.1.1.0/smpl/models",
    "SMPL_python_v.1.0.0/smpl/models",
)
_LETTERS = {"neutral": ("neutral", "n"), "male": ("male", "m"), "female": ("female", "f")}


@dataclass
class SmplSearch:
    """The result of a search for an SMPL file."""

    path: Path | None = None
    """The file, if one was found."""
    tried: list[str] = field(default_factory=list)
    """Folders that were searched, in order."""
    others: list[Path] = field(default_factory=list)
    """Files of other genders or other body models (SMPL-X, SMPL-H) in these folders."""


def cache_folder() -> Path:
    """The folder of converted files: `$NERFSTUDIO_AVATARS_CACHE`, or `nerfstudio_avatars` in the user's cache."""
    own = os.environ.get("NERFSTUDIO_AVATARS_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nerfstudio_avatars"


def find_smpl(gender: str = "neutral", place: str | Path | None = None) -> SmplSearch:
    """Looks for the SMPL file of a gender.

    Args:
        gender: `neutral`, `male` or `female`.
        place: the only file or folder to search; by default `$SMPL_MODEL_PATH`, `$SMPLX_MODEL_PATH`, then the usual
            folders in the working directory and the user's home.
    """
    if gender not in GENDERS:
        raise ValueError(f"gender is {gender!r}, expected one of {', '.join(GENDERS)}")
    search = SmplSearch()
    if place is not None:
        roots = [Path(place).expanduser()]
    else:
        roots = [Path(os.environ[name]).expanduser() for name in VARIABLES if os.environ.get(name)]
        roots += [Path(folder.format(home=Path.home())) for folder in _FOLDERS]
    for root in roots:
        if root.is_file():
            search.path = root
            return search
        if not root.is_dir():
            search.tried.append(f"{root} (does not exist)")
            continue
        for inner in _INNER:
            folder = root / inner.format(gender=gender)
            if folder.is_dir():
                search.tried.append(str(folder))
                search.path = _file_in(folder, gender, search.others)
                if search.path is not None:
                    return search
    return search


def _file_in(folder: Path, gender: str, others: list[Path]) -> Path | None:
    """The file of a gender in a folder, under any of its known names, ignoring case; npz before pickle."""
    names = "|".join(_LETTERS[gender])
    any_gender = "|".join(name for group in _LETTERS.values() for name in group)
    pattern = r"(smpl_({0})|basicmodel_({0})_lbs_10_207_0_v1\.\d\.\d)\.(npz|pkl|pth)"
    wanted = re.compile(pattern.format(names) + (r"|model\.(npz|pkl)" if folder.name == gender else ""))
    similar = re.compile(pattern.format(any_gender) + r"|(smplx|smplh|smpl\+h)_\w+\.(npz|pkl)|model\.(npz|pkl)")
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".npz", ".pkl", ".pth"))
    except OSError as error:
        _LOG.warning("cannot look into %s: %s", folder, error.strerror)
        return None
    matching = [path for path in files if wanted.fullmatch(path.name.lower()) and path.is_file()]
    others += [
        path for path in files if path not in matching and path not in others and similar.fullmatch(path.name.lower())
    ]
    order = (".npz", ".pkl", ".pth")
    return min(matching, key=lambda path: order.index(path.suffix.lower()), default=None)


def not_found(name_or_path: str | Path, gender: str, search: SmplSearch) -> DataError:
    """The error that says what was searched for, where, and what to do next."""
    letter = _LETTERS[gender][0 if gender == "neutral" else 1]
    names = f"SMPL_{gender.upper()}.pkl (or .npz, .pth), basicmodel_{letter}_lbs_10_207_0_v1.1.0.pkl"
    places = "".join(f"\n            {place}" for place in search.tried)
    expected = f"{names}, in one of{places or ' (no place to look in)'}"
    found = "no SMPL file"
    if search.others:
        found += f" of that kind, but {', '.join(map(str, search.others[:6]))}"
    fix = (
        "get SMPL (free for research) from smpl.is.tue.mpg.de and set $SMPL_MODEL_PATH to its file or folder; "
        "or continue without SMPL: `--body standin`"
    )
    return DataError(name_or_path, found, expected, fix)


@lru_cache
def warn_of_standin(tried: tuple[str, ...]) -> None:
    """Warns once that the stand-in is used in place of SMPL."""
    _LOG.warning(
        "No SMPL file found in %d places (set $SMPL_MODEL_PATH to yours): using the STAND-IN body that ships with this "
        "package. Poses carry over; body shapes (betas) fitted to SMPL do not. `--body standin` silences this.",
        len(tried),
    )
