"""The part of `ns-avatar demo-volanim`'s page that shows toy upper bodies."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerfstudio_avatars.demo.bodies_exam import BodyExam
from nerfstudio_avatars.demo.heads_page import save_sheet
from nerfstudio_avatars.demo.upper_bodies import PARTS

COLUMNS = ("source", "reconstruction", "parts", "true parts", "driver", "driven", "truth")
FIGURES = {
    "upper_arms_iou": "overlap of the upper arms and the parts that match them best",
    "lower_arms_iou": "overlap of the lower arms and the parts that match them best",
    "head_iou": "overlap of the head and the part that matches it best",
    "arms_cross_ratio": "error at the arms when driven by somebody else, relative to an unchanged picture",
    "cross_identity_ratio": "error when driven by somebody else, relative to an unchanged picture",
    "yaw_corr": "correlation of the torso's yaw, median over bodies",
    "l1": "error of held-out frames (L1)",
    "mask_iou": "overlap of masks",
    "train_seconds": "training, seconds",
    "steps": "steps",
}
_COLOURS = torch.tensor(
    [[0.3, 0.4, 1.0], [1.0, 0.3, 0.2], [0.2, 0.8, 0.3], [1.0, 0.9, 0.2], [0.8, 0.2, 0.8], [0.2, 0.9, 0.9]]
)
"""Of the true parts."""


def draw_bodies(exam: BodyExam, path: Path) -> None:
    """Draws one row per body, with the columns in `COLUMNS`."""
    seen: set[int] = set()
    rows: list[Tensor] = []
    for place, (clip, frame) in enumerate(exam.rows):
        if clip in seen:
            continue
        seen.add(clip)
        truth = exam.truth[clip].render(frame)
        own = exam.draw(clip, exam.pose(clip, frame))
        driver, moment = exam.other(place)
        wanted = exam.truth[clip].toy.render(exam.truth[driver].poses[moment], exam.size)
        row = [exam.picture(clip, frame), own["rgb"], own["parts"], torch.from_numpy(truth.parts).float() @ _COLOURS]
        row += [exam.picture(driver, moment), exam.draw(clip, exam.pose(driver, moment))["rgb"]]
        row.append(torch.from_numpy(wanted.rgb))
        rows.append(torch.cat([one.double() for one in row], 1))
    save_sheet(torch.cat(rows), path, exam.size)


def bodies_section(runs: dict[str, dict[str, Any]]) -> str:
    """HTML with the sheet and the figures.

    Args:
        runs: figures by the name of the run.
    """
    header = "".join(f"<th>{escape(name)}</th>" for name in runs)
    rows = [
        (title, [f"{figures.get(key, float('nan')):.4g}" for figures in runs.values()])
        for key, title in FIGURES.items()
    ]
    for name in PARTS[1:]:
        slopes = [figures.get("turn_slopes", {}).get(name, float("nan")) for figures in runs.values()]
        rows.append((f"slope of the turn of the {name} (0 is still)", [f"{slope:.4g}" for slope in slopes]))
    table = "".join(
        f"<tr><th>{escape(title)}</th>" + "".join(f"<td>{value}</td>" for value in values) + "</tr>"
        for title, values in rows
    )
    return f"""<h1>Upper bodies</h1>
<figure><img src="bodies.png" alt=""><figcaption>Held-out frames: {escape(", ".join(COLUMNS))}</figcaption></figure>
<table><tr><th></th>{header}</tr>{table}</table>"""
