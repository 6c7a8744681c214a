"""Finds clips in a folder: videos, folders of frames, pictures, or shards, under train/ and test/ or all together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nerfstudio.utils.rich_utils import CONSOLE

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.folder_layouts import name_layout
from nerfstudio_avatars.media.picture_files import PICTURE_SUFFIXES, by_number
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES
from nerfstudio_avatars.media.video_index import VideoFacts, probe_video
from nerfstudio_avatars.unsup_volanim.data.shards import is_packed, packed_clips

SPLITS = ("train", "test")
MASKS = "masks"
EXPECTED = "videos (.mp4, .mov, .webm, .mkv, .avi, .gif, ...) or folders of pictures (.png, .jpg, ...), one per clip"
MOST_NAMED = 20
"""Clips that are left out and named."""
READERS = 8
"""Number of threads that open videos to count their frames."""


@dataclass(frozen=True)
class FoundClip:
    """A clip as stored on disk."""

    name: str
    path: Path
    split: str | None
    """Split, from the folder `train` or `test`; None without such folders."""
    person: str | None
    """Name of the folder above that of the clip, if clips are one level deeper."""
    facts: VideoFacts | None = None
    """Information about a video."""
    mask: Path | None = None
    packed: int | None = None
    """Number of frames of a packed clip, whose path is that of its shard."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        if self.packed is not None:
            return self.packed
        if self.facts is not None:
            return self.facts.frames
        if not self.path.is_dir():
            return 1
        # Counting names is enough: there may be millions.
        with os.scandir(self.path) as entries:
            return sum(os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES for entry in entries)


def find_clips(root: Path, left_out: list[DataError] | None = None) -> list[FoundClip]:
    """Finds videos and folders of frames, sorted by name, and masks in `masks/<split>/<clip>` or `masks/<clip>`.

    Args:
        root: of the data set.
        left_out: gets the reasons why clips are left out, such as broken downloads; without it they are printed.

    Raises:
        DataError: if there are none, or all are broken, or two have the same name, or the folder is of another kind.
    """
    if is_packed(root):
        return _unpacked(root)
    layout = name_layout(root)
    if layout is not None and not _has_folders(root / MASKS):
        what, way = layout
        raise DataError(root, what, EXPECTED, way)
    broken: list[DataError] = []
    found = [entry for split, folder in _bases(root) for entry in _clips_in(folder, split, broken)]
    return _checked(root, found, EXPECTED, broken, left_out)


def find_picture_clips(root: Path) -> list[FoundClip]:
    """Finds pictures at any depth, each of which is a clip of its own."""
    if is_packed(root):
        return _unpacked(root)
    found = []
    for split, base in _bases(root):
        paths = (path for path in base.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
        for path in sorted(paths, key=lambda path: by_number(str(path))):
            place = path.relative_to(base)
            if place.parts[0] != MASKS and not any(part.startswith(".") for part in place.parts):
                found.append(FoundClip(place.with_suffix("").as_posix(), path, split, None))
    return _checked(root, found, "pictures (.png, .jpg, ...), in any folders", [], None)


def _unpacked(root: Path) -> list[FoundClip]:
    return [
        FoundClip(
            clip.name,
            shard,
            clip.split,
            clip.person,
            None if clip.fps is None else VideoFacts(clip.frames, clip.fps),
            packed=clip.frames,
        )
        for shard, clip in packed_clips(root)
    ]


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())


def _bases(root: Path) -> list[tuple[str | None, Path]]:
    if not root.is_dir():
        fix = "give the data set's folder with --data; for a trained run, put it back or correct it in its config.yml"
        raise DataError(root, "no such folder", EXPECTED, fix)
    return [(split, root / split) for split in SPLITS if (root / split).is_dir()] or [(None, root)]


def _clips_in(
    folder: Path, split: str | None, broken: list[DataError], person: str | None = None
) -> Iterator[FoundClip]:
    for path in sorted(folder.iterdir(), key=lambda path: by_number(path.name)):
        if path.name[0] == "." or path.name == MASKS:
            continue
        # VoxCeleb's folders of frames, too, have names that end in .mp4.
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        name = path.stem if is_video else path.name
        name = f"{person}/{name}" if person else name
        if path.is_dir():
            if any(inside.suffix.lower() in PICTURE_SUFFIXES for inside in path.iterdir()):
                yield FoundClip(name, path, split, person)
                continue
            deeper = list(_clips_in(path, split, broken, path.name)) if person is None else []
            if not deeper:
                fix = "put the clip's frames there, or remove the folder"
                broken.append(DataError(path, "no pictures in it", "the frames of one clip", fix))
            yield from deeper
        elif is_video:
            yield FoundClip(name, path, split, person)


def _checked(
    root: Path, found: list[FoundClip], expected: str, broken: list[DataError], left_out: list[DataError] | None
) -> list[FoundClip]:
    if not found and broken:
        raise broken[0]
    if not found:
        contents = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        fix = "give the data set's folder with --data"
        if any(path.suffix.lower() in PICTURE_SUFFIXES for path in root.iterdir()):
            fix = "put the frames of each clip into a folder of its own, or use the dataparser image-folders"
        raise DataError(root, contents, expected, fix)
    name, count = Counter(clip.name for clip in found).most_common(1)[0]
    if count > 1:
        raise DataError(root, f"{count} clips of the name {name}", "one", "rename or remove the others")
    with ThreadPoolExecutor(READERS) as threads:
        tried = list(threads.map(lambda clip: _tried(root / MASKS, clip), found))
    broken += [clip for clip in tried if isinstance(clip, DataError)]
    whole = [clip for clip in tried if isinstance(clip, FoundClip)]
    if not whole:
        first = broken[0]
        found_here = f"{first.found}; and so on: none of {len(broken)} clips can be read"
        raise DataError(first.file, found_here if len(broken) > 1 else first.found, first.expected, first.fix)
    if left_out is not None:
        left_out += broken
    elif broken:
        shown = "".join(f"\n  {error.file}: {error.found}" for error in broken[:MOST_NAMED])
        more = f"\n  and {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
        told = f"{root}: {len(broken)} of {len(broken) + len(whole)} clips cannot be read and are left out:"
        CONSOLE.print(told + shown + more, markup=False)
    return whole


def _tried(masks: Path, clip: FoundClip) -> FoundClip | DataError:
    try:
        return _completed(masks, clip)
    except DataError as error:
        if error.file != clip.path:
            raise
        return error


def _completed(masks: Path, clip: FoundClip) -> FoundClip:
    facts = None if clip.path.is_dir() or clip.path.suffix.lower() not in VIDEO_SUFFIXES else probe_video(clip.path)
    clip = FoundClip(clip.name, clip.path, clip.split, clip.person, facts)
    if not masks.is_dir():
        return clip
    mask = _mask_of(masks, clip)
    if mask is not None and mask.is_file() and facts is not None:
        count = probe_video(mask).frames
        if count != facts.frames:
            found, expected = f"{count} frames", f"{facts.frames}, as {clip.path.name} has"
            raise DataError(mask, found, expected, "write one mask per frame, or remove the masks")
    return FoundClip(clip.name, clip.path, clip.split, clip.person, facts, mask)


def _mask_of(masks: Path, clip: FoundClip) -> Path | None:
    suffixes = VIDEO_SUFFIXES if clip.facts is not None or clip.path.is_dir() else PICTURE_SUFFIXES
    for base in (masks / str(clip.split), masks):
        for name in (clip.name, str(Path(clip.name).parent / clip.path.name)):
            if (base / name).is_dir():
                return base / name
        for suffix in sorted(suffixes):
            if (base / f"{clip.name}{suffix}").is_file():
                return base / f"{clip.name}{suffix}"
    return None
