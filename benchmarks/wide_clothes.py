#!/usr/bin/env python
"""What does it bring that an avatar reaches as far as the masks show clothes to reach? One JSON object.

    python benchmarks/wide_clothes.py

The demo's person wears breeches that are far wider at the knees than the band. They are learnt with `follow_clothes`
and without, in exact poses. PSNR on white of held-out pictures: whole, and in a window about the breeches.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import numpy as np
import torch
import tyro
from demo_film import write_film

from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.demo.person import DemoPerson
from nerfstudio_avatars.instant_avatar.data.detail_windows import window_about
from nerfstudio_avatars.media.contact_sheet import SheetRow, write_sheet
from nerfstudio_avatars.metrics.image import composite
from nerfstudio_avatars.metrics.psnr import psnr

METHOD = "instant-avatar-cpu"
HIPS, KNEES = ([JOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right")] for name in ("hip", "knee"))
WINDOW = 1.0
"""Side in metres of the window about the breeches."""


@dataclass
class Options:
    """How wide the breeches, how large the pictures and how long the trainings are."""

    width: float = 0.2
    """Distance of the hem from the thighs, metres; the band is .08."""
    steps: int = 1000
    """Of each training."""
    size: int = 270
    """Side of the drawn pictures, pixels; all are learnt from in full."""
    keep: Path | None = None
    """Folder for film, runs and the sheet of comparisons. Default: a temporary one."""


class Breeched(DemoPerson):
    """The demo's person in breeches whose hem is at the knees."""

    def __init__(self, betas: torch.Tensor, width: float) -> None:
        super().__init__(betas)
        rest, joints = (one.detach() for one in self.body.rest(betas))
        hip, knee = joints[HIPS, 1].mean(), joints[KNEES, 1].mean()
        down = (hip - rest[:, 1]) / (hip - knee)
        legs = torch.isin(self.body.weights.argmax(-1), torch.tensor([0, *HIPS, *KNEES]))
        flare = torch.where(legs & (down < 1), down.clamp(min=0), 0)
        middle = (rest[:, [0, 2]] - joints[HIPS].mean(0)[[0, 2]]) * torch.tensor([0.6, 1.0])
        outward = torch.nn.functional.normalize(middle, dim=-1) * (width * flare)[:, None]
        self._rest = self._rest + torch.stack([outward[:, 0], 0 * flare, outward[:, 1]], -1)


def main(options: Options) -> None:
    """Draws, trains, measures and prints."""
    folder = options.keep or Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(sys.stderr):
        film = folder / "film"
        if not film.is_dir():
            person = Breeched(torch.zeros(10), options.width)
            write_film(draw_demo_sequence(folder / "drawn", size=options.size, person=person), film, None)
        results, sheet = {}, []
        for follow in (True, False):
            name = "followed" if follow else "not_followed"
            note(f"training {name}")
            results[name], rows = _figures(film, folder, follow, options)
            sheet += rows if follow else rows[1:]
        write_sheet(folder / "comparison.png", sheet)
    if options.keep is None:
        shutil.rmtree(folder)
    asked = {name: getattr(options, name) for name in ("width", "steps", "size")}
    told = {"question": "what does it bring to reach as far as clothes do?", **asked, **results}
    print(json.dumps(told | {"threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}))


def _figures(film: Path, folder: Path, follow: bool, options: Options) -> tuple[dict[str, float], list[SheetRow]]:
    flags = ["--steps-per-eval-image", "0", "--pipeline.model.refine-poses", "False"]
    flags += ["--pipeline.model.avatar.follow-clothes", str(follow), "people-snapshot", "--downscale-factor", "1"]
    name = f"follow-{follow}"
    done = train(METHOD, film, folder / "runs", name, options.steps, flags, folder / f"{name}.log", name)
    run = load_run(done.config, need_data=True)
    model, rows, shown = run.model, defaultdict[str, list[float]](list), []
    for camera, batch in run.datamanager.fixed_indices_eval_dataloader:
        truth = composite(batch["image"], "white")
        seen = model.get_outputs_for_camera(camera=camera)["rgb"].clamp(0, 1)
        posed = model.person.body.pose(model.poses.state(int(camera.metadata["frame"].flatten()[0])))
        breeches = window_about(posed.joints[HIPS + KNEES].mean(0), WINDOW, camera, truth.shape[:2])
        rows["psnr"].append(psnr(seen, truth))
        rows["breeches_psnr"].append(psnr(seen[breeches], truth[breeches]))
        shown.append([(255 * one).round().byte().numpy() for one in (truth, seen)])
    chosen = shown[:: max(len(shown) // 5, 1)]
    names = ("drawn", "followed" if follow else "not followed")
    sheet = [SheetRow(title, [one[side] for one in chosen], [""] * len(chosen)) for side, title in enumerate(names)]
    figures = {measure: round(float(np.mean(values)), 3) for measure, values in rows.items()}
    return {**figures, "held_out": len(shown), "train_seconds": round(done.train_seconds, 1)}, sheet


if __name__ == "__main__":
    main(tyro.cli(Options))
