#!/usr/bin/env python
"""Do real heads follow their drivers, mouths and eyes included, in frames never trained on? One JSON object.

    python benchmarks/real_heads.py data/heads
    python benchmarks/real_heads.py data/heads --variants parts one-part --steps 3000 --keep outputs/real-heads

The folder holds videos of talking heads, one person each. The last part of each is never trained on, and drives.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from nerfstudio_avatars.avatars.driving import still_cameras
from nerfstudio_avatars.avatars.heads_demo import FIT_ROUNDS, HEADS, METHOD, ONE_PART, PARTS, SIZE
from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.media.contact_sheet import SheetRow, spread, write_sheet
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.media.video_file import VideoFile
from nerfstudio_avatars.metrics.expression import eye_opening, following, mouth_opening
from nerfstudio_avatars.metrics.face_animation import aed, has_face
from nerfstudio_avatars.metrics.face_identity import embed_faces
from nerfstudio_avatars.metrics.face_landmarks import FaceLandmarks
from nerfstudio_avatars.metrics.head_pose import head_pose
from nerfstudio_avatars.process.person_masks import write_person_masks
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
from nerfstudio_avatars.unsup_volanim.pose_fitting import fit_poses
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

MODEL = "--pipeline.model."
VARIANTS: dict[str, list[str] | None] = {"parts": [], "one-part": ONE_PART, "plain": None}
"""Options beside those of parts that separate; `plain` is `unsup-volanim-tiny` without any of these."""
STORED, SAMPLES = 256, 32
"""Side of the stored pictures in pixels, and samples along each ray of a rendering."""
TO_DRIVE = 0.25
"""Share of each clip that is never trained on."""
MOVES = {"mouth": 0.04, "eyes": 0.015, "yaw": 2.0}
"""Standard deviations from which a clip counts for a figure: openings over the distance of the eyes, degrees."""
SEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "mouth": mouth_opening,
    "eyes": eye_opening,
    "yaw": lambda landmarks: head_pose(landmarks)[:, 0],
}
PEOPLE_SHOWN = 6
DRIVERS = (0, 2)
"""Each person is driven by those who come so many places later among those whose mouths move."""


@dataclass
class Options:
    """The clips, and how they are learnt."""

    data: Annotated[Path, tyro.conf.Positional]
    """A folder of videos of talking heads, one person each."""
    variants: tuple[str, ...] = ("parts",)
    """What to train: see VARIANTS."""
    steps: int = 3000
    """Of each training."""
    size: int = SIZE
    """Side of the pictures in pixels."""
    learnt_frames: int = 48
    """Frames of each clip to learn from, spread over what is not held out."""
    driving_frames: int = 30
    """Frames of each clip to drive with, spread over what is held out."""
    crop: float = 1.75
    """Width of the square to cut out of a clip, in widths of the face; 0 takes the whole picture."""
    options: tuple[str, ...] = field(default_factory=tuple)
    """More of `ns-train`'s options for all variants, such as `pipeline.model.network.parts=8`."""
    seed: int = 0
    """Of the training."""
    keep: Path | None = None
    """Folder for data, runs, and sheets; a temporary one by default."""


def main(options: Options) -> None:
    """Prepares, trains, measures and prints."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = options.keep or Path(temporary)
        data = folder / "data"
        if not data.exists():
            prepare(options, data)
        found = {variant: trained(options, variant, data, folder) for variant in options.variants}
    asked = {"size": options.size, "steps": options.steps, "options": list(options.options), "seed": options.seed}
    asked |= {"learnt_frames": options.learnt_frames, "driving_frames": options.driving_frames, "crop": options.crop}
    question = {"question": "do real heads follow their drivers, in frames never trained on?"}
    print(json.dumps(question | asked | {"results": found, "peak_memory_mb": peak_memory_mb()}))


def prepare(options: Options, data: Path) -> None:
    """Writes train/ and test/ with the beginning and the end of each clip, cropped, and masks of the people."""
    videos = sorted(path for path in options.data.iterdir() if path.suffix == ".mp4")
    for path in videos:
        video = VideoFile(path)
        count = video.index.frames
        until = round(count * (1 - TO_DRIVE))
        halves = {"train": (0, until, options.learnt_frames), "test": (until, count, options.driving_frames)}
        chosen = {name: [start + at for at in spread(end - start, most)] for name, (start, end, most) in halves.items()}
        frames = {name: [np.asarray(one.rgb) for one in video.pictures(these)] for name, these in chosen.items()}
        window = _window(frames["train"], options.crop)
        for name, pictures in frames.items():
            start, end, _ = halves[name]
            stem = "#".join([*path.stem.split("#")[:2], str(start), str(end)])
            (data / name / stem).mkdir(parents=True)
            for number, picture in enumerate(pictures):
                write_png(data / name / stem / f"{number:06d}.png", _cut(picture, window))
        note(f"{path.name}: {count} frames, window {window}")
    write_person_masks(data)


def _window(pictures: list[np.ndarray], crop: float) -> tuple[float, float, float]:
    """Middle and half side of the square that shows the head in all pictures, in pixels."""
    height, width = pictures[0].shape[:2]
    if not crop:
        return width / 2, height / 2, min(height, width) / 2
    points = finder().detect_all(np.stack(pictures[:: max(1, len(pictures) // 8)]))
    points = points[has_face(points)][..., :2]
    low, high = points.amin(1), points.amax(1)
    middle = ((low + high) / 2).mean(0)
    side = float((high - low)[:, 0].mean())
    return float(middle[0]), float(middle[1]) - 0.12 * side, crop * side / 2


def _cut(picture: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    """That square, with the border of the picture repeated outside of it."""
    x, y, half = window
    height, width = picture.shape[:2]
    steps = half * ((torch.arange(STORED) + 0.5) * 2 / STORED - 1)
    across, down = (x + steps) * 2 / width - 1, (y + steps) * 2 / height - 1
    grid = torch.stack([across.expand(STORED, -1), down[:, None].expand(-1, STORED)], -1)[None]
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    cut = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return cut[0].permute(1, 2, 0).round().byte().numpy()


@cache
def finder() -> FaceLandmarks:
    """The shipped networks that find landmarks."""
    return FaceLandmarks()


def trained(options: Options, variant: str, data: Path, folder: Path) -> dict[str, Any]:
    """Trains a variant, draws its sheet, and measures it."""
    own = VARIANTS[variant]
    flags = [] if own is None else [*PARTS, *HEADS, *own]
    for option in options.options:
        name, _, value = option.partition("=")
        flags += [f"--{name}", *value.split()]
    flags += ["--steps-per-eval-image", "0", "--steps-per-save", str(options.steps)]
    flags += ["--pipeline.seed", str(options.seed), "--machine.seed", str(options.seed)]
    flags += ["voxceleb", "--image-size", str(options.size), "--eval-frame-interval", "0"]
    name = f"{variant}-{options.seed}"
    run = train(METHOD, data, folder / "runs", name, options.steps, flags, folder / f"{name}.log", name)
    note(f"{name}: measuring")
    model = load_run(run.config, need_data=True).model
    figures = Exam(model.eval(), folder / f"{name}.png").figures()
    return figures | {"train_seconds": round(run.train_seconds, 1)}


class Exam:
    """Drives people by frames that were never trained on: their own, and those of others.

    Args:
        model: trained on the beginning of each clip.
        sheet: where to write pictures.
    """

    def __init__(self, model: UnsupVolanimModel, sheet: Path) -> None:
        self.model, self.sheet = model, sheet
        table = model.clips.table
        self.people = table.of_split("train")
        by_name = {table[clip].name.rsplit("#", 2)[0]: clip for clip in table.of_split("test")}
        self.drivers = {clip: by_name[table[clip].name.rsplit("#", 2)[0]] for clip in self.people}
        self.camera = still_cameras(model, 1, model.clips.size)
        self.every = 2
        """Of the training frames, so many count as one."""

    @torch.no_grad()
    def figures(self) -> dict[str, Any]:
        """Medians over the clips that move, and the mouths of all pairs."""
        true = {clip: self._seen(self._pictures(self.drivers[clip])) for clip in self.people}
        learnt = {clip: self._seen(self._pictures(clip)[:: self.every]) for clip in self.people}
        names = ("learnt", "detected", "fitted", "driven", "driven_fitted")
        rows: dict[str, dict[tuple[int, int], dict[str, float]]] = {name: {} for name in names}
        shown: dict[int, list[Tensor]] = {}
        moving = [clip for clip in self.people if _std(true[clip]["mouth"]) > MOVES["mouth"]] or self.people
        poses = {clip: self._poses(clip) for clip in self.people}
        for place, clip in enumerate(self.people):
            pictures, own = self._pictures(self.drivers[clip]), self._pictures(clip)[:: self.every]
            for name, these in poses[clip].items():
                drawn = self._draw(clip, these)
                targets, wanted = (own, learnt[clip]) if name == "learnt" else (pictures, true[clip])
                rows[name][clip, clip] = _compared(self._seen(drawn, faces=False), wanted)
                rows[name][clip, clip]["l1"] = float((drawn - targets).abs().mean())
            source = learnt[clip]["faces"][int(learnt[clip]["found"].float().argmax())]
            still = own[0].expand_as(pictures)
            rows["detected"][clip, clip]["still_l1"] = float((still - pictures).abs().mean())
            rows["detected"][clip, clip]["true_identity_distance"] = aed(true[clip]["faces"], source)
            others = [one for one in moving if one != clip]
            for number, step in enumerate(DRIVERS):
                driver = others[(place + step) % len(others)]
                for name, of_driver in (("driven", "detected"), ("driven_fitted", "fitted")):
                    if of_driver not in poses[driver]:
                        continue
                    drawn = self._draw(clip, poses[driver][of_driver])
                    seen = self._seen(drawn)
                    row = _compared(seen, true[driver]) | {"identity_distance": aed(seen["faces"], source)}
                    rows[name][clip, driver] = row
                    if place < PEOPLE_SHOWN and name == "driven" and not number:
                        shown[clip] = self._row(own, self._pictures(self.drivers[driver]), drawn, true[driver])
                rows["driven"][clip, driver]["driver_identity_distance"] = aed(true[driver]["faces"], source)
        write_sheet(
            self.sheet,
            [
                SheetRow(
                    f"{self.model.clips.table[clip].name}: source, then driver and result with the mouth at its most "
                    "closed and most open, and the eyes at their most closed and most open",
                    [(255 * one.clamp(0, 1)).round().byte().numpy() for one in row],
                    [""] * len(row),
                )
                for clip, row in shown.items()
            ],
        )
        return {name: _summary(found) for name, found in rows.items() if found} | {"people": len(self.people)}

    def _pictures(self, clip: int) -> Tensor:
        count = self.model.clips.table[clip].frames
        return torch.stack([self.model.clips.frame(clip, frame) for frame in range(count)])

    def _poses(self, clip: int) -> dict[str, list[PartPoses]]:
        """Poses in training frames, and in those that drive; without a table, the detector's alone."""
        pictures = self._pictures(self.drivers[clip])
        detected = [self.model.driving_pose(self.drivers[clip], frame) for frame in range(len(pictures))]
        table = self.model.table
        if table is None:
            return {"detected": detected}
        first, count = int(self.model.clips.first_rows()[clip]), self.model.clips.table[clip].frames
        learnt = [table.parts(torch.tensor([first + frame])) for frame in range(0, count, self.every)]
        return {"learnt": learnt, "detected": detected, "fitted": self._fitted(clip, pictures, detected)}

    def _fitted(self, clip: int, pictures: Tensor, found: list[PartPoses]) -> list[PartPoses]:
        together = PartPoses(torch.cat([one.rotation for one in found]), torch.cat([one.translation for one in found]))
        images, cube = pictures.permute(0, 3, 1, 2), self.model.cube_of_clip(clip)
        fitted = fit_poses(self.model.network, cube, images, together, FIT_ROUNDS)
        return [fitted[frame : frame + 1] for frame in range(len(found))]

    def _draw(self, clip: int, poses: list[PartPoses]) -> Tensor:
        cube = self.model.cube_of_clip(clip)
        seen = [self.model.render_identity(self.camera, cube, pose, normals=False, samples=SAMPLES) for pose in poses]
        return torch.stack([one["rgb"].cpu() for one in seen])

    def _seen(self, pictures: Tensor, faces: bool = True) -> dict[str, Tensor]:
        """What the landmarks say, and the faces' embeddings."""
        large = F.interpolate(pictures.permute(0, 3, 1, 2), [STORED] * 2, mode="bilinear", align_corners=False)
        images = (255 * large.permute(0, 2, 3, 1).clamp(0, 1)).round().byte()
        landmarks = finder().detect_all(images)
        found = {name: measure(landmarks) for name, measure in SEEN.items()} | {"found": has_face(landmarks)}
        return found | ({"faces": embed_faces(images, landmarks)} if faces else {})

    def _row(self, own: Tensor, driving: Tensor, drawn: Tensor, true: dict[str, Tensor]) -> list[Tensor]:
        row = [own[0]]
        for name in ("mouth", "eyes"):
            for frame in (true[name].nan_to_num(torch.inf).argmin(), true[name].nan_to_num(-torch.inf).argmax()):
                row += [driving[frame], drawn[frame]]
        return row


def _compared(seen: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    found: dict[str, float] = {"face_found": float(seen["found"].float().mean())}
    for name, least in MOVES.items():
        if _std(wanted[name]) > least:
            follows = following(seen[name], wanted[name])
            found |= {f"{name}_corr": follows.correlation, f"{name}_slope": follows.slope}
    return found


def _std(values: Tensor) -> float:
    return float(values[values.isfinite()].std()) if int(values.isfinite().sum()) > 1 else 0.0


def _summary(rows: dict[tuple[int, int], dict[str, float]]) -> dict[str, Any]:
    """Medians over all pairs that have a figure, how many these are, and each pair's mouth."""
    summary: dict[str, Any] = {}
    for name in sorted({name for row in rows.values() for name in row}):
        values = [row[name] for row in rows.values() if name in row and math.isfinite(row[name])]
        summary[name] = round(statistics.median(values), 4) if values else None
        if name.endswith("_corr"):
            summary[f"{name}_count"] = len(values)
    summary["mouths"] = {
        f"{source}<{driver}": [round(row["mouth_corr"], 2), round(row["mouth_slope"], 2)]
        for (source, driver), row in rows.items()
        if "mouth_corr" in row
    }
    return summary


if __name__ == "__main__":
    main(tyro.cli(Options))
