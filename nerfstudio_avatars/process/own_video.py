"""A phone's video becomes a subject to train on: looked at, fitted, written, drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    field_of_view: float | None = None
    """Field of view along the longer side of the filmed picture, in degrees; a phone's main camera has about 60.
    By default it is found from how the person looks from all sides."""
    body: str = "auto"
    """Body model to fit: `standin`, `smpl`, the path of an SMPL file, or `auto`.
    With `auto`, SMPL is used if its file is found, and the stand-in if not."""
    poses: Path | None = None
    """Motion file with the person's poses in this video, from another tool such as WHAM, GVHMR or 4D-Humans.
    The poses have to be in the camera's axes. By default poses are found here."""
    masks: Path | None = None
    """Folder with masks of the person in this video, from another tool such as SAM 2.
    There is one for each frame, or their names hold the numbers of their frames. By default masks are found here."""
    person: str | None = None
    """Person to take, where there are several: the number counted from the left in the first frame, from 1.
    By default the largest one is taken. With `--poses`, it is the name in that file; by default the one in most frames.
    """

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
        from nerfstudio_avatars.process.given_masks import GivenMasks
        from nerfstudio_avatars.process.given_poses import GivenPoses
        from nerfstudio_avatars.tflite import RuntimeMissing

        self._check()
        folder = self.folder
        if folder.exists():
            raise UserError(f"{folder}: exists already. Remove it, or choose another --output.")
        check_folder(folder.parent)
        with progress_bar("") as bar:

            def report(what: str, done: int, of: int) -> None:
                bar(done, of, what)

            count, fps = subject.length_of(self.video)
            body = load_body(self.body)
            masks = GivenMasks.find(self.masks, count) if self.masks else None
            poses = GivenPoses.read(self.poses, self.person, body, count, fps) if self.poses else None
            moments = (self.start, self.end)
            try:
                person = int(self.person) if self.person and poses is None else None
                footage = subject.look_at(self.video, self.frames, moments, self.size, report, masks, poses, person)
            except RuntimeMissing as error:
                raise UserError(str(error)) from error
            told = []
            if poses is None:
                fitted, field_of_view = subject.fit(footage, body, self.field_of_view, report)
                if self.field_of_view is None:
                    told.append(f"The camera's field of view was found to be {field_of_view:.0f} degrees.")
            else:
                told_by_file = poses.field_of_view(*footage.framing.filmed)
                field_of_view = self.field_of_view or told_by_file or subject.PHONES_VIEW
                footage, fitted, where = subject.fit_given(footage, poses, body, field_of_view)
                told = [*poses.told, where]
        subject.write_subject(folder, footage, fitted, field_of_view, lambda at: _draw(at / SHEET, footage, fitted))
        found = judge(footage, fitted)
        return replace(found, told=[*told, *found.told])

    def _check(self) -> None:
        for name, least in (("frames", 8), ("size", 64)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: expected at least {least}.")
        if self.person is not None and self.poses is None:
            if not (self.person.isascii() and self.person.isdigit() and int(self.person)):
                fix = "the number of a person, counted from the left in the first frame, or --poses with a motion file"
                raise UserError(f"--person {self.person}: expected {fix}.")
            if self.masks is not None:
                raise UserError(f"--person {self.person}: the masks already say who it is. Leave one of them out.")
        if self.field_of_view is not None and not 5 <= self.field_of_view <= 150:
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
