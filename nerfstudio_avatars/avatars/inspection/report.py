"""The report on a file or folder: what it contains, or why it was not understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nerfstudio_avatars.media.contact_sheet import SheetRow


class Unfamiliar(Exception):
    """Raised by a reader for a file of another kind; the message says what is missing."""


class Fact(NamedTuple):
    """One line of a report."""

    name: str
    value: Any
    """Plain data: text, numbers, lists of them, or a dict; a list of two numbers is a range."""
    unit: str = ""

    @property
    def key(self) -> str:
        """The key in JSON, made of name and unit."""
        return "_".join([self.name, self.unit.replace("/", " per ")]).strip("_").replace(" ", "_")

    @property
    def shown(self) -> str:
        """Value and unit in readable form."""
        return f"{shown(self.value)} {self.unit}".strip()


@dataclass(frozen=True)
class Report:
    """The contents of a file or folder."""

    path: Path
    kind: str
    """`motion`, `data`, `body`, `run`, `clip`, `picture`, `identity` or `camera path`."""
    facts: tuple[Fact, ...]
    notes: tuple[str, ...] = ()
    """What was guessed or dropped, or looks odd."""
    draw: Callable[[], list[SheetRow]] | None = None
    """Rows of a contact sheet."""

    def as_json(self) -> dict[str, Any]:
        """Plain values by name."""
        values = {fact.key: fact.value for fact in self.facts}
        return {"path": str(self.path), "understood": True, "kind": self.kind, **values, "notes": list(self.notes)}


@dataclass(frozen=True)
class Refusal:
    """Why a file or folder was not understood, or cannot be used."""

    path: Path
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Plain values by name."""
        return {"path": str(self.path), "understood": False, "reason": self.reason}


def shown(value: Any) -> str:
    """A value in readable form."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        parts = [shown(entry) for entry in value]
        is_range = len(value) == 2 and all(isinstance(entry, int | float) for entry in value)
        return (" ... " if is_range else "; ").join(parts)
    return str(value)
