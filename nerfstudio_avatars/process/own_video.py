"""A phone's video becomes a subject to train on: looked at, fitted, written, drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder
from nerfstudio_avatars.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from nerfstudio_avatars.process.body_fit import FittedBody
    from nerfstudio_avatars.process.findings import Findings
    from nerfstudio_avatars.process.subject import Footage

SHEET = "fit.png"
"""Shows the body over the pictures, in the subject's folder."""


@dataclass
class OwnVideo:
    """A video of one person who turns around, and how to read it."""

    video: Annotated[Path, tyro.conf.Positional]
    """Video file, or folder of pictures, that shows the person."""
    output: Path | None = None
    """Folder to write the subject to; by default the folder in data/ that is named like the video."""
    frames: int = 80
    """Number of frames to take, evenly spread over the video."""
    start: float = 0.0
    """Time in the video to begin at, in seconds."""
    end: float | None = None
    """Time in the video to end at, in seconds; by default the video is used to its end."""
    size: int = 2160
    """Largest length of the longer side of what is kept around the person, in pixels; if larger, it is scaled down."""
    field_of_view: float = 60.0
    """Field of view along the longer side of the filmed picture, in degrees; a phone's main camera has about 60."""
    body: str = "auto"
    """Body model to fit: `standin`, `smpl`, the path of an SMPL file, or `auto`.
    With `auto`, SMPL is used if its file is found, and the stand-in if not."""

    @property
    def folder(self) -> Path:
        """Where the subject goes."""
        return self.output or Path("data") / self.video.stem

    def process(self) -> Findings:
        """Writes the subject, and `fit.png`, a sheet that shows the body over the pictures.

        Returns:
            How well it went, and whether an avatar can be learnt.

        Raises:
            UserError: a folder that exists, a value that makes no sense, or a missing runtime of the networks.
            DataError: a video that cannot be read or shows nobody.
        """
        from nerfstudio_avatars.bodies.smpl import load_body
        from nerfstudio_avatars.process import subject
        from nerfstudio_avatars.process.findings import judge
        from nerfstudio_avatars.tflite import RuntimeMissing

        self._check()
        folder = self.folder
        if folder.exists():
            raise UserError(f"{folder}: exists already. Remove it, or choose another --output.")
        check_folder(folder.parent)
        with progress_bar("") as bar:

            def report(what: str, done: int, of: int) -> None:
                bar(done, of, what)

            try:
                footage = subject.look_at(self.video, self.frames, (self.start, self.end), self.size, report)
            except RuntimeMissing as error:
                raise UserError(str(error)) from error
            fitted = subject.fit(footage, load_body(self.body), self.field_of_view, report)
        subject.write_subject(
            folder, footage, fitted, self.field_of_view, lambda at: _draw(at / SHEET, footage, fitted)
        )
        return judge(footage, fitted)

    def _check(self) -> None:
        for name, least in (("frames", 8), ("size", 64)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: expected at least {least}.")
        if not 5 <= self.field_of_view <= 150:
            raise UserError(f"--field-of-view {self.field_of_view:g}: expected degrees between 5 and 150.")


def _draw(path: Path, footage: Footage, fitted: FittedBody) -> None:
    from nerfstudio_avatars.media.contact_sheet import SheetRow, spread, write_sheet

    chosen = spread(len(footage.pictures))
    over = [_body_over(footage.pictures[index], fitted.silhouettes[index]) for index in chosen]
    cut = [footage.pictures[index] * footage.seen[index].person[..., None] for index in chosen]
    captions = [f"frame {footage.numbers[index]}: {100 * fitted.overlaps[index]:.0f} %" for index in chosen]
    write_sheet(path, [SheetRow("body", over, captions), SheetRow("mask", cut, captions)])


def _body_over(picture: UInt8[np.ndarray, "h w 3"], body: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    import numpy as np

    green = np.where(body[..., None], np.array([60, 200, 60]), picture)
    return (0.5 * picture + 0.5 * green).round().astype(np.uint8)
