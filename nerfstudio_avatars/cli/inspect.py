"""`ns-avatar inspect`: shows what files and folders contain."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_file
from nerfstudio_avatars.motion.choices import UpOrAuto

if TYPE_CHECKING:
    from rich.console import Console

    from nerfstudio_avatars.avatars.inspection.report import Refusal, Report


@dataclass
class Inspect:
    """Shows what data folders, motion files, body files and trained runs contain.

    The exit code is 1 if one of them is not understood.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files and folders to inspect, of any kind, or names of shipped motions."""
    json: bool = False
    """Whether to print JSON: a list with one object for each file."""
    sheet: Path | None = None
    """PNG file to draw eight frames of every motion into, from the front and the side, and frames of data folders."""
    person: str | None = None
    """Name or number of the person to take from motion files that hold several; by default the one in most frames."""
    up: UpOrAuto = "auto"
    """Axis that points up in motion files; `auto` finds it by how the body stands and moves, else by the format."""

    joint_map: Path | None = None
    """JSON file of SMPL's joints and a skeleton's names for them, to read BVH and glTF files with."""
    write_joint_map: Path | None = None
    """JSON file to write the joints into that were found in the one BVH or glTF file, to be corrected by hand."""

    def run(self) -> None:
        """Reads all files, then prints the reports."""
        import json

        from rich.console import Console

        from nerfstudio_avatars.avatars.inspection.reading import read_anything
        from nerfstudio_avatars.avatars.inspection.report import Refusal, Report

        if not self.files:
            raise UserError("ns-avatar inspect: expected at least one file or folder.")
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise UserError(f"--sheet {self.sheet}: expected a file name that ends in .png.")
        if self.sheet is not None:
            check_file(self.sheet, "--sheet")
        if self.write_joint_map is not None:
            if len(self.files) != 1:
                raise UserError(f"--write-joint-map {self.write_joint_map}: expected one file, got {len(self.files)}.")
            check_file(self.write_joint_map, "--write-joint-map")
        found = [read_anything(path, self.person, self.up, self.joint_map) for path in self.files]
        if self.write_joint_map is not None:
            _write_map(self.write_joint_map, found[0])
        if self.json:
            print(json.dumps([one.as_json() for one in found], indent=2))
        else:
            console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
            for one in found:
                _print(console, one)
        if self.sheet is not None:
            _draw(self.sheet, [one for one in found if isinstance(one, Report)])
        if any(isinstance(one, Refusal) for one in found):
            sys.exit(1)


def _write_map(path: Path, one: Report | Refusal) -> None:
    from nerfstudio_avatars.avatars.inspection.report import Report
    from nerfstudio_avatars.files import write_json
    from nerfstudio_avatars.motion.joint_map import joint_map_of

    joints = (
        next((fact.value for fact in one.facts if fact.name == "joints"), None) if isinstance(one, Report) else None
    )
    if joints is None:
        raise UserError(f"{one.path}: no skeleton with joints' names. Expected a BVH or glTF file of a person.")
    write_json(path, joint_map_of(joints))
    print(f"Wrote a joint map: {path}", file=sys.stderr)


def _print(console: Console, one: Report | Refusal) -> None:
    from rich.table import Table
    from rich.text import Text

    from nerfstudio_avatars.avatars.inspection.report import Report

    if isinstance(one, Report):
        title, lines = one.kind, [(fact.name, fact.shown) for fact in one.facts]
        lines += [("note", note) for note in one.notes]
    else:
        title, lines = "not understood", [("because", one.reason)]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in lines:
        # Text, because paths may hold what rich takes for its markup.
        table.add_row(Text(name), Text(value))
    console.print(Text(f"{one.path}: {title}", style="bold" if isinstance(one, Report) else "bold red"))
    console.print(table)


def _draw(path: Path, reports: list[Report]) -> None:
    from nerfstudio_avatars.media.contact_sheet import write_sheet

    rows = [row for report in reports if report.draw is not None for row in report.draw()]
    if not rows:
        print(f"{path}: there is nothing to draw in these files. Expected a motion, a body or data.", file=sys.stderr)
        return
    write_sheet(path, rows)
    print(f"Drew a contact sheet: {path}", file=sys.stderr)
