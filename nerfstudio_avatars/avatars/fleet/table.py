"""What a fleet is doing, as a table in the terminal and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.creation import ACCOUNT, TITLES
from nerfstudio_avatars.avatars.fleet.job import RETRIES, Job, created_folder, read_job
from nerfstudio_avatars.avatars.fleet.job_process import is_running
from nerfstudio_avatars.avatars.fleet.training_progress import TrainingProgress
from nerfstudio_avatars.avatars.stages import stage_at_work
from nerfstudio_avatars.files import write_text

if TYPE_CHECKING:
    from rich.table import Table

PAGE = "index.html"
COLUMNS = ("subject", "state", "step", "dB", "left", "note")
_SECONDS_BETWEEN_PAGES = 3
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; }
td { text-align: right; font-variant-numeric: tabular-nums; } th { text-align: left; }
td:nth-child(2), td:last-child { text-align: left; } .failed td { color: #b00; } .done td { color: #060; }
section { overflow-x: auto; } section td { text-align: left; } section th { white-space: nowrap; }
pre { background: #f6f6f6; padding: .5rem; overflow: auto; } img { max-width: 100%; }
"""


@dataclass(frozen=True)
class Line:
    """One subject's row."""

    subject: str
    state: str
    """`waiting`, `running`, `failed` or `done`."""
    cells: tuple[str, str, str, str, str]
    """What the columns after the subject's name hold."""


class Overview:
    """Looks at the files of jobs.

    Args:
        files: of all jobs.
        steps: number of training steps of each, by name.
    """

    def __init__(self, files: list[Path], steps: dict[str, int]) -> None:
        self._files, self._steps = files, steps
        self._progress: dict[str, TrainingProgress] = {}

    def lines(self) -> list[Line]:
        """The state of all jobs now."""
        return [self._line(file, read_job(file)) for file in self._files]

    def _line(self, file: Path, job: Job) -> Line:
        state = job.state
        if state == "running" and not is_running(file):
            state = "waiting"  # Its process was killed.
        stage = job.next_stage()
        shown: str = state
        if state == "running" and stage is not None:
            shown = {"train": "training", "create": "creating", "evaluate": "measuring"}[stage.name]
        following = self._progress.setdefault(job.name, TrainingProgress(Path(job.run), self._steps[job.name]))
        progress = following.look()
        step = psnr = left = ""
        if progress is not None:
            steps = self._steps[job.name]
            # Not every step is logged, so the last one may not be.
            step, psnr = f"{steps if state == 'done' else progress.step + 1}/{steps}", f"{progress.psnr:.1f}"
            if shown in ("training", "creating") and progress.seconds_left is not None:
                left = clock(progress.seconds_left)
        note = ""
        if shown == "creating":
            note = stage_at_work(created_folder(file.parent.parent, job.name) / ACCOUNT, TITLES)
        elif state == "failed":
            note = f"try {job.failures} of {1 + RETRIES}: {job.last_lines.splitlines()[-1] if job.last_lines else ''}"
        return Line(job.name, state, (shown, step, psnr, left, note))


def clock(seconds: float) -> str:
    """A length of time, as hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def terminal_table(lines: list[Line], title: str) -> Table:
    """The table for rich."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("step", "dB", "left") else "left", no_wrap=name != "note")
    style = {"running": "cyan", "failed": "red", "done": "green"}
    for line in lines:
        cells = (line.subject, *line.cells)
        table.add_row(*(Text(cell, style=style.get(line.state, "dim")) for cell in cells))
    return table


def write_page(output: Path, lines: list[Line], title: str, rest: str = "", finished: bool = False) -> Path:
    """Writes the page, which loads itself again while jobs run.

    Args:
        output: the fleet's folder.
        lines: the table's rows.
        title: what is going on.
        rest: HTML to show below the table.
        finished: whether nothing will change any more.
    """
    header = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = "".join(
        f'<tr class="{line.state}"><th>{escape(line.subject)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in line.cells)
        + "</tr>\n"
        for line in lines
    )
    again = "" if finished else f'<meta http-equiv="refresh" content="{_SECONDS_BETWEEN_PAGES}">'
    page = output / PAGE
    write_text(
        page,
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">{again}<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        f"<table><tr>{header}</tr>\n{rows}</table>\n{rest}</html>\n",
    )
    return page
