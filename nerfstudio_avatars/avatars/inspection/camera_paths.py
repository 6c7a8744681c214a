"""Camera paths exported by nerfstudio's viewer."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import read_bytes
from nerfstudio_avatars.nerfstudio_glue.camera_paths import FIX, MOST_BYTES

SUFFIXES = frozenset({".json"})


def read_camera_path(path: Path) -> Report:
    """Reads a camera path, as used by `animate --camera`.

    Raises:
        Unfamiliar: the file is something else.
        DataError: it is a camera path that cannot be used.
    """
    try:
        found = read_camera_file(path)
    except UserError as error:
        if path.is_file() and b'"camera_path"' in read_bytes(path, most=MOST_BYTES):
            said = str(error).removeprefix(f"{path}: ")
            raise DataError(path, said, "a path that people can be filmed along", FIX) from error
        raise Unfamiliar("no camera path") from error
    cameras = found.cameras
    facts = (
        Fact("cameras", len(cameras)),
        Fact("duration", found.seconds, "s"),
        Fact("size", f"{int(cameras.width[0])}x{int(cameras.height[0])}"),
        Fact("render times", "none" if cameras.times is None else "all"),
    )
    return Report(path, "camera path", facts)
