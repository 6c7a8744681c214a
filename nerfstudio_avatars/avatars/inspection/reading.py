"""Finds the reader that understands a file or folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nerfstudio_avatars.avatars.inspection import (
    bodies,
    camera_paths,
    clips,
    identities,
    motions,
    portable,
    recordings,
    runs,
)
from nerfstudio_avatars.avatars.inspection.report import Refusal, Report, Unfamiliar
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.picture_files import PICTURE_SUFFIXES
from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES
from nerfstudio_avatars.motion import shipped_motions
from nerfstudio_avatars.motion.choices import UpOrAuto
from nerfstudio_avatars.motion.plain_contents import frame_files

MOST_NAMED = 8
"""Files that are named of a folder of no known kind."""
EXPECTED = (
    "a person's folder (PeopleSnapshot, InstantAvatar's layout, NeuMan, SURREAL), videos or pictures, a motion's "
    "frames, SMPL's files, or a trained run"
)
Readers = dict[str, Callable[[Path], Report]]


def read_anything(
    path: Path, person: str | None = None, up: UpOrAuto = "auto", joint_map: Path | None = None
) -> Report | Refusal:
    """Tries one reader after the other. Nothing in the file is executed.

    If a reader recognises the kind but finds the file damaged, the search ends, because others could only misread it.

    Args:
        path: a file, a folder, or the name of a shipped motion.
        person: the person to take from a motion file.
        up: the upward axis of a motion file.
        joint_map: a joint map for a skeleton.
    """
    if not path.exists():
        shipped = shipped_motions()
        if str(path) not in shipped:
            named = ", ".join(shipped)
            return Refusal(path, f"no such file or folder, and no shipped motion of that name ({named})")
        path = shipped[str(path)]

    def motion(file: Path) -> Report:
        if file.is_dir() and not frame_files(file):
            raise Unfamiliar("no files of frames in it")
        return motions.read_motion_report(file, person, up, joint_map)

    readers = _folder_readers(motion) if path.is_dir() else _file_readers(path, motion)
    reason = ""
    for name, read in readers.items():
        try:
            return read(path)
        except Unfamiliar as error:
            reason = reason or ("" if len(readers) > 1 else str(error))
        except DataError as error:
            place = "" if str(error.file) == str(path) else f"{error.file}: "
            reason = f"{place}{error.found}; expected {error.expected}. To fix it: {error.fix}"
            if name != "motion":
                break
        except OSError as error:
            reason = f"{error.filename or path}: {error.strerror or error}"
    return Refusal(path, reason or _contents(path))


def _contents(folder: Path) -> str:
    """What is in a folder of no known kind."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    run = runs.run_below(folder)
    below = f". There is a run below it: name {run.parent}" if run is not None else ""
    return f"{', '.join(names[:MOST_NAMED]) or 'nothing'}{more}; expected {EXPECTED}{below}"


def _folder_readers(motion: Callable[[Path], Report]) -> Readers:
    return {
        "run": runs.read_run,
        "people-snapshot": recordings.read_people_snapshot,
        "surreal": recordings.read_surreal,
        "body": bodies.read_body_folder,
        "motion": motion,
        "voxceleb, tedx-people": clips.read_clips,
        "image-folders": clips.read_pictures,
    }


def _file_readers(path: Path, motion: Callable[[Path], Report]) -> Readers:
    suffix = path.suffix.lower()
    if suffix in runs.SUFFIXES:
        return {"run": runs.read_run}
    if suffix in portable.SUFFIXES:
        return {"portable avatar": portable.read_portable_file}
    if suffix in VIDEO_SUFFIXES:
        return {"clip": clips.read_video}
    if suffix in PICTURE_SUFFIXES:
        return {"picture": clips.read_picture_file}
    if suffix in camera_paths.SUFFIXES:
        return {"camera path": camera_paths.read_camera_path, "motion": motion}
    readers: Readers = {"identity": identities.read_identity_file} if suffix in identities.SUFFIXES else {}
    readers |= {"body": bodies.read_body_file} if suffix in bodies.SUFFIXES else {}
    return readers | {"motion": motion}
