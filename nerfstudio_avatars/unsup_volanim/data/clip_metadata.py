"""Information about clips, taken from their names and from published tables."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes

_SEPARATOR = "#"
_VOXCELEB_PARTS, _TED_PARTS = 4, 3
"""`<person>#<video>#<start>#<end>` and `<talk>#<start>#<end>`."""
COLUMNS = ("video_id", "start", "end")
ClipKey = tuple[str | int, ...]


@dataclass(frozen=True)
class ClipNote:
    """One row of a table of clips; None for missing values."""

    person: str | None = None
    fps: float | None = None
    split: str | None = None


def clip_key(name: str) -> ClipKey:
    """Name of a clip with its numbers as numbers, so that zero padding does not matter.

    The table of TED-talks has the range in `video_id`, and 0 for `start` and `end`; files named after it end with a
    second, empty range, which is dropped.
    """
    parts: ClipKey = tuple(int(part) if part.isdecimal() else part for part in name.split(_SEPARATOR))
    doubled = len(parts) > _TED_PARTS + 1 and parts[-2:] == (0, 0) and all(isinstance(n, int) for n in parts[-4:])
    return parts[:-2] if doubled else parts


def voxceleb_person(name: str) -> str | None:
    """The person in `<person>#<video>#<start>#<end>`; None for other names."""
    return _first_part(name, _VOXCELEB_PARTS)


def ted_talk(name: str) -> str | None:
    """The talk (and thus the speaker) in `<talk>#<start>#<end>`; None for other names."""
    return _first_part(name, _TED_PARTS)


def read_clip_table(path: Path) -> dict[ClipKey, ClipNote]:
    """Reads a table of clips: `video_id, start, end` and, if present, `person_id`, `fps` and `partition`.

    Raises:
        DataError: if it is not such a table.
    """
    fix = "take the table as it was published, or remove it: it is not needed"
    try:
        reader = csv.DictReader(io.StringIO(read_bytes(path, "a table of clips, .csv", fix).decode("utf8"), newline=""))
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            columns = ", ".join(reader.fieldnames or ()) or "nothing"
            raise DataError(path, f"the columns {columns}", f"also {', '.join(missing)}", fix)
        return dict(_note(row) for row in reader)
    except (UnicodeDecodeError, csv.Error, ValueError, AttributeError, TypeError) as error:
        raise DataError(path, f"{type(error).__name__}: {error}", "a table of clips, .csv", fix) from error


def _note(row: dict[str, str]) -> tuple[ClipKey, ClipNote]:
    parts = [row[name] for name in ("person_id", *COLUMNS) if row.get(name)]
    partition = row.get("partition")
    note = ClipNote(
        person=row.get("person_id") or None,
        fps=float(row["fps"]) if row.get("fps") else None,
        split=("train" if partition == "train" else "test") if partition else None,
    )
    return clip_key(_SEPARATOR.join(parts)), note


def _first_part(name: str, parts: int) -> str | None:
    key = clip_key(name)
    fits = len(key) == parts and all(isinstance(part, int) for part in key[-2:])
    return name.partition(_SEPARATOR)[0] if fits else None
