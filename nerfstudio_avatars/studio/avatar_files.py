"""The avatar as a file, with the motion that the page shows: what `ns-avatar export` writes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.exporting import ENDINGS, ExportOptions, Format, export
from nerfstudio_avatars.avatars.run import LoadedRun
from nerfstudio_avatars.progress import Listener, listening
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.takes import take_motion

FORMATS: tuple[Format, ...] = tuple(name for name in ENDINGS if name != "motion")
"""Formats of an avatar, as `ExportOptions.format` names them."""


@dataclass(frozen=True)
class AvatarFile:
    """Which file to write."""

    name: str
    """Of the avatar: what the file is called, without its ending."""
    format: Format = "glb"
    triangles: int = 40_000
    texture_size: int = 1024
    maker: str = ""
    licence: str = ""


def take_avatar(show: PersonShow, run: LoadedRun, file: AvatarFile, listener: Listener) -> tuple[str, bytes]:
    """The file's name and content.

    Args:
        show: the person, whose motion that is chosen goes into formats that hold one.
        run: theirs.
        file: which one.
        listener: hears of the progress.

    Raises:
        UserError: an option out of range, or an avatar that is opaque nowhere.
    """
    stem = _plain(file.name)
    # The first bar of an export comes with its texture.
    listener(0, 1, "Finding the surface")
    with tempfile.TemporaryDirectory() as folder:
        # What is shown may be in no file at all, such as a pose made by hand.
        motion = Path(folder) / f"{_plain(show.session.chosen)}.npz"
        motion.write_bytes(take_motion(show, ".npz"))
        options = ExportOptions(
            format=file.format,
            motion=(str(motion),),
            triangles=file.triangles,
            texture_size=file.texture_size,
            picture_size=_picture_size(file.texture_size),
            root="as_is",
            up="y",
            maker=file.maker,
            licence=file.licence or None,
        )
        output = Path(folder) / f"{stem}{ENDINGS[file.format][0]}"
        with show.shared.using(), listening(_pausing(listener, show.shared.give_way)):
            export(run, output, options)
        return output.name, output.read_bytes()


def _picture_size(texture_size: int) -> int:
    """Pixels along each side of the pictures that a texture is fitted to: a smaller one takes less."""
    usual = ExportOptions()
    return min(max(usual.picture_size * texture_size // usual.texture_size, 48), usual.picture_size)


def _pausing(listener: Listener, give_way: Callable[[], None]) -> Listener:
    """The same listener, between whose calls pictures of the page are drawn."""

    def heard(done: float, total: float, title: str) -> None:
        give_way()
        listener(done, total, title)

    return heard


def _plain(name: str) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^\w .+-]", "_", Path(name).stem).strip(" .") or "avatar"
