"""Turns found clips into the clip table: who is shown, and who is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clip_folders import FoundClip
from nerfstudio_avatars.unsup_volanim.data.clip_metadata import ClipKey, ClipNote, clip_key
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable


@dataclass(frozen=True)
class SplitRule:
    """Decides who is held out: those in test/, or else in a table, or else by name."""

    test_share: float
    """Share of people to hold out, if only names decide."""
    test_names: tuple[str, ...] = ()
    """People or clips to hold out in addition; if given, the share is ignored."""

    def split(self, clip: FoundClip, person: str | None, note: ClipNote) -> str:
        """`train` or `test`. If names decide, all clips of a person get the same split."""
        if clip.name in self.test_names or person in self.test_names:
            return "test"
        if clip.split or note.split:
            return str(clip.split or note.split)
        return "test" if not self.test_names and _is_held_out(person or clip.name, self.test_share) else "train"


@dataclass(frozen=True)
class Notes:
    """Information about clips from names and tables."""

    rows: dict[ClipKey, ClipNote] = field(default_factory=dict)
    """Rows of the published table."""
    person_of_name: Callable[[str], str | None] = lambda name: None
    """The person that a clip shows, by its name."""
    fps: float = 25.0
    """Frame rate of folders of pictures, if the table has none."""


def build_table(root: Path, found: Sequence[FoundClip], rule: SplitRule, notes: Notes) -> ClipTable:
    """Builds the table of all clips: those to train on first, then the others, each sorted by name.

    Raises:
        DataError: if a name in `test_names` is unknown, or no clip is left to train on.
    """
    clips = []
    for one in found:
        stem = one.name.rpartition("/")[2]
        note = notes.rows.get(clip_key(stem), ClipNote())
        person = notes.person_of_name(stem) or note.person or one.person
        fps = note.fps or (one.facts.fps if one.facts else notes.fps)
        mask = None if one.mask is None else str(one.mask)
        clips.append(Clip(one.name, str(one.path), one.frames, fps, mask, person, rule.split(one, person, note)))
    known = {clip.name for clip in clips} | {clip.person for clip in clips if clip.person}
    for name in rule.test_names:
        if name not in known:
            expected = f"one of {', '.join(sorted(known)[:5])}, ..."
            raise DataError(root, f"no person or clip {name}", expected, "correct --test-names")
    if not any(clip.split == "train" for clip in clips):
        fix = "put clips under train/, or lower --test-share"
        raise DataError(root, "only clips that are held out", "clips to train on", fix)
    return ClipTable(sorted(clips, key=lambda clip: (clip.split != "train", clip.name)))


def _is_held_out(name: str, share: float) -> bool:
    """Decides by name alone, so that splits do not change when clips are added."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < share * 2**64
