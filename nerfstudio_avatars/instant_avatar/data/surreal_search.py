"""Finds the clip of SURREAL to train on, and clips of the same person to test on."""

from __future__ import annotations

import warnings
from pathlib import Path

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.surreal_clip import INFO, SurrealClip, read_clip

_MOST_COMPARED = 30
"""Maximum number of clips in a folder to read when looking for the same person."""
_DISTORTED = ("18_", "19_", "143_21_")
"""Sequences of CMU whose bodies are known to be distorted in SURREAL."""


def find_surreal_clips(data: Path, name: str | None, novel: str) -> list[SurrealClip]:
    """Finds the clip to train on, then those to test on; all show the same person at the same size.

    Args:
        data: the folder of a clip, or one above it.
        name: the name of the clip, `<sequence>_c%04d`, preceded by as much of its path as is needed.
        novel: names of clips to test on, separated by commas; `auto`: those in the same folder that show the same
            person; `none`.

    Raises:
        DataError: there is no clip, several match, or clips show different people.
    """
    infos = sorted(data.rglob(f"*{INFO}"))
    if not infos:
        found = "no such folder" if not data.is_dir() else f"no *{INFO} in it"
        fix = "give a folder of SURREAL with --data, for instance SURREAL/data/cmu/train/run0/01_01"
        raise DataError(data, found, f"<sequence>_c0001.mp4, _c0001{INFO}, _c0001_segm.mat", fix)
    learned = _chosen(data, infos, name)
    if learned.name.startswith(_DISTORTED):
        warnings.warn(f"{learned}: the bodies of this sequence are distorted in SURREAL.", stacklevel=2)
    clip = read_clip(learned)
    beside = [info for info in infos if info.parent == learned.parent and info != learned]
    if novel == "auto":
        others = [read_clip(info) for info in beside[:_MOST_COMPARED]]
        return [clip, *(other for other in others if _same(clip, other))]
    names = [part.strip() for part in novel.split(",")] if novel != "none" else []
    others = [read_clip(_chosen(data, [info for info in infos if info != learned], part)) for part in names]
    for other in others:
        if not _same(clip, other):
            found = f"{other.gender} in {other.cloth}, {other.width}x{other.height}"
            expected = f"the person of {clip.name}: {clip.gender} in {clip.cloth}, the same shape and picture size"
            raise DataError(other.info, found, expected, "leave it out of --novel-clips")
    return [clip, *others]


def _same(clip: SurrealClip, other: SurrealClip) -> bool:
    return clip.shows_the_person_of(other) and (clip.height, clip.width) == (other.height, other.width)


def _chosen(data: Path, infos: list[Path], name: str | None) -> Path:
    ending = "/" + (name or "").removesuffix(".mp4").removesuffix(INFO).strip("/") + INFO
    fitting = infos if name is None else [info for info in infos if f"/{info.as_posix()}".endswith(ending)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting and name is None and len({info.parent for info in fitting}) == 1 and len(fitting) <= _MOST_COMPARED:
        # Clips of one person in one folder: the first is the one to learn from.
        clips = [read_clip(info) for info in fitting]
        if all(_same(clips[0], clip) for clip in clips[1:]):
            return fitting[0]
    shown = fitting or infos
    names = ", ".join(info.relative_to(data).as_posix().removesuffix(INFO) for info in shown[:8])
    found = f"{len(shown)} clips{'' if fitting else f', none of them {name}'}: {names}"
    fix = f"add --clip {shown[0].relative_to(data).as_posix().removesuffix(INFO)} after surreal"
    raise DataError(data, found, "the name of one clip (each shows another person)", fix)
