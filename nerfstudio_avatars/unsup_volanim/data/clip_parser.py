"""Code shared by the dataparsers for clips: splits, identities, held-out frames, and the single camera."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import Int
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import PICTURE_SUFFIXES
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras, clip_scene_box
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import ClipTable, HeldOutFrames, frame_rows
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.data.shards import FRAMES, is_packed, packed_size


@dataclass
class ClipsDataParserConfig(DataParserConfig):
    """Options shared by the dataparsers of clips."""

    image_size: int = 256
    """Side length of the square pictures in pixels; larger pictures are cropped to their middle and shrunk."""
    identity: Literal["clip", "person"] = "clip"
    """Unit that gets an appearance of its own: each `clip`, as in the paper, or each `person`."""
    eval_frame_interval: int = 8
    """Number of frames in a clip of which the last is held out for evaluation; 0 trains on all frames."""
    max_eval_frames: int = 512
    """Maximum number of held-out frames to evaluate on, spread evenly; 0 evaluates on every one."""
    test_share: float = 0.1
    """Share of the people to hold out, chosen by their names, if neither folders nor a table say who is held out."""
    max_videos: int | None = None
    """Maximum number of clips to train on, drawn at random but always the same; by default all."""
    test_names: tuple[str, ...] = ()
    """Names of people or clips to hold out besides those in test/; if any are given, `test_share` is ignored."""


@dataclass
class ClipsDataParser(DataParser):
    """Gives the model `metadata["clips"]` (a `Clips`) and the data set `metadata["rows"]` (clip and frame numbers).

    Splits: `train`; `val`, held-out frames of the same clips; `test`, clips of people who are held out."""

    config: ClipsDataParserConfig
    includes_time: bool = True

    @abstractmethod
    def _find_clips(self) -> ClipTable:
        """Finds all clips of the data set."""

    def _generate_dataparser_outputs(self, split: str = "train", **_: Any) -> DataparserOutputs:
        table, size = self._table(), self.config.image_size
        rows = self._rows(table, split)
        identities, identity_of_clip = _identities_of(table, self.config.identity)
        return DataparserOutputs(
            image_filenames=FramePaths(table, rows),  # type: ignore[arg-type]
            cameras=clip_cameras(table, rows, size),
            scene_box=clip_scene_box(),
            metadata={
                "clips": Clips(
                    root=Path(self.config.data),
                    table=table,
                    identities=identities,
                    identity_of_clip=identity_of_clip,
                    size=size,
                    held_out=HeldOutFrames(self.config.eval_frame_interval),
                    has_masks=self._has_masks(table),
                ),
                "rows": rows,
            },
        )

    def _table(self) -> ClipTable:
        if getattr(self, "_built", None) is None:
            config = self.config
            if config.eval_frame_interval < 0 or config.eval_frame_interval == 1:
                found = f"--eval-frame-interval {config.eval_frame_interval}"
                raise DataError(config.data, found, "0, or at least 2", "hold out every 8th frame")
            if config.image_size < 1:
                raise DataError(config.data, f"--image-size {config.image_size}", "pixels", "ask for 256")
            if config.max_videos is not None and config.max_videos < 1:
                found = f"--max-videos {config.max_videos}"
                raise DataError(config.data, found, "at least 1", "leave it out, or ask for 1 or more")
            if is_packed(config.data) and packed_size(config.data) < config.image_size:
                packed = packed_size(config.data)
                found = f"clips packed at {packed} pixels, and --image-size {config.image_size}"
                fix = f"use --image-size {packed}, or pack the clips with --size {config.image_size}"
                raise DataError(config.data, found, "at least as many pixels as are asked for", fix)
            self._built = _drawn(self._find_clips(), config.max_videos)
            learned, others = (len(self._built.of_split(split)) for split in ("train", "test"))
            CONSOLE.print(f"{config.data}: {learned} clips to train on, and {others} of people who are held out.")
        return self._built

    def _has_masks(self, table: ClipTable) -> bool:
        first, *others = table.of_split("train")
        masked = [table[clip].mask is not None for clip in (first, *others)]
        if any(masked):
            if not all(masked):
                CONSOLE.print(
                    f"{self.config.data}: {sum(masked)} of {len(masked)} clips have masks. Only steps whose frames all "
                    "have one learn from them: `ns-avatar masks` writes those of people."
                )
            return True
        reader = ClipReader(table, self.config.image_size, 0)
        for clip in (first, *others):
            # A clip whose first frame cannot be decoded says nothing, and is left out when it is drawn.
            with suppress(DataError):
                return reader.read(clip, 0)[1] is not None
        return False

    def _rows(self, table: ClipTable, split: str) -> Int[Tensor, "rows 2"]:
        train, held_out = table.of_split("train"), HeldOutFrames(self.config.eval_frame_interval)
        if split == "train":
            return frame_rows(table, train, held_out, learned=True)
        if split == "val":
            rows = frame_rows(table, train, held_out, learned=False)
            # Pictures without a sequence leave nothing to hold out: then the learned ones are looked at.
            rows = rows if len(rows) else torch.tensor([(clip, 0) for clip in train])
        else:
            rows = frame_rows(table, table.of_split("test"), HeldOutFrames(0), learned=True)
            if not len(rows):
                fix = "put clips under test/, or name persons with --test-names"
                raise DataError(self.config.data, "no clips that are held out", "clips never trained on", fix)
        count = self.config.max_eval_frames or len(rows)
        if len(rows) <= count:
            return rows
        return rows[torch.linspace(0, len(rows) - 1, count).round().long()]


class FramePaths(Sequence[Path]):
    """Names of frames, `<clip>/<frame>.png`, created on demand, because there may be millions."""

    def __init__(self, table: ClipTable, rows: Int[Tensor, "rows 2"]) -> None:
        self._table, self._rows = table, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> FramePaths: ...

    def __getitem__(self, index: int | slice) -> Path | FramePaths:
        if isinstance(index, slice):
            return FramePaths(self._table, self._rows[index])
        return self._path(*self._rows[index].tolist())

    def __iter__(self) -> Iterator[Path]:
        return (self._path(*row) for row in self._rows.tolist())

    def _path(self, clip: int, frame: int) -> Path:
        path = Path(self._table[clip].path)
        suffix = path.suffix.lower()
        if suffix in PICTURE_SUFFIXES:
            return path
        if suffix == FRAMES:
            return path.parent / self._table[clip].name / f"{frame:06d}.png"
        return (path.with_suffix("") if suffix in VIDEO_SUFFIXES else path) / f"{frame:06d}.png"


def _drawn(table: ClipTable, count: int | None) -> ClipTable:
    """A limited number of training clips, and all others."""
    learned = table.of_split("train")
    if count is None or count >= len(learned):
        return table
    chosen = set(random.Random(0).sample(learned, max(count, 0)))
    return ClipTable([clip for number, clip in enumerate(table) if number in chosen or clip.split != "train"])


def _identities_of(table: ClipTable, kind: str) -> tuple[list[str], list[int]]:
    """Sorted names of the identities to train on, and the index of the one each clip shows (-1 for none).

    Indices may change when clips are added, but names do not: store names with what was learnt.
    """
    names = [clip.person if kind == "person" and clip.person else clip.name for clip in table]
    identities = sorted({name for name, clip in zip(names, table, strict=True) if clip.split == "train"})
    numbers = {name: number for number, name in enumerate(identities)}
    of_clip = [numbers[name] if clip.split == "train" else -1 for name, clip in zip(names, table, strict=True)]
    return identities, of_clip
