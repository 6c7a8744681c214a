"""`surreal`: one person in a clip of SURREAL as distributed (Varol et al. 2017)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.smpl import SmplBody, load_body
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.person_dataparser import PersonDataParser
from nerfstudio_avatars.instant_avatar.data.person_scene import Scene, build_scene
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording
from nerfstudio_avatars.instant_avatar.data.snapshot_splits import Splits, check_split, held_out_split
from nerfstudio_avatars.instant_avatar.data.surreal_clip import COPY_AGAIN, SurrealClip
from nerfstudio_avatars.instant_avatar.data.surreal_placement import place
from nerfstudio_avatars.instant_avatar.data.surreal_search import find_surreal_clips
from nerfstudio_avatars.instant_avatar.data.surreal_world import surreal_intrinsic
from nerfstudio_avatars.media.video_file import VideoFile

_MOST_TESTED = 24
"""Maximum number of held-out pictures in a group, evenly spread."""


@dataclass
class SurrealDataParserConfig(DataParserConfig):
    """Reads a clip of SURREAL as distributed (mp4, _info.mat and _segm.mat), and undoes its mirrored pictures."""

    _target: type = field(default_factory=lambda: SurrealDataParser)
    data: Path = Path("data/surreal")
    """Folder that holds a clip, or any folder above it (such as cmu/train), of which `clip` then names one."""
    clip: str | None = None
    """Name of the clip to train on, as 01_01_c0001 or, with its run, run0/01_01/01_01_c0001."""
    novel_clips: str = "auto"
    """Names of clips of the same person to test on, separated by commas.
    With `auto`, all other clips in the folder of the clip are used, and with `none`, no clip is."""
    novel_share: float = 0.2
    """Share of the frames to test on, taken from the end of the clip, if there are no novel clips; 0 trains on all."""
    frame_step: int = 1
    """Distance between two frames that are used; 1 uses all frames."""
    holdout_every: int = 4
    """Number of training frames of which the last is held out; 0 holds out none."""
    downscale_factor: int = 1
    """Factor to shrink pictures by, averaging areas; larger is faster and coarser."""
    body: str = "auto"
    """Body model to use: `standin`, `smpl`, the path of an SMPL file, or `auto`.
    With `auto`, the data decide; if they do not say, SMPL is used if its file is found, and the stand-in if not."""
    tolerance_px: float = 4.0
    """Mean distance in pixels between the joints of the body and those in joints3D that causes a warning."""
    decontaminate_edges: bool = True
    """Whether to take silhouette colours of training pictures from the nearest pixel that is surely inside the person.
    This keeps the background from being learnt."""


@dataclass
class SurrealDataParser(PersonDataParser):
    """Parses one clip, with others of the same person to test on."""

    config: SurrealDataParserConfig
    groups: tuple[str, str] = ("training_pose", "between_frames")

    def _read_scene(self) -> Scene:
        return read_scene(self.config)


def read_scene(config: SurrealDataParserConfig) -> Scene:
    """Reads a clip, compares its parts with each other, and turns it upright.

    Raises:
        DataError: if a part is missing, damaged, or cannot belong to the others.
    """
    clips = find_surreal_clips(Path(config.data), config.clip, config.novel_clips)
    body = _body(config, clips[0])
    betas = _betas(clips[0], body)
    placed = [place(clip, body, betas, config.tolerance_px) for clip in clips]
    told = tuple(
        f"{clip.name}, {len(clip)} frames, {clip.gender}: joints3D lie {placement.joints_px:.2f} px on average from "
        f"joints2D, and {placement.body_px:.2f} px from the body's joints"
        for clip, placement in zip(clips, placed, strict=True)
    )
    first, count = placed[0].motion, sum(map(len, clips))
    motion = BodySequence(
        betas=betas,
        global_orient=torch.cat([placement.motion.global_orient for placement in placed]),
        body_pose=torch.cat([placement.motion.body_pose for placement in placed]),
        transl=torch.cat([placement.motion.transl for placement in placed]),
        fps=first.fps,
        gender=first.gender,
        body=first.body,
    )
    splits, novel = _splits(config, clips)
    check_split(splits, count, clips[0].info)
    recording = Recording(
        folder=clips[0].info.parent,
        subject=clips[0].name,
        motion=motion,
        intrinsics=np.broadcast_to(surreal_intrinsic(clips[0].width, clips[0].height), (count, 3, 3)),
        extrinsics=np.broadcast_to(np.eye(4), (count, 4, 4)),
        height=clips[0].height,
        width=clips[0].width,
        splits=splits,
        read=(pictures := ClipPictures(clips)),
        masks=pictures.masks_of,
        novel_poses=novel,
        notes=told,
    )
    return build_scene(
        recording,
        motion,
        body,
        downscale_factor=config.downscale_factor,
        decontaminate_edges=config.decontaminate_edges,
    )


def _body(config: SurrealDataParserConfig, clip: SurrealClip) -> SmplBody:
    return load_body(clip.body if config.body == "auto" and clip.body else config.body, clip.gender)


def _betas(clip: SurrealClip, body: SmplBody) -> torch.Tensor:
    """The shape in the clip, if it belongs to the shape space of the body."""
    if (body.name == "standin") == (clip.body == "standin"):
        return torch.from_numpy(clip.shape).float()
    drawn_with = clip.body or "SMPL"
    warnings.warn(f"{clip.info}: drawn with {drawn_with}, read with {body.name}: its shape is left out.", stacklevel=2)
    return torch.zeros(10)


def _splits(config: SurrealDataParserConfig, clips: list[SurrealClip]) -> tuple[Splits, frozenset[int]]:
    if config.frame_step < 1 or not 0 <= config.novel_share < 1:
        found = f"--frame-step {config.frame_step} --novel-share {config.novel_share}"
        raise DataError("surreal", found, "a step of at least 1, a share from 0 to below 1", "correct the options")
    own, count = len(clips[0]), sum(map(len, clips))
    share = config.novel_share if len(clips) == 1 else 0.0
    last = max(1, own - round(own * share))
    learned = list(range(0, last, config.frame_step))
    novel = list(range(last, count, config.frame_step))
    parts = {
        name: [learned[row] for row in rows]
        for name, rows in held_out_split(len(learned), config.holdout_every).items()
    }
    between = [frame for frame in parts["test"] if frame not in parts["train"]]
    test = [*_spread(parts["train"]), *_spread(between), *_spread(novel)]
    return parts | {"val": _spread(parts["val"]), "test": test}, frozenset(novel)


def _spread(frames: list[int]) -> list[int]:
    rows = np.linspace(0, len(frames) - 1, min(len(frames), _MOST_TESTED)).round().astype(int)
    return [frames[row] for row in rows.tolist()]


@dataclass(frozen=True)
class ClipPictures:
    """Reads pictures and masks of clips one after the other, mirrored back."""

    clips: list[SurrealClip]

    def __call__(self, frames: Sequence[int]) -> Iterator[MaskedFrame]:
        """Yields frames one at a time, in rising order."""
        masks = self.masks_of(frames)
        for clip, wanted in self._by_clip(frames):
            for picture in VideoFile(clip.beside(".mp4"), COPY_AGAIN).pictures(wanted):
                yield MaskedFrame(np.ascontiguousarray(picture.rgb[:, ::-1]), next(masks))

    def masks_of(self, frames: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """Yields only the masks."""
        for clip, wanted in self._by_clip(frames):
            for parts in clip.layers("segm", wanted):
                yield np.ascontiguousarray(np.where(parts > 0, 255, 0).astype(np.uint8)[:, ::-1])

    def _by_clip(self, frames: Sequence[int]) -> Iterator[tuple[SurrealClip, list[int]]]:
        first = 0
        for clip in self.clips:
            yield clip, [frame - first for frame in frames if first <= frame < first + len(clip)]
            first += len(clip)
