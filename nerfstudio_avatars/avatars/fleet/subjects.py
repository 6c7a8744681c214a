"""Finds the subjects of a fleet: folders of people, videos, folders of those, and tables that list them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.files import read_bytes

TABLES = (".csv", ".json")
COLUMNS = ("subject", "name", "method", "steps", "options")
"""Columns of a table. Only the first is needed; empty cells take what holds for all."""
_NAME = re.compile(r"[^\W_][\w.#@+-]*")
_EXPECTED = "a subject's folder, a video, a folder of them, or a table (.csv, .json)"


@dataclass(frozen=True)
class Subject:
    """One person to learn, and what is different for them."""

    name: str
    path: Path
    """A folder that a dataparser reads, or a video."""
    method: str | None = None
    steps: int | None = None
    options: str = ""
    """Further options of ns-train or, for a video, of `ns-avatar create`."""

    @property
    def is_video(self) -> bool:
        """Whether the data are still to be made of a video."""
        return _is_video(self.path)


def find_subjects(paths: Iterable[Path]) -> list[Subject]:
    """All subjects that paths lead to, in order.

    Raises:
        UserError: a path that leads to none, or two subjects of one name.
    """
    found = [subject for path in paths for subject in _at(path)]
    if not found:
        raise UserError(f"no subjects given. Expected {_EXPECTED}; `ns-avatar demo-data --people 12` draws some.")
    by_name: dict[str, Subject] = {}
    for subject in found:
        if not _NAME.fullmatch(subject.name):
            raise UserError(
                f"{subject.path}: the name {subject.name!r} cannot be that of a folder. Expected letters, digits, "
                "dots and dashes. Rename it, or list it in a table with a `name` of its own."
            )
        other = by_name.setdefault(subject.name.lower(), subject)
        if other is not subject:
            raise UserError(
                f"{other.path} and {subject.path}: two subjects of the name {subject.name}. Rename one of them, or "
                "list both in a table with a `name` each."
            )
    return found


def _at(path: Path) -> Iterator[Subject]:
    from nerfstudio_avatars.instant_avatar.data.people_snapshot import layout_of

    if path.suffix.lower() in TABLES and not path.is_dir():
        yield from _in_table(path)
    elif _is_video(path):
        yield Subject(path.stem, path)
    elif not path.is_dir():
        found = f"a file of type {path.suffix or '(none)'}" if path.exists() else "no such file or folder"
        raise DataError(path, found, _EXPECTED, "check the path")
    elif layout_of(path):
        yield Subject(path.absolute().name, path)
    else:
        inside = [one for one in sorted(path.iterdir()) if one.name[0] != "."]
        folders = [one for one in inside if one.is_dir()]
        videos = [one for one in inside if _is_video(one)]
        if not videos and not any(layout_of(folder) for folder in folders):
            contents = ", ".join(one.name for one in inside[:8]) or "nothing"
            raise DataError(path, contents, _EXPECTED, "give the folder above the subjects' own")
        # A folder that is no subject is one whose data are broken: its own training says what is wrong.
        yield from (Subject(folder.name, folder) for folder in folders)
        yield from (Subject(video.stem, video) for video in videos)


def _is_video(path: Path) -> bool:
    from nerfstudio_avatars.media.video_file import VIDEO_SUFFIXES

    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _in_table(path: Path) -> Iterator[Subject]:
    expected = f"a table with the columns {', '.join(COLUMNS)}, of which only subject is needed"
    text = read_bytes(path, expected).decode("utf-8-sig", "replace")
    try:
        rows: Any = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(io.StringIO(text)))
    except (json.JSONDecodeError, csv.Error) as error:
        raise DataError(path, str(error), expected, "correct the file") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(path, "no rows", expected, "write one row for each subject")
    for number, row in enumerate(rows, 1):
        unknown = [name for name in row if name not in COLUMNS]
        if unknown or not row.get("subject"):
            found = f"row {number}: " + (f"a column {unknown[0]!r}" if unknown else "no subject")
            raise DataError(path, found, expected, "correct the row")
        yield _of_row(path, number, {name: str(value).strip() for name, value in row.items() if value is not None})


def _of_row(table: Path, number: int, row: dict[str, str]) -> Subject:
    path = table.parent / row["subject"]
    if not path.exists():
        raise DataError(
            table, f"row {number}: {row['subject']}, which does not exist", "subjects that exist", "check the path"
        )
    steps = row.get("steps") or None
    if steps is not None and not (steps.isdecimal() and int(steps) >= 2):
        raise DataError(table, f"row {number}: steps {steps}", "a whole number from 2 on", "correct the row")
    name = row.get("name") or (path.stem if path.is_file() else path.absolute().name)
    return Subject(name, path, row.get("method") or None, None if steps is None else int(steps), row.get("options", ""))
