"""`people-snapshot`: one person turning in front of a camera, raw as distributed or in InstantAvatar's layout."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from nerfstudio_avatars.bodies.smpl import load_body
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data import people_snapshot_raw as raw
from nerfstudio_avatars.instant_avatar.data import preprocessed
from nerfstudio_avatars.instant_avatar.data.person_scene import Scene, build_scene
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


@dataclass
class PeopleSnapshotDataParserConfig(DataParserConfig):
    """Reads PeopleSnapshot as distributed, or InstantAvatar's preprocessed layout, whichever the folder holds."""

    _target: type = field(default_factory=lambda: PeopleSnapshotDataParser)
    data: Path = Path("data/people-snapshot")
    """Folder that holds one subject, or several, of which `subject` then names one."""
    subject: str | None = None
    """Name of the subject to train on, if the folder holds several."""
    downscale_factor: int = 2
    """Factor to shrink pictures by, averaging areas; larger is faster and coarser, and 2 gives the paper's 540x540."""
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
class PeopleSnapshotDataParser(DataParser):
    """Puts a subject into the world frame: metres, z up, the median pelvis at the origin."""

    config: PeopleSnapshotDataParserConfig
    includes_time: bool = True
    downscale_factor: int | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **_: Any) -> DataparserOutputs:
        scene = self._scene()
        return scene.outputs(split, [_group(scene.recording, frame) for frame in scene.recording.splits[split]])

    def _scene(self) -> Scene:
        if getattr(self, "_built", None) is None:
            self._built = _build_scene(self.config)
        return self._built


def _group(recording: Recording, frame: int) -> str:
    """What a frame tests. Where none is held out, a learned one is shown again."""
    if frame in recording.novel_poses:
        return "novel_pose"
    return "training_view" if frame in recording.splits["train"] else "novel_view"


def find_subject(data: Path, subject: str | None) -> Path:
    """The folder of one subject, from it or from the folder of all."""
    expected = "camera.pkl, masks.hdf5, ... as distributed, or cameras.npz, images/, masks/, poses.npz"
    if _is_subject(data) and subject in (None, data.name):
        return data
    inside = (
        sorted(path.name for path in data.iterdir() if path.is_dir() and _is_subject(path)) if data.is_dir() else []
    )
    if subject is None and len(inside) == 1:
        return data / inside[0]
    if subject in inside:
        return data / str(subject)
    if inside:
        found = f"the subjects {', '.join(inside)}" + (f", no {subject}" if subject else "")
        raise DataError(data, found, "the name of one of them", f"add --subject {inside[0]} after people-snapshot")
    if not data.is_dir():
        raise DataError(data, "no such folder", expected, "give the subject's folder with --data")
    contents = ", ".join(sorted(path.name for path in data.iterdir())[:8]) or "nothing"
    raise DataError(data, contents, expected, "give the subject's folder with --data, or the folder that holds it")


def _is_subject(folder: Path) -> bool:
    return raw.is_raw(folder) or preprocessed.is_preprocessed(folder)


def _build_scene(config: PeopleSnapshotDataParserConfig) -> Scene:
    folder = find_subject(Path(config.data), config.subject)
    reader = raw if raw.is_raw(folder) else preprocessed
    notes = raw.read_splits(folder)
    splits = _splits(config, folder, notes, reader.count_frames(folder))
    recording = raw.read_raw(folder, splits) if reader is raw else preprocessed.read_preprocessed(folder, splits)
    gender = _gender(config, recording, notes)
    body = load_body(_body_name(config, notes), gender)
    motion = replace(recording.motion, gender=gender, body=str(body.name))
    return build_scene(
        recording,
        motion,
        body,
        downscale_factor=config.downscale_factor,
        decontaminate_edges=config.decontaminate_edges,
        half_pixel=config.half_pixel,
    )


def _splits(config: PeopleSnapshotDataParserConfig, folder: Path, notes: dict[str, Any], count: int) -> Splits:
    if notes:
        splits = {name: sorted(notes[name]) for name in SPLITS}
    else:
        splits = published_split(folder.name) or held_out_split(count, config.holdout_every)
    given = {name: text for name in SPLITS if (text := getattr(config, name)) is not None}
    splits |= {name: parse_range(text, f"--{name}") for name, text in given.items()}
    check_split(splits, count, folder)
    return splits


def _gender(config: PeopleSnapshotDataParserConfig, recording: Recording, notes: dict[str, Any]) -> str:
    if config.gender != "auto":
        return config.gender
    named = recording.subject.split("-")[0]
    told = notes.get("gender", named if named in ("male", "female") else recording.motion.gender)
    return told if told in ("male", "female", "neutral") else "neutral"


def _body_name(config: PeopleSnapshotDataParserConfig, notes: dict[str, Any]) -> str:
    """A path is taken from the user only, never from the data."""
    told = notes.get("body")
    return told if config.body == "auto" and told in ("standin", "smpl") else config.body
