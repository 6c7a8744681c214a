"""Recordings of one person: PeopleSnapshot, InstantAvatar's layout, SURREAL."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data import surreal
from nerfstudio_avatars.instant_avatar.data.people_snapshot import (
    PeopleSnapshotDataParserConfig,
    layout_of,
    read_scene,
)
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.instant_avatar.data.surreal import ClipPictures, SurrealDataParserConfig
from nerfstudio_avatars.instant_avatar.data.surreal_clip import INFO, SurrealClip, read_clip
from nerfstudio_avatars.media.contact_sheet import SheetRow, spread
from nerfstudio_avatars.media.folder_layouts import name_layout

LOOKED_AT = 4
"""Pictures of each subject that are decoded, and clips of SURREAL whose pictures are."""
_MOST_CLIPS = 30
"""Maximum number of SURREAL clips to read."""


def read_people_snapshot(path: Path) -> Report:
    """Reads the folder of a subject, or of several.

    Raises:
        Unfamiliar: the folder has none.
        DataError: none of them can be used.
    """
    folders = [path] if layout_of(path) else sorted(inside for inside in path.iterdir() if layout_of(inside))
    if not folders:
        layout = name_layout(path)
        if layout is not None and "dataparser" not in layout[1]:
            raise DataError(path, layout[0], "data that can be learnt from", layout[1])
        raise Unfamiliar("neither camera.pkl and reconstructed_poses.hdf5 nor cameras.npz, in it or one folder below")
    usable: dict[str, Recording] = {}
    errors: list[DataError] = []
    for folder in folders:
        try:
            usable[folder.name] = _recording(folder)
        except DataError as error:
            errors.append(error)
    if not usable:
        raise errors[0]
    layouts = sorted({_layout(folder) for folder in folders})
    facts = [Fact("dataparser", "people-snapshot"), Fact("layout", " and ".join(layouts))]
    facts += [Fact("subjects", sorted(usable))]
    facts += [Fact(name, _told(recording)) for name, recording in usable.items()]
    notes = [f"{error.file}: {error.found}; expected {error.expected}. To fix it: {error.fix}" for error in errors]
    notes += [f"{name}: {note}" for name, recording in usable.items() for note in recording.notes]
    return Report(path, "data", tuple(facts), tuple(notes), lambda: [_row(*item) for item in usable.items()])


def _recording(folder: Path) -> Recording:
    """As `ns-train` would take it: read, compared, and a few of its pictures decoded."""
    recording = read_scene(PeopleSnapshotDataParserConfig(data=folder)).recording
    for _ in recording.read(sorted(set(spread(len(recording.motion) - len(recording.novel_poses), LOOKED_AT)))):
        pass
    return recording


def _layout(folder: Path) -> str:
    return f"{layout_of(folder)}'s"


def _told(recording: Recording) -> dict[str, Any]:
    splits = {name: len(frames) for name, frames in recording.splits.items()}
    size = {"size": f"{recording.width}x{recording.height}"}
    novel = {"in novel poses": len(recording.novel_poses)} if recording.novel_poses else {}
    return {"frames": len(recording.motion), "fps": recording.motion.fps, **size, "masks": "all", **splits, **novel}


def read_surreal(path: Path) -> Report:
    """Reads a folder with clips of SURREAL, at any depth.

    Raises:
        Unfamiliar: the folder has none.
        DataError: a clip cannot be used.
    """
    infos = sorted(path.rglob(f"*{INFO}"))
    if not infos:
        raise Unfamiliar(f"no *{INFO}, at any depth")
    clips = [read_clip(info) for info in infos[:_MOST_CLIPS]]
    recordings = [_surreal_recording(clip) for clip in clips[:LOOKED_AT]]
    persons: list[SurrealClip] = []
    for clip in clips:
        if not any(clip.shows_the_person_of(other) for other in persons):
            persons.append(clip)
    facts = [Fact("dataparser", "surreal"), Fact("clips", len(infos)), Fact("persons", len(persons))]
    for clip in clips:
        size = f"{clip.width}x{clip.height}"
        about = {"frames": len(clip), "fps": clip.fps, "size": size, "gender": clip.gender}
        facts.append(Fact(clip.info.relative_to(path).as_posix().removesuffix(INFO), about))
    notes = [f"{recording.subject}: {note}" for recording in recordings for note in recording.notes]
    if len(infos) > LOOKED_AT:
        notes.append(f"pictures and masks of the first {LOOKED_AT} clips were compared with the poses")
    if len(infos) > _MOST_CLIPS:
        notes.append(f"{len(infos) - _MOST_CLIPS} more clips, which were not read")
    return Report(path, "data", tuple(facts), tuple(notes), lambda: [_surreal_row(clip) for clip in clips[:4]])


def _surreal_recording(clip: SurrealClip) -> Recording:
    """As `ns-train` would take it: read, compared, and a few of its pictures decoded."""
    config = SurrealDataParserConfig(data=clip.info.parent, clip=clip.name, novel_clips="none")
    recording = surreal.read_scene(config).recording
    for _ in recording.read(sorted(set(spread(len(clip), LOOKED_AT)))):
        pass
    return recording


def _row(title: str, recording: Recording) -> SheetRow:
    return _pictures(title, recording.read, len(recording.motion))


def _surreal_row(clip: SurrealClip) -> SheetRow:
    return _pictures(clip.name, ClipPictures([clip]), len(clip))


def _pictures(title: str, read: Any, count: int) -> SheetRow:
    """Eight frames, faded outside the masks."""
    numbers = sorted(set(spread(count)))
    faint = partial(np.multiply, 1 / 255)
    drawn = []
    for picture in read(numbers):
        strength = 0.3 + 0.7 * faint(picture.mask.astype(np.float64))[..., None]
        drawn.append((255 - strength * (255 - picture.rgb.astype(np.float64))).round().astype(np.uint8))
    return SheetRow(title, drawn, [f"frame {number}" for number in numbers])
