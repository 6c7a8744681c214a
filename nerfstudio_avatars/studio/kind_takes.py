"""Pictures, films and curves of what the page shows of a kind."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np

from nerfstudio_avatars.avatars.driving_clip import save_curves
from nerfstudio_avatars.avatars.exporting_parts import PartsExport, identity_mesh, mesh_file
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.frame_writer import FrameWriter
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.sight import Sight

KindCamera = Literal["as seen", "turning"]
_SWING = 25.0
"""Degrees that a turning film turns the object to each side."""
_MOST_FRAMES = 20_000
"""Of a film."""
MESHES = (".glb", ".html")
"""Endings of files that hold a mesh."""


@dataclass(frozen=True)
class KindFilm:
    """How to film."""

    camera: KindCamera = "as seen"
    """Whether the object is seen as now, or turns from side to side besides."""
    side: int = 512
    """The longer side of the pictures, in pixels."""


def take_kind_picture(show: KindShow, sight: Sight, side: int) -> bytes:
    """A PNG file of what is shown now.

    Args:
        show: the kind.
        sight: from where.
        side: the longer one, in pixels.
    """
    from PIL import Image

    picture = show.draw(sight, side, lambda: False)
    assert picture is not None
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def take_kind_film(
    show: KindShow, sight: Sight, film: KindFilm, progress: Callable[[int, int], None], stop: Callable[[], bool]
) -> bytes | None:
    """An mp4 file of the clip that is chosen, once, at its own rate.

    Args:
        show: the kind.
        sight: from where.
        film: how.
        progress: called with the number of pictures done, and of all.
        stop: whether it is still wanted.

    Returns:
        The file, or None if it was stopped.

    Raises:
        UserError: a clip that is too long.
    """
    with show.session.lock:
        total, fps = show.session.playback.frames, show.session.playback.fps * show.session.playback.speed
    if total > _MOST_FRAMES:
        raise UserError(f"The clip has {total} frames. Expected at most {_MOST_FRAMES}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with FrameWriter(path, max(round(fps), 1)) as writer:
            for frame in range(total):
                swing = _SWING * math.sin(2 * math.pi * frame / total) if film.camera == "turning" else 0.0
                picture = show.draw(sight, film.side, stop, frame, swing)
                if picture is None or stop():
                    return None
                writer.write(np.ascontiguousarray(picture))
                progress(frame + 1, total)
        return path.read_bytes()


def take_curves(show: KindShow, ending: str) -> bytes:
    """A file of the curves of the clip that is chosen, as it moves whoever is shown.

    Args:
        show: the kind.
        ending: `.npz` or `.json`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"motion{ending}"
        with show.shared.using():
            save_curves(show.session.driven(), show.model, path)
        return path.read_bytes()


def take_mesh(
    show: KindShow,
    ending: str,
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
    sizes: PartsExport | None = None,
) -> bytes | None:
    """A file of whoever is shown as a mesh, with the clip that is chosen as its animation.

    Args:
        show: the kind.
        ending: of `MESHES`: GLB, or a page.
        progress: called with the number of pictures that the texture is fitted to, done and of all.
        stop: whether it is still wanted.
        sizes: of the mesh and its texture.

    Returns:
        The file, or None if it was stopped.

    Raises:
        UserError: if there is no surface, because the run was hardly trained.
    """

    def drawn(done: int, total: int) -> None:
        progress(done, total)
        if stop():
            raise _Stopped
        show.shared.give_way()

    try:
        with show.shared.using():
            session, options = show.session, sizes or PartsExport()
            clips = {Path(session.chosen).stem: session.driven()}
            made = identity_mesh(show.model, session.cube(), clips, options, drawn)
            return mesh_file(show.model, made, clips, options, session.who if ending == ".html" else None)
    except _Stopped:
        return None


class _Stopped(Exception):
    """It is not wanted any more."""
