#!/usr/bin/env python
"""How fast, and how well, is somebody found who was not trained on? One JSON object.

    python benchmarks/volanim_ablation.py --size 64 --identities 6 --frames 32 --steps 1200 --variants parts --keep toys
    python benchmarks/new_identity.py toys/runs/parts-0/unsup-volanim-tiny/run toys/heads

Toy heads that the run does not know are fitted to their pictures, then shown in their other frames, and in the poses of
heads that it knows, where the truth is known as well.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from torch import Tensor

from nerfstudio_avatars.avatars.driving import still_cameras
from nerfstudio_avatars.avatars.run import find_run, load_run
from nerfstudio_avatars.demo.head_clips import read_truth
from nerfstudio_avatars.demo.heads import HeadPose, ToyHead, wandering_poses
from nerfstudio_avatars.media.contact_sheet import SheetRow, write_sheet
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

FIRST = 10_001
"""Number of the first toy head that no data set trains on."""
MOMENTS = 12
"""Frames of each, spread over a clip of 48."""
OTHERS = (1, 4, 7, 10)
"""Frames of theirs that are never given."""
DRIVERS = 3
SAMPLES = 32


@dataclass
class Options:
    """The run, and whom it is shown."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run on toy heads: its folder."""
    data: Annotated[Path, tyro.conf.Positional]
    """What it was trained on, with the truth beside it."""
    people: int = 6
    """How many heads it has never seen."""
    pictures: tuple[int, ...] = (1, 4)
    """How many pictures of each are given."""
    rounds: tuple[int, ...] = (20, 60)
    """How many rounds are tried."""
    stages: bool = True
    """Whether the two stages are measured too."""
    sheet: Path | None = None
    """Picture to write: of each, what is given and what is wanted, then what each way shows of both."""


def main(options: Options) -> None:
    """Fits, draws, compares and prints."""
    with contextlib.redirect_stdout(sys.stderr):
        model = load_run(find_run(options.run), need_data=True).model.eval()
    drivers = known_motions(model, options.data)
    people = [Stranger(model, FIRST + number, drivers) for number in range(options.people)]
    ways = {f"{rounds} rounds": rounds for rounds in options.rounds} | ({"two stages": 0} if options.stages else {})
    found: dict[str, dict[str, float]] = {}
    rows: dict[int, list[Tensor]] = {}
    for count in options.pictures:
        for way, rounds in ways.items():
            model.config.inversion = replace(model.config.inversion, rounds=rounds)
            each = []
            for number, one in enumerate(people):
                figures, shown = one.figures(count)
                each.append(figures)
                rows.setdefault(number, one.known()).extend(shown)
            name = f"{count} picture{'s' if count > 1 else ''}, {way}"
            found[name] = {key: round(sum(one[key] for one in each) / len(each), 4) for key in each[0]}
            note(f"{name}: {found[name]}")
    if options.sheet:
        write_sheet(options.sheet, [_row(FIRST + number, pictures) for number, pictures in rows.items()])
    question = "how fast, and how well, is somebody found who was not trained on?"
    trained = {"people": options.people, "identities": len(model.clips.identities), "size": model.clips.size}
    print(json.dumps({"question": question} | trained | {"results": found, "peak_memory_mb": peak_memory_mb()}))


def known_motions(model: UnsupVolanimModel, data: Path) -> list[tuple[PartPoses, HeadPose]]:
    """Poses of some heads that were trained on, as the detector finds them and as they are."""
    motions = []
    for clip in model.clips.table.of_split("train")[:DRIVERS]:
        name, frames = model.clips.table[clip].name, model.clips.table[clip].frames
        truth = read_truth(data / "truth" / "train" / f"{name}.npz")
        motions += [(model.driving_pose(clip, frame), truth.poses[frame]) for frame in (frames // 3, frames * 2 // 3)]
    return motions


class Stranger:
    """A toy head that a model has never seen.

    Args:
        seed: of the head.
        drivers: poses to show them in: for the model, and for the toy.
    """

    def __init__(self, model: UnsupVolanimModel, seed: int, drivers: list[tuple[PartPoses, HeadPose]]) -> None:
        self.model, toy, size = model, ToyHead(seed), model.clips.size
        moments = wandering_poses(seed, 48)[:: 48 // MOMENTS]
        seen = [toy.render(pose, size) for pose in moments]
        self.frames, self.masks = (
            torch.stack([torch.from_numpy(getattr(one, name)).float() for one in seen]) for name in ("rgb", "mask")
        )
        self.camera = still_cameras(model, 1, size)
        self.poses = [model.pose_of_picture(self.frames[number]) for number in OTHERS]
        self.driving = [pose for pose, _ in drivers]
        self.wanted = torch.stack([torch.from_numpy(toy.render(true, size).rgb).float() for _, true in drivers])

    def figures(self, count: int) -> tuple[dict[str, float], list[Tensor]]:
        """Errors once so many pictures of theirs were given, and two renderings."""
        given = torch.arange(count) * MOMENTS // count
        wall, processor = time.perf_counter(), time.process_time()
        found = self.model.invert(self.frames[given], masks=self.masks[given])
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        own = torch.stack([self._draw(found.cube, pose) for pose in self.poses])
        driven = torch.stack([self._draw(found.cube, pose) for pose in self.driving])
        figures = {
            "start_l1": found.errors["start"],
            "given_l1": found.errors["tuned"],
            "others_l1": _apart(own, self.frames[list(OTHERS)]),
            "driven_l1": _apart(driven, self.wanted),
            "driven_ratio": _apart(driven, self.wanted) / _apart(self.frames[:1], self.wanted),
            "seconds": wall,
            "processor_seconds": processor,
        }
        return figures, [self._draw(found.cube, found.pose), driven[0]]

    def known(self) -> list[Tensor]:
        """The first picture of theirs, and the truth of the first driven one."""
        return [self.frames[0], self.wanted[0]]

    def _draw(self, cube: Tensor, pose: PartPoses) -> Tensor:
        return self.model.render_identity(self.camera, cube, pose, normals=False, samples=SAMPLES)["rgb"].cpu()


def _apart(ones: Tensor, others: Tensor) -> float:
    return float((ones - others).abs().mean())


def _row(number: int, pictures: list[Tensor]) -> SheetRow:
    shown: list[Any] = [(255 * one.clamp(0, 1)).round().byte().numpy() for one in pictures]
    return SheetRow(f"head {number}: given, wanted; then each way, given and driven", shown, [""] * len(shown))


if __name__ == "__main__":
    main(tyro.cli(Options))
