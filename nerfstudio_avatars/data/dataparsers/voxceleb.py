"""`voxceleb`: many clips of talking heads, as VoxCeleb's preprocessing writes them, or any videos of one kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio_avatars.data.clips.clip_folders import find_clips
from nerfstudio_avatars.data.clips.clip_metadata import read_notes, voxceleb_person
from nerfstudio_avatars.data.clips.clip_parser import ClipsDataParser, ClipsDataParserConfig
from nerfstudio_avatars.data.clips.clip_splits import Notes, SplitRule, build_table
from nerfstudio_avatars.data.clips.clip_table import ClipTable

PUBLISHED_TABLE = "vox-metadata.csv"
FPS = 25.0


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
        published = root / PUBLISHED_TABLE
        path = config.metadata or (published if published.is_file() else None)
        notes = Notes(read_notes(path) if path else {}, voxceleb_person, FPS)
        return build_table(root, found, SplitRule(config.test_share, config.test_names), notes)
