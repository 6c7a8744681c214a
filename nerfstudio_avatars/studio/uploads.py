"""Files that a browser sends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

import viser


@contextmanager
def uploaded(file: viser.UploadedFile) -> Iterator[Path]:
    """The file on disk, as long as it is read, under its own name."""
    name = PureWindowsPath(file.name).name or "file"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(file.content)
        yield path
