"""`people-snapshot`: one person in front of a camera, as PeopleSnapshot or NeuMan, or in InstantAvatar's layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from nerfstudio_avatars.bodies.smpl import load_body
from nerfstudio_avatars.bodies.smpl_search import GENDERS
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data import neuman, preprocessed
from nerfstudio_avatars.instant_avatar.data import people_snapshot_raw as raw
from nerfstudio_avatars.instant_avatar.data.person_dataparser import PersonDataParser
from nerfstudio_avatars.instant_avatar.data.person_scene import Scene, build_scene
from nerfstudio_avatars.instant_avatar.data.prepared_pictures import PERSON
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import (
    HELD_OUT_EVERY,
    SPLITS,
    Splits,
    check_split,
    held_out_split,
    parse_range,
    published_split,
)
from nerfstudio_avatars.media.folder_layouts import name_layout

_PAPERS_FACTOR = 2.0
"""Gives the 540x540 pixels of the paper's PeopleSnapshot."""
PERSON_HEIGHT = 540
"""Largest height in pixels at which a person of one's own video is learnt by default."""
_MEASURED = 16
"""Number of masks to measure the person in."""


@dataclass
class PeopleSnapshotDataParserConfig(DataParserConfig):
    """Reads PeopleSnapshot or NeuMan as distributed, or InstantAvatar's layout, whichever the folder holds."""

    _target: type = field(default_factory=lambda: PeopleSnapshotDataParser)
    data: Path = Path("data/people-snapshot")
    """Folder that holds one subject, or several, of which `subject` then names one."""
    subject: str | None = None
    """Name of the subject to train on, if the folder holds several."""
    downscale_factor: float | None = None
    """Factor to shrink pictures by, averaging areas; larger is faster and coarser.
    By default, one's own video is shrunk until the person is 540 pixels tall, and published data by the paper's 2."""
    train: str | None = None
    """Frames to train on, as start:end:step with the end included.
    By default the published frames or, if there are none, all that are not held out."""
    val: str | None = None
    """Frames to validate on, as start:end:step with the end included."""
    test: str | None = None
    """Frames to test on, as start:end:step with the end included."""
    holdout_every: int = HELD_OUT_EVERY
    """Number of frames of which the last is held out, if no frames are published or given; 0 holds out none."""
    gender: Literal["auto", "neutral", "male", "female"] = "auto"
    """Gender of the body model to use; `auto` reads it from the data or from the name of the subject."""
    body: str = "auto"
    """Body model to use: `standin`, `smpl`, the path of an SMPL file, or `auto`.
    With `auto`, the data decide; if they do not say, SMPL is used if its file is found, and the stand-in if not."""
    half_pixel: Literal["correct", "reference"] = "correct"
    """Position of rays in their pixels: `correct` sends them through pixel centres.
    The published code's choice is `reference`, which is off by a quarter of a pixel."""
    decontaminate_edges: bool = True
    """Whether to take silhouette colours of training pictures from the nearest pixel that is surely inside the person.
    This keeps the background from being learnt."""


@dataclass
class PeopleSnapshotDataParser(PersonDataParser):
    """Parses one subject."""

    config: PeopleSnapshotDataParserConfig
    groups: tuple[str, str] = ("training_view", "novel_view")

    def _read_scene(self) -> Scene:
        return read_scene(self.config)


def _find_subject(data: Path, subject: str | None) -> Path:
    """Finds the folder of one subject, given that folder or the one that holds all subjects."""
    expected = "camera.pkl, masks.hdf5, ... as distributed, or cameras.npz, images/, masks/, poses.npz, or NeuMan's"
    if layout_of(data) and subject in (None, data.name):
        return data
    inside = sorted(path.name for path in data.iterdir() if path.is_dir() and layout_of(path)) if data.is_dir() else []
    if subject is None and len(inside) == 1:
        return data / inside[0]
    if subject in inside:
        return data / str(subject)
    if inside:
        found = f"the subjects {', '.join(inside)}" + (f", no {subject}" if subject else "")
        raise DataError(data, found, "the name of one of them", f"add --subject {inside[0]} after people-snapshot")
    if not data.is_dir():
        found = "a file" if data.exists() else "no such folder"
        raise DataError(data, found, expected, "give the subject's folder with --data")
    layout = name_layout(data)
    if layout is not None:
        what, way = layout
        raise DataError(data, what, expected, way)
    contents = ", ".join(sorted(path.name for path in data.iterdir())[:8]) or "nothing"
    raise DataError(data, contents, expected, "give the subject's folder with --data, or the folder that holds it")


LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], int]]] = {
    "PeopleSnapshot": (raw.is_raw, raw.count_raw_frames),
    "InstantAvatar": (preprocessed.is_preprocessed, preprocessed.count_preprocessed_frames),
    "NeuMan": (neuman.is_neuman, neuman.count_neuman_frames),
}
"""For each layout, how a folder is recognised and how its frames are counted. The first that fits is taken."""


def layout_of(folder: Path) -> str | None:
    """The layout of one person's folder, as in `LAYOUTS`; None if it is in none of them."""
    return next((name for name, (fits, _) in LAYOUTS.items() if fits(folder)), None)


def read_scene(config: PeopleSnapshotDataParserConfig) -> Scene:
    """Reads a subject, compares its parts with each other, and turns it upright.

    Raises:
        DataError: a part is missing, damaged, or cannot belong to the others.
    """
    folder = _find_subject(Path(config.data), config.subject)
    noted = raw.read_splits(folder)
    layout = str(layout_of(folder))
    splits, told = _splits(config, folder, noted, LAYOUTS[layout][1](folder))
    if layout == "NeuMan":
        gender = _gender(config, "", noted, "neutral")
        body = load_body(_body_name(config, noted), gender)
        recording = neuman.read_neuman(folder, splits, lambda betas: body.rest(betas)[1][0])
    else:
        read = raw.read_raw if layout == "PeopleSnapshot" else preprocessed.read_preprocessed
        recording = read(folder, splits)
        gender = _gender(config, recording.subject, noted, recording.motion.gender)
        body = load_body(_body_name(config, noted), gender)
    return build_scene(
        replace(recording, notes=(*recording.notes, *told)),
        replace(recording.motion, gender=gender, body=str(body.name)),
        body,
        downscale_factor=_downscale_factor(config, folder, layout, recording),
        decontaminate_edges=config.decontaminate_edges,
        half_pixel=config.half_pixel,
    )


def _downscale_factor(config: PeopleSnapshotDataParserConfig, folder: Path, layout: str, recording: Recording) -> float:
    """What is asked for; or else the paper's factor, or what suits the height of the person in the pictures."""
    if config.downscale_factor is not None:
        return config.downscale_factor
    if layout != "InstantAvatar" or published_split(folder.name):
        return _PAPERS_FACTOR
    frames = sorted(recording.splits["train"])[:: max(len(recording.splits["train"]) // _MEASURED, 1)]
    rows = [np.flatnonzero((mask > PERSON).any(1)) for mask in recording.masks(frames)]
    heights = [seen[-1] + 1 - seen[0] for seen in rows if len(seen)]
    return max(float(np.median(heights)) / PERSON_HEIGHT, 1.0) if heights else 1.0


def _splits(
    config: PeopleSnapshotDataParserConfig, folder: Path, noted: dict[str, Any], count: int
) -> tuple[Splits, tuple[str, ...]]:
    """The frames of each split, and notes on them."""
    known = {name: sorted(noted[name]) for name in SPLITS} if noted else published_split(folder.name)
    if known is None and layout_of(folder) == "NeuMan":
        known = neuman.read_neuman_splits(folder) or None
    splits = known or held_out_split(count, config.holdout_every)
    given = {name: text for name in SPLITS if (text := getattr(config, name)) is not None}
    within = {name: [frame for frame in frames if frame < count] for name, frames in splits.items()}
    told = [
        f"{len(frames) - len(within[name])} of {len(frames)} {name} frames come after the last, {count - 1}: left out"
        for name, frames in splits.items()
        if name not in given and len(within[name]) < len(frames)
    ]
    # If a recording was cut so that no published frame is left, the last frame is shown instead.
    instead = {"train": splits["train"], "val": [count - 1], "test": [count - 1]}
    splits = {name: frames or instead[name] for name, frames in within.items()}
    splits |= {name: parse_range(text, f"--{name}") for name, text in given.items()}
    check_split(splits, count, folder)
    return splits, tuple(told)


def _gender(config: PeopleSnapshotDataParserConfig, subject: str, noted: dict[str, Any], of_motion: str) -> str:
    if config.gender != "auto":
        return config.gender
    named = subject.split("-", maxsplit=1)[0]
    told = str(noted.get("gender", named if named in GENDERS else of_motion)).lower()
    if told not in (*GENDERS, "", "none", "unknown"):
        found = f"the gender {told!r}"
        raise DataError(config.data, found, ", ".join(GENDERS), "correct it in the data, or give --gender neutral")
    return told if told in GENDERS else "neutral"


def _body_name(config: PeopleSnapshotDataParserConfig, notes: dict[str, Any]) -> str:
    """The body to use. Paths are only taken from the user, never from the data."""
    told = notes.get("body")
    return told if config.body == "auto" and told in ("standin", "smpl") else config.body
