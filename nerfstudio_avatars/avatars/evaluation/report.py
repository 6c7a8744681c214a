"""The evaluation report: a table, differences from the paper, and the paper's own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nerfstudio_avatars.avatars.evaluation.table import COLUMNS, Row, mean_rows, reasons_for_absence, rows_of, show
from nerfstudio_avatars.avatars.protocols import Protocol


@dataclass(frozen=True)
class RunReport:
    """The measurements of one run."""

    run: str
    """The folder of the run."""
    subject: str
    groups: dict[str, dict[str, float]]
    frames: dict[str, list[int]]
    render_fps: float
    step: int
    differences: list[str] = field(default_factory=list)
    outlier_frames: list[int] = field(default_factory=list)
    """Training frames that fit far worse than the others."""


def labels(runs: Sequence[RunReport]) -> list[str]:
    """The names of runs in the table: their subjects, numbered if a subject occurs twice."""
    subjects = [run.subject for run in runs]
    return [
        f"{subject} #{subjects[: place + 1].count(subject)}" if subjects.count(subject) > 1 else subject
        for place, subject in enumerate(subjects)
    ]


def as_json(runs: Sequence[RunReport], protocol: Protocol) -> dict[str, Any]:
    """All measurements. Those of a single run (`groups`, `render_fps` and `step`) are also at the top level."""
    top: dict[str, Any] = {"protocol": protocol.name, "claims": [asdict(claim) for claim in protocol.claims]}
    top["runs"] = [asdict(run) for run in runs]
    top["table"] = [asdict(row) for row in _rows(runs, protocol)]
    if len(runs) == 1:
        top |= {key: top["runs"][0][key] for key in ("groups", "render_fps", "step")}
    return top


def as_markdown(runs: Sequence[RunReport], protocol: Protocol) -> str:
    """The table, followed by the remarks that belong to it."""
    rows = _rows(runs, protocol)
    lines = [f"## {protocol.name}: {protocol.title}", ""]
    lines += [show(rows, reasons_for_absence())] if rows else _plain(runs)
    lines += ["", *(f"- {label}: {_speed(run)}" for label, run in zip(labels(runs), runs, strict=True))]
    lines += [
        f"- {label}: training frames that fit far worse than the others: {', '.join(map(str, run.outlier_frames))}"
        for label, run in zip(labels(runs), runs, strict=True)
        if run.outlier_frames
    ]
    if rows:
        lines += ["", _explain(rows, protocol)]
    if protocol.reference:
        lines += ["", *_beside_the_paper(runs, protocol)]
    return "\n".join(lines) + "\n"


def _rows(runs: Sequence[RunReport], protocol: Protocol) -> list[Row]:
    rows = [row for name, run in zip(labels(runs), runs, strict=True) for row in rows_of(name, run.groups, protocol)]
    return rows + mean_rows(rows)


def _plain(runs: Sequence[RunReport]) -> list[str]:
    """Figures that are specific to a model."""
    return [
        f"- {label}, {group}: " + ", ".join(f"{key} {value:.4g}" for key, value in means.items())
        for label, run in zip(labels(runs), runs, strict=True)
        for group, means in run.groups.items()
    ]


def _speed(run: RunReport) -> str:
    return f"step {run.step}, {run.render_fps:.2f} pictures per second, {run.run}"


def _explain(rows: Sequence[Row], protocol: Protocol) -> str:
    meanings = {
        "given": "given: held-out poses as in the data",
        "neighbours": "neighbours: held-out poses corrected like neighbouring training frames, without test pixels",
        "refined": "refined: held-out poses fitted to the test pictures",
    }
    seen = [text for poses, text in meanings.items() if any(row.poses == poses for row in rows)]
    fed = "in [0, 1], as in the published code" if "unnormalised" in protocol.lpips else "scaled to [-1, 1]"
    box = f"{COLUMNS['psnr_box'][0]}: in the box around the body; other figures: the whole picture"
    return f"Poses: {'; '.join(seen)}. LPIPS: AlexNet, with pictures {fed}. {box}."


def _beside_the_paper(runs: Sequence[RunReport], protocol: Protocol) -> list[str]:
    lines = [f"Compared with {protocol.reference}, whose figures correspond to the row {protocol.counted}:"]
    lines += [f"- {claim.what}: {claim.value} ({claim.source})" for claim in protocol.claims]
    lines += ["- its table of PSNR, SSIM and LPIPS is not printed, because no copy of it was verified"]
    lines += ["", "Differences from it:"]
    shared = [text for text in runs[0].differences if all(text in run.differences for run in runs)]
    lines += [f"- {text}" for text in (*shared, *protocol.caveats)]
    for label, run in zip(labels(runs), runs, strict=True):
        lines += [f"- {label}: {text}" for text in run.differences if text not in shared]
    return lines
