"""`people-snapshot`: one person turning before a camera, raw as distributed or in InstantAvatar's layout."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nerfstudio_avatars.bodies.smpl import SmplBody, load_body
from nerfstudio_avatars.data.body_sequence import BodySequence
from nerfstudio_avatars.data.dataparsers import people_snapshot_raw as raw
from nerfstudio_avatars.data.dataparsers import preprocessed
from nerfstudio_avatars.data.dataparsers.pictures import PreparedPictures
from nerfstudio_avatars.data.dataparsers.recording import Recording
from nerfstudio_avatars.data.dataparsers.snapshot_splits import (
    SPLITS,
    Splits,
    check_split,
    held_out_split,
    parse_range,
    published_split,
)
from nerfstudio_avatars.data.errors import DataError
from nerfstudio_avatars.data.frame_source import FrameSource

UPRIGHT = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
"""OpenCV's axes (y down, z forward) -> z up. The camera stands at +y and looks towards -y: `ns-render spiral` takes the
camera's backward axis for the upward one of its own frame, which is right only so."""
BOX_MARGIN = 0.25
"""Metres around the posed bodies: hair, shoes, clothes."""
POSES_FOR_BOX = 24
"""Frames whose posed vertices bound the scene."""


@dataclass
class PeopleSnapshotDataParserConfig(DataParserConfig):
    """PeopleSnapshot, or InstantAvatar's preprocessed layout, recognised by the files that are there."""

    _target: type = field(default_factory=lambda: PeopleSnapshotDataParser)
    data: Path = Path("data/people-snapshot")
    """Folder of one subject, or of several (then say which with `subject`)."""
    subject: str | None = None
    """Which subject, when the folder holds several."""
    downscale_factor: int = 2
    """Pictures are shrunk by this factor, averaging areas; 2 is the paper's 540x540. More is faster and coarser."""
    train: str | None = None
    """Frames to train on, `start:end:step`, end inclusive; by default the published, or those not held out."""
    val: str | None = None
    """Frames for validation, `start:end:step`, end inclusive."""
    test: str | None = None
    """Frames for testing, `start:end:step`, end inclusive."""
    holdout_every: int = 4
    """Where no frames are published or given: the last of every so many frames is held out; 0 holds out none."""
    gender: Literal["auto", "neutral", "male", "female"] = "auto"
    """Of the body; `auto` reads it from the data or from the subject's name."""
    body: str = "auto"
    """`standin`, `smpl`, an SMPL file's path, or `auto`: as the data say, else SMPL if found, else the stand-in."""
    half_pixel: Literal["correct", "reference"] = "correct"
    """`reference`: rays through pixel corners after halving the centre, as the original does (1/4 pixel off)."""
    decontaminate_edges: bool = True
    """Silhouette colours of training pictures come from the nearest pixel surely inside: no background is learned."""


@dataclass
class PeopleSnapshotDataParser(DataParser):
    """Puts a subject into the world frame: metres, z up, the median pelvis at the origin."""

    config: PeopleSnapshotDataParserConfig
    includes_time: bool = True
    downscale_factor: int | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **_: Any) -> DataparserOutputs:
        scene = self._scene()
        recording = scene.recording
        frames = recording.splits[split]
        clip = recording.folder / recording.subject
        return DataparserOutputs(
            image_filenames=[clip / f"{frame:06d}.png" for frame in frames],
            cameras=scene.cameras(frames),
            alpha_color=torch.ones(3),
            scene_box=scene.box,
            metadata={
                "body": scene.motion,
                "body_model": scene.body,
                "frames": scene.pictures,
                "frame_ids": torch.tensor(frames),
                "train_frames": torch.tensor(recording.splits["train"]),
                "group": ["novel_pose" if frame in recording.novel_poses else "novel_view" for frame in frames],
            },
        )

    def _scene(self) -> Scene:
        if getattr(self, "_built", None) is None:
            self._built = _build_scene(self.config)
        return self._built


@dataclass(frozen=True)
class Scene:
    """A recording, seen from the world frame."""

    recording: Recording
    motion: BodySequence
    body: SmplBody
    box: SceneBox
    pictures: FrameSource
    camera_to_worlds: Tensor
    intrinsics: Tensor
    """fx, fy, cx, cy of every frame, in nerfstudio's convention: the centre of the first pixel is (0.5, 0.5)."""

    def cameras(self, frames: list[int]) -> Cameras:
        """float32 throughout, because `ns-render spiral` mixes the intrinsics with float32."""
        index = torch.tensor(frames)
        fx, fy, cx, cy = self.intrinsics[index].split(1, -1)
        return Cameras(
            camera_to_worlds=self.camera_to_worlds[index],
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            width=self.pictures.width,
            height=self.pictures.height,
            camera_type=CameraType.PERSPECTIVE,
            times=(index / max(len(self.motion) - 1, 1))[:, None].float(),
            metadata={"frame": index[:, None]},
        )


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
    notes = raw.read_notes(folder)
    splits = _splits(config, folder, notes, reader.count_frames(folder))
    recording = raw.read_raw(folder, splits) if reader is raw else preprocessed.read_preprocessed(folder, splits)
    gender = _gender(config, recording, notes)
    body = load_body(_body_name(config, notes), gender)
    motion = replace(recording.motion, gender=gender, body=str(body.name))
    return _upright(config, recording, motion, body)


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


def _upright(
    config: PeopleSnapshotDataParserConfig, recording: Recording, motion: BodySequence, body: SmplBody
) -> Scene:
    pelvis_rest = body.rest(motion.betas)[1][0].detach()
    first = torch.from_numpy(np.array(recording.extrinsics[0]))
    # The first camera stands upright, whatever world the files were written in.
    rotation = torch.tensor(UPRIGHT, dtype=torch.float64) @ first[:3, :3]
    shift = -(motion.pelvis(pelvis_rest).double() @ rotation.T).median(0).values
    motion = motion.in_frame(rotation.float(), shift.float(), pelvis_rest)
    to_camera = torch.from_numpy(np.array(recording.extrinsics))
    turned = to_camera[:, :3, :3] @ rotation.T
    centre = -(to_camera[:, :3, :3].mT @ to_camera[:, :3, 3:])[..., 0] @ rotation.T + shift
    # OpenCV's camera looks along z with y down; nerfstudio's (OpenGL) along -z with y up.
    axes = turned.mT * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    height, width = (max(1, round(size / config.downscale_factor)) for size in (recording.height, recording.width))
    learned = frozenset(recording.splits["train"]) if config.decontaminate_edges else frozenset()
    prepared = PreparedPictures(recording.read, height, width, learned)
    return Scene(
        recording=recording,
        motion=motion,
        body=body,
        box=_box(motion, body),
        pictures=FrameSource(prepared, height, width),
        camera_to_worlds=torch.cat([axes, centre[..., None]], -1).float(),
        intrinsics=_intrinsics(recording, height, width, config.half_pixel),
    )


def _intrinsics(recording: Recording, height: int, width: int, half_pixel: str) -> Tensor:
    matrices = torch.from_numpy(np.array(recording.intrinsics))
    scale = torch.tensor([width / recording.width, height / recording.height], dtype=torch.float64)
    focal = matrices[:, [0, 1], [0, 1]] * scale
    centre = matrices[:, :2, 2]
    # nerfstudio's rays pass through x + 0.5; the original's through x, with the halved OpenCV centre.
    centre = (centre + 0.5) * scale if half_pixel == "correct" else centre * scale + 0.5
    return torch.cat([focal, centre], -1).float()


def _box(motion: BodySequence, body: SmplBody) -> SceneBox:
    frames = torch.linspace(0, len(motion) - 1, min(len(motion), POSES_FOR_BOX)).round().long().unique()
    with torch.no_grad():
        points = torch.cat([body.pose(motion.state(int(frame))).vertices for frame in frames])
    return SceneBox(torch.stack([points.amin(0) - BOX_MARGIN, points.amax(0) + BOX_MARGIN]))
