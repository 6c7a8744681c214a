"""The page of `ns-avatar demo-volanim`, which shows toy heads being moved."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nerfstudio_avatars.demo.heads import JAW
from nerfstudio_avatars.demo.heads_exam import HeadExam
from nerfstudio_avatars.demo.page_style import STYLE
from nerfstudio_avatars.demo.toy_exam import NOVEL_TURN
from nerfstudio_avatars.files import write_text
from nerfstudio_avatars.media.frame_writer import FrameWriter
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    from nerfstudio.pipelines.base_pipeline import Pipeline

    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

COLUMNS = (
    "source", "reconstruction", "25 degrees left", "truth", "25 degrees right", "truth", "driver", "driven", "truth",
    "depth", "truth", "normals", "parts", "true jaw",
)  # fmt: skip
FIGURES = {
    "depth_corr": "correlation of depth inside the head",
    "relief_gain": "relief: slope of depth on true depth (0 is flat)",
    "normal_error_degrees": "mean angle between predicted and true normals, degrees",
    "yaw_corr": "correlation of yaw, median over heads",
    "yaw_corr_pooled": "correlation of yaw, all heads together",
    "rotation_error_degrees": "median rotation error, degrees",
    "l1": "error of held-out frames (L1)",
    "mask_iou": "overlap of head masks",
    "cross_identity_ratio": "error when driven by another head, relative to an unchanged picture",
    "novel_view_ratio": "error of views turned by 25 degrees, relative to an unchanged picture",
    "jaw_iou": "overlap of the jaw and the part that matches it best",
    "jaw_turn_corr": "correlation of the turn of that part and of the jaw",
    "jaw_turn_slope": "slope of the turn of that part on the jaw's (0 is still)",
    "mouth_l1_ratio": "error at the mouth, relative to that of a model with one part",
    "mouth_still_ratio": "error at the mouth, relative to that of parts held still",
    "mouth_cross_ratio": "error at the mouth when driven by another head, relative to an unchanged picture",
    "train_seconds": "training, seconds",
    "steps": "steps",
}
COMPARED = ("fitted_poses", "one_part", "true_poses")
"""Further runs and ways to find poses whose figures stand beside those of the run."""
_SHOWN = 128
"""Least side of a picture on the page, in pixels; smaller ones are enlarged."""
_RELIEF = 1.1
"""Range of depth from black to white, in half pictures."""


def draw_sheet(exam: HeadExam, path: Path) -> None:
    """Draws one row per head, with the columns in `COLUMNS`."""
    seen: set[int] = set()
    rows = []
    for place, (clip, frame) in enumerate(exam.rows):
        if clip in seen or place % 5 != len(seen) % 5:
            continue
        seen.add(clip)
        pose, truth = exam.pose(clip, frame), exam.truth[clip].render(frame)
        own = exam.draw(clip, pose, normals=True)
        row = [exam.picture(clip, frame), own["rgb"]]
        for turn in (-NOVEL_TURN, NOVEL_TURN):
            row.append(exam.turned(clip, pose, turn))
            row.append(torch.from_numpy(exam.truth[clip].render(frame, turn).rgb))
        driver, moment = exam.other(place)
        wanted = exam.truth[clip].toy.render(exam.truth[driver].poses[moment], exam.size)
        row += [exam.picture(driver, moment), exam.draw(clip, exam.pose(driver, moment))["rgb"]]
        row.append(torch.from_numpy(wanted.rgb))
        covered = own["accumulation"] > 0.5
        row += [_relief(own["depth"], covered), _relief(torch.from_numpy(truth.depth)[..., None])]
        row += [own["normal"], own["parts"], torch.from_numpy(truth.parts[..., JAW])[..., None].expand(-1, -1, 3)]
        rows.append(torch.cat([one.double() for one in row], 1))
    save_sheet(torch.cat(rows), path, exam.size)


def drive_video(exam: HeadExam, path: Path, heads: int = 6) -> None:
    """Renders a video of heads driven by the whole clip of the first one, while they turn a little."""
    clips = sorted(exam.truth)[:heads]
    driver = clips[0]
    with FrameWriter(path, 15) as writer:
        for frame in range(exam.clips[driver].frames):
            pose = exam.model.driving_pose(driver, frame)
            turn = 0.4 * np.sin(2 * np.pi * frame / exam.clips[driver].frames)
            shown = [exam.picture(driver, frame), *(exam.draw(clip, pose)["rgb"] for clip in clips[1:])]
            turned = [exam.turned(clip, pose, turn) for clip in clips]
            both = torch.cat([torch.cat(shown, 1), torch.cat(turned, 1)])
            writer.write(_bytes(both, exam.size))


def inversion_sheet(pipeline: Pipeline, data: Path, path: Path) -> dict[str, float]:
    """Draws heads that were not trained on, each fitted to one picture and driven by trained heads.

    Returns:
        Mean errors of the average head (`inversion_start_l1`), of the fitted code, and after tuning; and the error in
        poses of other heads, relative to that of leaving the picture unchanged.
    """
    from nerfstudio_avatars.demo.head_clips import read_truth
    from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

    model, source = pipeline.model, pipeline.model.clips
    clips = source.table

    def draw(cube: Tensor, pose: PartPoses) -> Tensor:
        return model.render_identity(camera, cube, pose, normals=False)["rgb"].cpu()

    rows, errors, copies = [], [], []
    stages: dict[str, list[float]] = {"start": [], "code": [], "tuned": []}
    for number in clips.of_split("test"):
        truth = read_truth(data / "truth" / "test" / f"{clips[number].name}.npz")
        picture = source.frame(number, 0)
        mask = source.mask(number, 0)
        found = model.invert(picture[None], masks=None if mask is None else mask[None])
        for name, value in found.errors.items():
            stages[name].append(value)
        camera = clip_cameras(clips, torch.tensor([[number, 0]]), picture.shape[0])
        pose = model.driving_pose(number, 0)
        row = [picture, draw(found.cube, pose)]
        for turn in (-NOVEL_TURN, NOVEL_TURN):
            row.append(draw(found.cube, model.network.turned(found.cube, pose, turn)))
            row.append(torch.from_numpy(truth.render(0, turn).rgb))
        for driver in clips.of_split("train")[:3]:
            moment = clips[driver].frames // 3
            driving = read_truth(data / "truth" / "train" / f"{clips[driver].name}.npz").poses[moment]
            driven = draw(found.cube, model.driving_pose(driver, moment))
            wanted = torch.from_numpy(truth.toy.render(driving, picture.shape[0]).rgb)
            row += [source.frame(driver, moment), driven, wanted]
            errors.append(float((driven - wanted).abs().mean()))
            copies.append(float((picture - wanted).abs().mean()))
        rows.append(torch.cat([one.double() for one in row], 1))
    if not rows:
        return {}
    save_sheet(torch.cat(rows), path, source.size)
    figures = {f"inversion_{name}_l1": sum(values) / len(values) for name, values in stages.items()}
    return figures | {"inversion_cross_identity_ratio": sum(errors) / sum(copies)}


def write_heads_page(output: Path, report: dict, more: str = "") -> Path:
    """Writes `index.html`, whose links point only into its folder.

    Args:
        output: the folder.
        report: figures of the run, and under their names those of others.
        more: HTML to put at its end.
    """
    runs = [
        ("learned", report),
        *((name, report[name]) for name in COMPARED if name in report),
    ]
    header = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name, _ in runs)
    rows = "".join(
        f"<tr><th>{escape(title)}</th>"
        + "".join(f"<td>{run.get(key, float('nan')):.4g}</td>" for _, run in runs)
        + "</tr>"
        for key, title in FIGURES.items()
    )
    page = output / "index.html"
    write_text(
        page,
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>nerfstudio-avatars: heads driven by others</title><style>{STYLE}
img {{ image-rendering: pixelated; width: 100%; }}</style></head><body>
<h1>Heads driven by others, learnt from videos alone</h1>
<p>Trained with <code>{escape(report["method"])}</code> on {escape(report["device"])}, on toy heads with masks, without
poses, depth or keypoints.</p>
<video src="driven.mp4" autoplay loop muted controls playsinline style="width: 100%"></video>
<p>Top: a driver (left), and heads driven by it. Bottom: the same, turned to the side.</p>
<figure><img src="heads.png" alt=""><figcaption>Held-out frames: {escape(", ".join(COLUMNS))}</figcaption></figure>
<figure><img src="inverted.png" alt=""><figcaption>Heads that were not trained on, fitted to the picture on the left:
source, reconstruction, two new views with the truth; then three times driver, driven and truth</figcaption></figure>
<table><tr><th></th>{header}</tr>{rows}</table>{more}</body></html>
""",
    )
    return page


def _relief(depth: Tensor, covered: Tensor | None = None) -> Tensor:
    """Draws depth: near is light, far is dark, empty is black; grey is the median, as absolute depth is unknown."""
    depth = depth.double()
    covered = depth.isfinite() if covered is None else covered
    middle = depth[covered].median() if covered.any() else 0.0
    shade = (0.6 - (depth - middle) / _RELIEF).clamp(0, 1).nan_to_num(0.0)
    return (shade * covered).expand(-1, -1, 3)


def _bytes(picture: Tensor, size: int) -> np.ndarray:
    zoom = max(1, _SHOWN // size)
    enlarged = picture.repeat_interleave(zoom, 0).repeat_interleave(zoom, 1)
    return (enlarged.clamp(0, 1) * 255).round().byte().cpu().numpy()


def save_sheet(picture: Tensor, path: Path, size: int) -> None:
    """Writes a picture of pictures of a side in pixels, enlarged if they are small, as PNG."""
    with whole_file(path) as partial:
        write_png(partial, _bytes(picture, size))
