"""A table of held-out figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.markdown import markdown_table
from nerfstudio_avatars.avatars.protocols import Protocol

COLUMNS = {
    "psnr": ("PSNR", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "lpips": ("LPIPS", ".4f"),
    "st_lpips": ("ST-LPIPS", ".4f"),
    "psnr_box": ("PSNR in box", ".2f"),
    "ssim_box": ("SSIM in box", ".4f"),
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    subject: str
    group: str
    poses: str
    background: str
    images: int
    figures: dict[str, float]
    """The figures that were measured, by the names in `COLUMNS`."""


def rows_of(subject: str, groups: dict[str, dict[str, float]], protocol: Protocol) -> list[Row]:
    """The rows of one run under a protocol.

    Args:
        subject: the run's name in the table.
        groups: means of `metrics.image.image_metrics` by group, under keys such as `given_psnr_box_white`.
        protocol: decides which poses, backgrounds and LPIPS are shown.
    """
    sources = {name: name for name in COLUMNS} | {"lpips": protocol.lpips, "st_lpips": "st_lpips_alex"}
    rows = []
    for group, means in groups.items():
        for poses in protocol.poses:
            for background in protocol.backgrounds:
                keys = {name: f"{poses}_{source}_{background}" for name, source in sources.items()}
                figures = {name: means[key] for name, key in keys.items() if key in means}
                if figures:
                    rows.append(Row(subject, group, poses, background, int(means["images"]), figures))
    return rows


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """The mean over subjects, each counted once, of every kind of row that several of them have."""
    alike: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.group, row.poses, row.background].append(row)
    means = []
    for (group, poses, background), same in alike.items():
        if len(same) > 1:
            names = [name for name in COLUMNS if all(name in row.figures for row in same)]
            figures = {name: sum(row.figures[name] for row in same) / len(same) for name in names}
            images = sum(row.images for row in same)
            means.append(Row(f"mean of {len(same)}", group, poses, background, images, figures))
    return means


def show(rows: Sequence[Row], reasons: dict[str, str]) -> str:
    """The Markdown table, with a footnote for every figure that could not be measured.

    Args:
        rows: the rows, in order.
        reasons: why a column of `COLUMNS` is empty.
    """
    absent = [name for name in COLUMNS if any(name not in row.figures for row in rows)]
    marks = {name: f"n/a [{number}]" for number, name in enumerate(absent, 1)}
    cells = [
        [row.subject, row.group, row.poses, row.background, str(row.images)]
        + [f"{row.figures[name]:{form}}" if name in row.figures else marks[name] for name, (_, form) in COLUMNS.items()]
        for row in rows
    ]
    header = ["subject", "pictures", "poses", "background", "frames", *(title for title, _ in COLUMNS.values())]
    table = markdown_table(header, cells, text_columns=4)
    notes = [
        f"[{number}] {COLUMNS[name][0]}: {reasons.get(name, 'not measured in all pictures')}."
        for number, name in enumerate(absent, 1)
    ]
    return "\n".join([table, *(["", *notes] if notes else [])])


def reasons_for_absence() -> dict[str, str]:
    """The perceptual figures that cannot be measured on this machine, and how to change that."""
    from nerfstudio_avatars.metrics import lpips, st_lpips

    reasons = {}
    if not Path(lpips.trunk_path()).is_file():
        reasons["lpips"] = f"its AlexNet trunk, torchvision's {lpips.TRUNK}, is not at {lpips.trunk_path()}"
    if st_lpips.weights_path() is None:
        reasons["st_lpips"] = "its package is not installed; pip install 'nerfstudio-avatars[stlpips]'"
    return reasons
