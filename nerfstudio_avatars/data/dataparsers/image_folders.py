"""`image-folders`: single pictures of many objects of one kind, such as cats' faces."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio_avatars.data.clips.clip_folders import find_pictures
from nerfstudio_avatars.data.clips.clip_parser import ClipsDataParser, ClipsDataParserConfig
from nerfstudio_avatars.data.clips.clip_splits import Notes, SplitRule, build_table
from nerfstudio_avatars.data.clips.clip_table import ClipTable


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
