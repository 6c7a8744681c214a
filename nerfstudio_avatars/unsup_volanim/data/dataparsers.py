"""`voxceleb`, `tedx-people`, `image-folders`: many clips, or pictures, of one class of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio_avatars.unsup_volanim.data.clip_folders import FoundClip, find_clips, find_picture_clips
from nerfstudio_avatars.unsup_volanim.data.clip_metadata import (
    ClipKey,
    ClipNote,
    read_clip_table,
    ted_talk,
    voxceleb_person,
)
from nerfstudio_avatars.unsup_volanim.data.clip_parser import ClipsDataParser, ClipsDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.clip_splits import Notes, SplitRule, build_table
from nerfstudio_avatars.unsup_volanim.data.clip_table import ClipTable

_VOXCELEB_TABLES = ("vox-metadata.csv",)
_VOXCELEB_FPS = 25.0


@dataclass
class VoxCelebDataParserConfig(ClipsDataParserConfig):
    """Reads clips named `<person>#<video>#<start>#<end>`, or otherwise, in the layout of VoxCeleb.

    Clips are videos or folders of frames, under train/ and test/ or all together. Masks, if there are any, are in
    masks/<clip>.
    """

    _target: type = field(default_factory=lambda: VoxCelebDataParser)
    data: Path = Path("data/voxceleb")
    """Folder that holds the clips, or train/ and test/."""
    metadata: Path | None = None
    """Table that lists split, person and frame rate of the clips; by default vox-metadata.csv, if it exists."""


@dataclass
class VoxCelebDataParser(ClipsDataParser):
    """Parses clips of people, who are identified by the names of the clips."""

    config: VoxCelebDataParserConfig

    def _find_clips(self) -> ClipTable:
        return self.table_of(find_clips(Path(self.config.data)))

    def table_of(self, found: Sequence[FoundClip]) -> ClipTable:
        """Splits found clips as the options say."""
        notes = Notes(_published(self.config, _VOXCELEB_TABLES), voxceleb_person, _VOXCELEB_FPS)
        return _split(self.config, found, notes)


TED_TABLES = ("ted384-metadata.csv", "ted-metadata.csv")
_TED_FPS = 10.0
TABLES = (*_VOXCELEB_TABLES, *TED_TABLES)
"""Names of published tables that lie beside clips."""


@dataclass
class TedxPeopleDataParserConfig(ClipsDataParserConfig):
    """Reads clips named `<talk>#<start>#<end>`, or one folder per talk ("joined"), in the layout of TEDXPeople.

    Clips are videos or folders of frames, under train/ and test/ or all together. Masks, if there are any, are in
    masks/<clip>.
    """

    _target: type = field(default_factory=lambda: TedxPeopleDataParser)
    data: Path = Path("data/tedx-people")
    """Folder that holds the clips, or train/ and test/."""
    metadata: Path | None = None
    """Table that lists split and frame rate of the clips; by default ted384-metadata.csv or ted-metadata.csv."""


@dataclass
class TedxPeopleDataParser(ClipsDataParser):
    """Parses clips of speakers; with `identity: person`, clips of one talk are joined."""

    config: TedxPeopleDataParserConfig

    def _find_clips(self) -> ClipTable:
        return self.table_of(find_clips(Path(self.config.data)))

    def table_of(self, found: Sequence[FoundClip]) -> ClipTable:
        """Splits found clips as the options say."""
        return _split(self.config, found, Notes(_published(self.config, TED_TABLES), ted_talk, _TED_FPS))


def _published(
    config: VoxCelebDataParserConfig | TedxPeopleDataParserConfig, names: tuple[str, ...]
) -> dict[ClipKey, ClipNote]:
    """What a table says of the clips: the one that was asked for, or the first of the published names that exists."""
    published = (Path(config.data) / name for name in names)
    path = config.metadata or next((table for table in published if table.is_file()), None)
    return read_clip_table(path) if path else {}


def _split(config: ClipsDataParserConfig, found: Sequence[FoundClip], notes: Notes) -> ClipTable:
    return build_table(Path(config.data), found, SplitRule(config.test_share, config.test_names), notes)


@dataclass
class ImageFoldersDataParserConfig(ClipsDataParserConfig):
    """Reads pictures in one folder or in many, each of which shows an identity of its own.

    They are under train/ and test/ or all together. Masks, if there are any, are in masks/ under the same names.
    Nothing is held out of a picture: `val` shows pictures that were trained on.
    """

    _target: type = field(default_factory=lambda: ImageFoldersDataParser)
    data: Path = Path("data/pictures")
    """Folder that holds the pictures, or train/ and test/."""


@dataclass
class ImageFoldersDataParser(ClipsDataParser):
    """Parses pictures as clips of one frame each."""

    config: ImageFoldersDataParserConfig

    def _find_clips(self) -> ClipTable:
        return _split(self.config, find_picture_clips(Path(self.config.data)), Notes())
