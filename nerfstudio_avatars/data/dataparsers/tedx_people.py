"""`tedx-people`: many clips of speakers on a stage, as TED-talks and TEDXPeople are cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio_avatars.data.clips.clip_folders import find_clips
from nerfstudio_avatars.data.clips.clip_metadata import read_notes, ted_talk
from nerfstudio_avatars.data.clips.clip_parser import ClipsDataParser, ClipsDataParserConfig
from nerfstudio_avatars.data.clips.clip_splits import Notes, SplitRule, build_table
from nerfstudio_avatars.data.clips.clip_table import ClipTable

PUBLISHED_TABLES = ("ted384-metadata.csv", "ted-metadata.csv")
FPS = 10.0


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
        published = (root / name for name in PUBLISHED_TABLES)
        path = config.metadata or next((path for path in published if path.is_file()), None)
        notes = Notes(read_notes(path) if path else {}, ted_talk, FPS)
        return build_table(root, found, SplitRule(config.test_share, config.test_names), notes)
