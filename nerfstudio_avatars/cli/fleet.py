"""`ns-avatar fleet`: trains and measures many subjects, on one machine or on many."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nerfstudio_avatars.avatars.fleet.fleet import FleetOptions


@dataclass(kw_only=True)
class _Subjects:
    """A base class, because the options of base classes come first in the help."""

    subjects: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of subjects, videos, folders of those, or tables (.csv, .json) that list them.
    A table has a column `subject`, and may have `name`, `method`, `steps` and `options` for single ones."""


@dataclass(kw_only=True)
class Fleet(FleetOptions, _Subjects):
    """Trains and measures many subjects, each in a process of its own, on one machine or on many.

    Kill it at any moment, and type the command again: only what is missing runs. A subject that fails is tried again
    twice, then reported, and stops nobody.
    """

    def run(self) -> None:
        """Does what is missing, prints the table, and exits with code 1 if a subject failed."""
        from nerfstudio_avatars.avatars.fleet.fleet import run_fleet

        outcome = run_fleet(self.subjects, self)
        print(outcome.table)
        done = len(outcome.jobs) - len(outcome.failed)
        print(f"{done} of {len(outcome.jobs)} subjects done: {outcome.page}")
        if outcome.failed:
            print("Failed ones are tried again when this command is typed again.")
            sys.exit(1)
