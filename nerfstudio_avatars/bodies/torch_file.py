"""Files of `torch.save` from elsewhere: plain tensors only, and no more memory than the file is large."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import zipfile
from typing import Any

from nerfstudio_avatars.bodies.shared_values import check_shared_values

_MOST_INSTRUCTIONS = 2_000_000
"""Of the pickles in a file; those of a body or a motion have some thousands."""
_OLD_PICKLES = 5
"""Pickles at the start of a file of torch before 1.6: a number, a version, the machine, the values, the storages."""
_DAMAGED = (
    zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, ArithmeticError, AssertionError, AttributeError, EOFError,
    LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class ForeignObjects(ValueError):
    """A file that needs more than plain tensors. Nothing in it was executed."""


def load_tensors(content: bytes) -> Any:
    """Reads what `torch.save` wrote, of any version: tensors, and dicts, lists, text and numbers around them.

    Args:
        content: the file.

    Raises:
        ForeignObjects: it needs other objects.
        ValueError: it is damaged, or unpacks to more than it is, or its values become too many.
    """
    import torch

    try:
        _check(content)
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's message goes on about how to switch the safety off.
        named = re.search(r"GLOBAL ([\w.]*\w)", str(error))
        what = f"the name `{named[1]}`" if named else "something else than plain tensors"
        raise ForeignObjects(f"{what} (not executed)") from error
    except _DAMAGED as error:
        # Nor are its other messages for users: some give the same advice.
        raise ValueError(f"a file of torch that is damaged, or no such file ({type(error).__name__})") from error
    check_shared_values(value)
    return value


def _check(content: bytes) -> None:
    if not content.startswith(b"PK"):
        stream = io.BytesIO(content)
        for _ in range(_OLD_PICKLES):
            _check_pickle(stream)
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        # torch stores without compression: what claims to be larger than its file grows in memory.
        if sum(one.file_size for one in members) > len(content) or any(one.compress_type for one in members):
            raise ValueError("an archive that unpacks to more than it is")
        for one in members:
            if one.filename.endswith("data.pkl"):
                _check_pickle(io.BytesIO(archive.read(one)))


def _check_pickle(stream: io.BytesIO) -> None:
    for number, _ in enumerate(pickletools.genops(stream)):
        if number > _MOST_INSTRUCTIONS:
            raise ValueError(f"more than {_MOST_INSTRUCTIONS} values")
