"""Clips of faces, speakers or other objects, folders of pictures, and single videos."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.avatars.inspection.report import Fact, Report, Unfamiliar
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.contact_sheet import SheetRow, spread
from nerfstudio_avatars.media.picture_files import Picture, listed_pictures, read_picture
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES, VideoFile
from nerfstudio_avatars.media.video_index import probe_video
from nerfstudio_avatars.unsup_volanim.data.clip_folders import FoundClip, find_clips, find_picture_clips
from nerfstudio_avatars.unsup_volanim.data.clip_metadata import ted_talk, voxceleb_person
from nerfstudio_avatars.unsup_volanim.data.clip_reader import ClipReader
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable
from nerfstudio_avatars.unsup_volanim.data.dataparsers import (
    TED_TABLES,
    TedxPeopleDataParserConfig,
    VoxCelebDataParserConfig,
)
from nerfstudio_avatars.unsup_volanim.data.shards import Shard

_MOST_DRAWN = 8
_MOST_OPENED = 64
"""Single pictures that are opened, evenly spread."""
_THUMBNAIL = 32
"""Side that frames are shrunk to when they are only tried, pixels."""
MOST_NAMED = 20
"""Clips that are left out and named."""


def read_clips(path: Path) -> Report:
    """Reads a folder of videos or of folders of frames.

    Raises:
        Unfamiliar: the folder has other contents, or a clip in it cannot be used.
        DataError: all clips are held out.
    """
    try:
        left_out: list[DataError] = []
        found = [clip for clip in find_clips(path, left_out) if _decodes(clip, left_out)]
        if not found:
            raise left_out[0]
    except DataError as error:
        raise Unfamiliar(f"{_place(error, path)}{error.found}; expected {error.expected}") from error
    stems = [clip.name.rpartition("/")[2] for clip in found]
    talks = [ted_talk(stem) for stem in stems]
    is_ted = any((path / table).is_file() for table in TED_TABLES) or 2 * sum(map(bool, talks)) > len(found)
    config = TedxPeopleDataParserConfig(data=path) if is_ted else VoxCelebDataParserConfig(data=path)
    config.setup().table_of(found)  # refuses what training refuses
    named = talks if is_ted else [voxceleb_person(stem) for stem in stems]
    persons = {person or clip.person or clip.name for person, clip in zip(named, found, strict=True)}
    rates = sorted({clip.facts.fps for clip in found if clip.facts is not None})
    rate = [Fact("rate", rates[0] if len(rates) == 1 else [rates[0], rates[-1]], "fps")] if rates else []
    facts = [
        Fact("dataparser", "tedx-people" if is_ted else "voxceleb"),
        *_shared(found, found[0]),
        Fact("persons", len(persons)),
        *rate,
    ]
    notes = [] if rates else ["folders of frames have no frame rate: the default of the dataparser is used"]
    notes += [f"left out: {_place(error, path)}{error.found}" for error in left_out[:MOST_NAMED]]
    if len(left_out) > MOST_NAMED:
        notes.append(f"{len(left_out) - MOST_NAMED} more clips are left out")
    return Report(path, "data", tuple(facts), tuple(notes), lambda: [_row(path, found)])


def read_pictures(path: Path) -> Report:
    """Reads a folder of single pictures, at any depth.

    Raises:
        Unfamiliar: the folder has none.
        DataError: none can be opened.
    """
    try:
        found = find_picture_clips(path)
    except DataError as error:
        raise Unfamiliar(f"{_place(error, path)}{error.found}; expected {error.expected}") from error
    opened = [found[number] for number in sorted(set(spread(len(found), _MOST_OPENED)))]
    left_out: list[DataError] = []
    whole = [clip for clip in opened if _decodes(clip, left_out)]
    if not whole:
        raise left_out[0]
    facts = [Fact("dataparser", "image-folders"), Fact("pictures", len(found)), *_shared(found, whole[0])[2:]]
    flat = all(clip.path.parent == path for clip in found)
    as_clip = "they can also be used as the frames of one driving clip"
    notes = [as_clip if flat else "they are in several folders; each one is an object of its own"]
    if len(opened) < len(found):
        notes.append(f"{len(opened)} of them, evenly spread, were opened")
    notes += [f"cannot be used: {_place(error, path)}{error.found}" for error in left_out[:MOST_NAMED]]
    return Report(path, "data", tuple(facts), tuple(notes), lambda: [_row(path, whole)])


def read_video(path: Path) -> Report:
    """Reads a single video.

    Raises:
        DataError: the file cannot be read.
    """
    facts, first = probe_video(path), _frame_of(path, 0)
    height, width = first.rgb.shape[:2]
    told = (
        Fact("frames", facts.frames),
        Fact("rate", facts.fps, "fps"),
        Fact("duration", facts.frames / facts.fps, "s"),
        Fact("size", f"{width}x{height}"),
        Fact("masks", "in its transparency" if first.mask is not None else "none"),
    )
    notes = ("a clip for driving others; to inspect a data set of clips, name its folder",)

    def draw() -> list[SheetRow]:
        numbers = sorted(set(spread(facts.frames)))
        return [SheetRow(path.name, [_frame_of(path, n).rgb for n in numbers], [f"frame {n}" for n in numbers])]

    return Report(path, "clip", told, notes, draw)


def read_picture_file(path: Path) -> Report:
    """Reads a single picture.

    Raises:
        DataError: the file cannot be read.
    """
    picture = read_picture(path)
    height, width = picture.rgb.shape[:2]
    facts = (
        Fact("size", f"{width}x{height}"),
        Fact("masks", "none" if picture.mask is None else "in its transparency"),
    )
    return Report(path, "picture", facts, (), lambda: [SheetRow(path.name, [picture.rgb], [""])])


def _frame_of(path: Path, number: int) -> Picture:
    """A frame of a video or of a folder of frames, or a picture."""
    if path.is_dir():
        return read_picture(listed_pictures(path)[number])
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return read_picture(path)
    return VideoFile(path).picture(number)


def _first_of(clip: FoundClip) -> Picture:
    return _frame_of(clip.path, 0) if clip.packed is None else Shard(clip.path).picture(clip.name, 0)


def _shared(found: list[FoundClip], shown: FoundClip) -> list[Fact]:
    frames = [clip.frames for clip in found]
    first = _first_of(shown)
    height, width = first.rgb.shape[:2]
    masked = sum(clip.mask is not None for clip in found)
    splits = sorted({clip.split for clip in found if clip.split})
    masks = (
        f"{masked} of {len(found)}"
        if masked
        else ("packed with the first" if shown.packed else "in the transparency of the first")
        if first.mask is not None
        else "none"
    )
    facts = [
        Fact("clips", len(found)),
        Fact("frames of a clip", frames[0] if min(frames) == max(frames) else [min(frames), max(frames)]),
        Fact("frames", sum(frames)),
        Fact("size of the first", f"{width}x{height}"),
        Fact("masks", masks),
    ]
    counts = {split: sum(clip.split == split for clip in found) for split in splits}
    return [*facts, Fact("splits", counts)] if counts else facts


def _row(path: Path, found: list[FoundClip]) -> SheetRow:
    chosen = [found[number] for number in sorted(set(spread(len(found), _MOST_DRAWN)))]
    return SheetRow(path.name, [_first_of(clip).rgb for clip in chosen], [clip.name[-34:] for clip in chosen])


def _decodes(clip: FoundClip, left_out: list[DataError]) -> bool:
    """Decodes the first, the middle and the last frame and their masks; the rest is known from the file's index."""
    if clip.packed is not None:
        return True  # Nothing is to be decoded, and its place was compared with the shard's size.
    mask = None if clip.mask is None else str(clip.mask)
    table = ClipTable([Clip(clip.name, str(clip.path), clip.frames, mask=mask)])
    reader = ClipReader(table, _THUMBNAIL, cache_gb=0, quiet=True)
    try:
        for number in sorted({0, clip.frames // 2, clip.frames - 1}):
            reader.read(0, number)
    except DataError as error:
        left_out.append(error)
        return False
    return True


def _place(error: DataError, path: Path) -> str:
    """The file that an error is about, unless that is the folder itself."""
    return "" if str(error.file) == str(path) else f"{error.file}: "
