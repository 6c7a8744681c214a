"""Where numba keeps compiled kernels: beside the modules, or in the user's cache, or else for this process alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
PACKAGE = Path(__file__).parent


def lasting_place(variables: Mapping[str, str] = os.environ) -> Path | None:
    """The folder in which kernels outlive this process; None if there is none, as with a read-only home.

    Args:
        variables: of the environment.
    """
    if VARIABLE in variables:
        return Path(variables[VARIABLE])
    home = Path(variables.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return next((place for place in (PACKAGE, home) if _can_be_written(place)), None)


def settle() -> None:
    """Finds a place for this process where there is no lasting one: without any, numba refuses to load a kernel.

    The folder is new, so that nobody else can have put a kernel there, and goes with the process.
    """
    if lasting_place() is not None:
        return
    import atexit
    import shutil

    folder = tempfile.mkdtemp(prefix="nerfstudio-avatars-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder


def _can_be_written(folder: Path) -> bool:
    """Tried, since permissions alone do not tell: in `/proc` root may write, and cannot."""
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return True
    except OSError:
        return False
