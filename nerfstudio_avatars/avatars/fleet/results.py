"""What a fleet ends with: the table that papers print, a contact sheet of everybody, and what failed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from markdown_it import MarkdownIt

from nerfstudio_avatars.avatars.evaluation.report import RunReport, as_json, as_markdown
from nerfstudio_avatars.avatars.evaluation.table import COLUMNS
from nerfstudio_avatars.avatars.fleet.job import Job
from nerfstudio_avatars.avatars.protocols import Protocol
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import read_bytes, write_json, write_text
from nerfstudio_avatars.media.contact_sheet import TILE, SheetRow, write_sheet
from nerfstudio_avatars.media.picture_files import read_picture

JSON, CSV, _MARKDOWN, SHEET = "fleet.json", "fleet.csv", "fleet.md", "people.png"
_IN_A_ROW = 4
_GREY, _WHITE = 200, 255
_SHOWN = "novel_pose"
"""Group of held-out pictures that the contact sheet is made of."""


def _read_report(job: Job) -> RunReport:
    """The figures that `ns-avatar evaluate` wrote for a finished job, under its name in the fleet.

    Raises:
        UserError: if they cannot be read.
    """
    file = Path(job.evaluation) / "evaluation.json"
    try:
        (run,) = json.loads(read_bytes(file, "figures of `ns-avatar evaluate`"))["runs"]
        return RunReport(**{**run, "subject": job.name})
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not written by `ns-avatar evaluate` ({error}). Delete it, and its job's file."
        ) from error


def write_results(output: Path, jobs: Sequence[Job], protocol: Protocol) -> str:
    """Writes the table as Markdown, JSON and CSV, and the contact sheet.

    Args:
        output: the fleet's folder.
        jobs: all jobs, of which some may have failed.
        protocol: what was measured.

    Returns:
        The Markdown.
    """
    done = [job for job in jobs if job.state == "done"]
    reports = [_read_report(job) for job in done]
    text = as_markdown(reports, protocol) if reports else ""
    text += failures(jobs)
    content: dict[str, Any] = as_json(reports, protocol) if reports else {"protocol": protocol.name, "table": []}
    content["jobs"] = [
        {
            key: value
            for key, value in asdict(job).items()
            if key in ("name", "source", "state", "seconds", "last_lines")
        }
        for job in jobs
    ]
    write_json(output / JSON, content)
    write_text(output / CSV, _as_csv(content["table"], jobs, protocol))
    write_text(output / _MARKDOWN, text)
    write_sheet(output / SHEET, _rows(jobs))
    return text


def failures(jobs: Sequence[Job]) -> str:
    """What failed, with the last lines of its output."""
    failed = [job for job in jobs if job.state == "failed"]
    if not failed:
        return ""
    lines = [f"\nFailed: {len(failed)} of {len(jobs)}", ""]
    for job in failed:
        stage = job.next_stage()
        lines += [f"- {job.name} ({job.source}), {stage.name if stage else 'end'}, {job.failures} tries:"]
        lines += ["", *(f"      {line}" for line in job.last_lines.splitlines()), ""]
    return "\n".join(lines)


def as_html(text: str) -> str:
    """The results below the table of the page."""
    page = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
    return f'<section>\n{page.render(text)}</section>\n<img src="{SHEET}" alt="everybody">\n'


def _as_csv(table: Sequence[dict[str, Any]], jobs: Sequence[Job], protocol: Protocol) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["subject", "state", "protocol", "pictures", "poses", "background", "images", *COLUMNS])
    for row in table:
        facts = [row[name] for name in ("group", "poses", "background", "images")]
        writer.writerow([row["subject"], "done", protocol.name, *facts, *(row["figures"].get(n, "") for n in COLUMNS)])
    for job in jobs:
        if job.state != "done":
            writer.writerow([job.name, job.state, protocol.name, *[""] * (4 + len(COLUMNS))])
    return out.getvalue()


def _rows(jobs: Sequence[Job]) -> list[SheetRow]:
    tiles = [(job.name if job.state == "done" else f"{job.name}: {job.state}", _tile(job)) for job in jobs]
    rows = [tiles[at : at + _IN_A_ROW] for at in range(0, len(tiles), _IN_A_ROW)]
    return [SheetRow("", [tile for _, tile in row], [name for name, _ in row]) for row in rows]


def _tile(job: Job) -> UInt8[np.ndarray, "height width 3"]:
    """Truth and rendering of a held-out picture side by side; grey if there is none. All tiles are equally large."""
    tile = np.full((TILE, 2 * TILE, 3), _GREY, np.uint8)
    files = sorted((Path(job.evaluation) / "pictures").glob("*.png"))
    if job.state != "done" or not files:
        return tile
    # A pose that was never seen, where there is one.
    first = next((file for file in files if file.stem.startswith(_SHOWN)), files[0])
    picture = read_picture(first).rgb
    picture = picture[:, : picture.shape[1] * 2 // 3]
    scale = min(tile.shape[0] / picture.shape[0], tile.shape[1] / picture.shape[1])
    height, width = (max(round(side * scale), 1) for side in picture.shape[:2])
    left = (tile.shape[1] - width) // 2
    tile[:] = _WHITE  # As behind the people.
    tile[:height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return tile
