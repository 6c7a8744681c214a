"""The common part of the dataparsers of people, which reads a scene once and hands out its splits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from nerfstudio_avatars.instant_avatar.data.person_scene import Scene


@dataclass
class PersonDataParser(DataParser):
    """Puts a person into the world frame: metres, z up, the median pelvis at the origin."""

    config: DataParserConfig
    includes_time: bool = True
    downscale_factor: int | None = None
    groups: tuple[str, str] = ("training", "held_out")
    """Groups of the frames that are trained on, and of held-out ones; frames in new poses are `novel_pose`."""

    @abstractmethod
    def _read_scene(self) -> Scene:
        """Reads the data."""

    def _generate_dataparser_outputs(self, split: str = "train", **_: Any) -> DataparserOutputs:
        if getattr(self, "_built", None) is None:
            self._built = self._read_scene().tell()
        recording = self._built.recording
        learned, (seen, held_out) = set(recording.splits["train"]), self.groups

        def group(frame: int) -> str:
            if frame in recording.novel_poses:
                return "novel_pose"
            # If none is held out, a training frame is shown again.
            return seen if frame in learned else held_out

        return self._built.outputs(split, [group(frame) for frame in recording.splits[split]])
