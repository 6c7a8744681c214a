"""`ns-avatar process`: a phone's video becomes a subject to train on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from nerfstudio_avatars.process.body_fit import FittedBody
    from nerfstudio_avatars.process.subject import Footage

LEAST_TURN = 270.0
"""Degrees; who turns by less leaves sides to be guessed."""
LEAST_OVERLAP = 0.6
"""Intersection over union of body and mask, below which a pose is doubtful."""


@dataclass
class Process:
    """Makes a subject for `ns-train instant-avatar` of a video of one person who turns around slowly before a camera
    that stands still: masks and landmarks by MediaPipe's models, which ship with us, and a body fitted to them."""

    video: Annotated[Path, tyro.conf.Positional]
    """A video, or a folder of pictures."""
    output: Path | None = None
    """The subject's folder; by default data/ and the video's name."""
    frames: int = 80
    """How many frames are taken, evenly spread."""
    start: float = 0.0
    """Where in the video to begin, seconds."""
    end: float | None = None
    """Where to end, seconds; by default its end."""
    size: int = 1080
    """Longer side of the pictures at most, pixels."""
    field_of_view: float = 60.0
    """Of the camera along the longer side of the picture, degrees: some 60 for a phone's main camera."""
    body: str = "auto"
    """`standin`, `smpl`, an SMPL file's path, or `auto`: SMPL if found, else the stand-in."""

    def run(self) -> None:
        """Writes the subject, and a sheet that shows the body over the pictures."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from nerfstudio_avatars.bodies.smpl import load_body
        from nerfstudio_avatars.process import subject
        from nerfstudio_avatars.tflite import RuntimeMissing

        self._check()
        output = self.output or Path("data") / self.video.stem
        if output.exists():
            raise UserError(f"{output}: exists. Remove it, or choose another --output.")
        check_folder(output.parent)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task("", total=None)

            def report(what: str, done: int, of: int) -> None:
                progress.update(task, description=what, completed=done, total=of)

            try:
                footage = subject.look_at(self.video, self.frames, (self.start, self.end), self.size, report)
            except RuntimeMissing as error:
                raise UserError(str(error)) from error
            fitted = subject.fit(footage, load_body(self.body), self.field_of_view, report)
        subject.write_subject(output, footage, fitted, self.field_of_view)
        _draw(output / "fit.png", footage, fitted)
        print(f"Wrote {len(footage.pictures)} frames, each with a mask and a pose: {output}")
        print(f"The body over the pictures, to be looked at: {output / 'fit.png'}")
        for line in remarks(footage, fitted):
            print(line)
        named = "" if self.body in ("auto", "standin", "smpl") else f" people-snapshot --body {self.body}"
        print(f"Next: ns-train instant-avatar --data {output}{named}   (instant-avatar-cpu without a GPU)")

    def _check(self) -> None:
        for name, least in (("frames", 8), ("size", 64)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} {getattr(self, name)}: expected at least {least}.")
        if not 5 <= self.field_of_view <= 150:  # noqa: PLR2004
            raise UserError(f"--field-of-view {self.field_of_view:g}: expected degrees between 5 and 150.")


def remarks(footage: Footage, fitted: FittedBody) -> list[str]:
    """How well it went, and what may spoil the avatar."""
    from nerfstudio_avatars.process.subject import turned_by

    turn = turned_by(fitted)
    lines = [
        f"Landmarks are met within {fitted.landmark_error:.1f} pixels, masks by {100 * fitted.overlaps.mean():.0f} % "
        f"(clothes and hair keep it below 100); the person turns by {turn:.0f} degrees."
    ]
    if footage.empty:
        lines.append(f"Left out, because nobody was found in them: frames {_listed(footage.empty)}.")
    doubtful = [n for n, overlap in zip(footage.numbers, fitted.overlaps, strict=True) if overlap < LEAST_OVERLAP]
    if doubtful:
        lines.append(f"Doubtful poses, which meet their masks badly: frames {_listed(doubtful)}.")
    if footage.cut_off:
        lines.append(
            f"The person reaches the picture's border: frames {_listed(footage.cut_off)}. Film from farther away."
        )
    if turn < LEAST_TURN:
        lines.append("Sides that the video does not show will be guessed. Film a whole turn.")
    return lines


def _listed(numbers: list[int], most: int = 12) -> str:
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


def _draw(path: Path, footage: Footage, fitted: FittedBody) -> None:
    from nerfstudio_avatars.cli.inspection.sheet import SheetRow, spread, write_sheet

    chosen = spread(len(footage.pictures))
    over = [_body_over(footage.pictures[index], fitted.silhouettes[index]) for index in chosen]
    cut = [footage.pictures[index] * footage.seen[index].person[..., None] for index in chosen]
    captions = [f"frame {footage.numbers[index]}: {100 * fitted.overlaps[index]:.0f} %" for index in chosen]
    write_sheet(path, [SheetRow("body", over, captions), SheetRow("mask", cut, captions)])


def _body_over(picture: UInt8[np.ndarray, "h w 3"], body: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    import numpy as np

    green = np.where(body[..., None], np.array([60, 200, 60]), picture)
    return (0.5 * picture + 0.5 * green).round().astype(np.uint8)
