"""`voxceleb`, `tedx-people`, `image-folders`: many clips, or pictures, of one kind of object."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio_avatars.unsup_volanim.data.clip_folders import find_clips, find_pictures
from nerfstudio_avatars.unsup_volanim.data.clip_metadata import read_clip_table, ted_talk, voxceleb_person
from nerfstudio_avatars.unsup_volanim.data.clip_parser import ClipsDataParser, ClipsDataParserConfig
from nerfstudio_avatars.unsup_volanim.data.clip_splits import Notes, SplitRule, build_table
from nerfstudio_avatars.unsup_volanim.data.clip_table import ClipTable

VOXCELEB_TABLE = "vox-metadata.csv"
VOXCELEB_FPS = 25.0


@dataclass
class VoxCelebDataParserConfig(ClipsDataParserConfig):
    """Clips named `<person>#<video>#<start>#<end>` (others are accepted): videos or folders of frames, under train/
    and test/ or all together; masks, if any, in masks/<clip>."""

    _target: type = field(default_factory=lambda: VoxCelebDataParser)
    data: Path = Path("data/voxceleb")
    """Folder of the clips, or of train/ and test/."""
    metadata: Path | None = None
    """Table with the clips' split, person and frames a second; by default vox-metadata.csv in the folder, if any."""


@dataclass
class VoxCelebDataParser(ClipsDataParser):
    """Clips of persons; the name says which."""

    config: VoxCelebDataParserConfig

    def _find_clips(self) -> ClipTable:
        config, root = self.config, Path(self.config.data)
        found = find_clips(root)
        published = root / VOXCELEB_TABLE
        path = config.metadata or (published if published.is_file() else None)
        notes = Notes(read_clip_table(path) if path else {}, voxceleb_person, VOXCELEB_FPS)
        return build_table(root, found, SplitRule(config.test_share, config.test_names), notes)


TED_TABLES = ("ted384-metadata.csv", "ted-metadata.csv")
TED_FPS = 10.0


@dataclass
class TedxPeopleDataParserConfig(ClipsDataParserConfig):
    """Clips named `<talk>#<start>#<end>`, or one folder per talk ("joined"): videos or folders of frames, under train/
    and test/ or all together; masks, if any, in masks/<clip>."""

    _target: type = field(default_factory=lambda: TedxPeopleDataParser)
    data: Path = Path("data/tedx-people")
    """Folder of the clips, or of train/ and test/."""
    metadata: Path | None = None
    """Table with the clips' split and frames a second; by default ted384-metadata.csv or ted-metadata.csv."""


@dataclass
class TedxPeopleDataParser(ClipsDataParser):
    """Clips of speakers; `identity: person` joins those of one talk."""

    config: TedxPeopleDataParserConfig

    def _find_clips(self) -> ClipTable:
        config, root = self.config, Path(self.config.data)
        found = find_clips(root)
        published = (root / name for name in TED_TABLES)
        path = config.metadata or next((path for path in published if path.is_file()), None)
        notes = Notes(read_clip_table(path) if path else {}, ted_talk, TED_FPS)
        return build_table(root, found, SplitRule(config.test_share, config.test_names), notes)


@dataclass
class ImageFoldersDataParserConfig(ClipsDataParserConfig):
    """Pictures in one folder or in many, under train/ and test/ or all together: each an identity of its own. Masks, if
    any, in masks/, under the same names. Nothing is held out of a picture: `val` shows those trained on."""

    _target: type = field(default_factory=lambda: ImageFoldersDataParser)
    data: Path = Path("data/pictures")
    """Folder of the pictures, or of train/ and test/."""


@dataclass
class ImageFoldersDataParser(ClipsDataParser):
    """One clip of one frame per picture."""

    config: ImageFoldersDataParserConfig

    def _find_clips(self) -> ClipTable:
        config, root = self.config, Path(self.config.data)
        rule = SplitRule(config.test_share, config.test_names)
        return build_table(root, find_pictures(root), rule, Notes())
