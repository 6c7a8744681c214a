"""Identities saved by `ns-avatar invert`."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.avatars.identity import ENDING, load_identity
from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.media.npz_file import open_npz

SUFFIXES = frozenset({ENDING})


def read_identity_file(path: Path) -> Report:
    """Reads an identity, as used by `ns-avatar drive --identity`.

    Raises:
        Unfamiliar: the file is something else.
        DataError: it is an identity that cannot be used.
    """
    try:
        with open_npz(path) as file:
            if "cube" not in file:
                raise Unfamiliar("no cube in it")
    except ValueError as error:
        raise Unfamiliar(str(error)) from error
    cube, pose = load_identity(path)
    facts = (Fact("parts", pose.rotation.shape[1]), Fact("voxels along an edge", len(cube[0])))
    return Report(path, "identity", facts, ("it belongs to the run it was fitted with",))
