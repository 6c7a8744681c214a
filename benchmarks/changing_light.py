#!/usr/bin/env python
"""What does light that changes while filming cost, and what does a gain per frame bring back? One JSON object.

    python benchmarks/changing_light.py

Draws the demo's person, makes the *training* frames brighter, darker and of another tint, as automatic exposure and
white balance do, and trains the CPU method with and without `frame_light`, on this film and on the steady one. Held-out
pictures are the steady ones.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import numpy as np
import torch
import tyro
from demo_film import Mask, Picture, Spoil, films_of

from nerfstudio_avatars.avatars.measure import follow, measure
from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.protocols import Protocol
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.body_sequence import BodySequence

METHOD = "instant-avatar-cpu"
GIVEN = Protocol("ours", "held-out pictures in their true pose", ("white",), ("given",), stored_poses=True)


@dataclass
class Options:
    """How the light changes, and how long the trainings are."""

    gain: float = 0.2
    """Amplitude of the logarithm of the gain: 0.2 is from 18 % darker to 22 % brighter."""
    tint: float = 0.05
    """Amplitude of the logarithm of the ratio of red to green, and of green to blue."""
    waves: float = 2.3
    """Waves of the gain over the film; the tint has another rhythm."""
    steps: int = 1000
    """Of each training."""
    size: int = 270
    """Side of the drawn pictures, pixels; all are learnt from in full."""
    refine_poses: bool = False
    """Whether to refine poses, which are exact."""
    keep: Path | None = None
    """Folder for data and runs; trainings that are finished there are taken as they are. Default: a temporary one."""


def main(options: Options) -> None:
    """Draws, trains, measures and prints."""
    folder = options.keep or Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(sys.stderr):
        results = {}
        for name, film in films_of(folder, options.size, {"steady": None, "changing": _light(options)}).items():
            for light in (False, True):
                run = f"{name}-{'with' if light else 'without'}_gains"
                note(f"training {run}")
                results[run] = _figures(film, folder, run, light, options)
    if options.keep is None:
        shutil.rmtree(folder)
    asked = {name: getattr(options, name) for name in ("gain", "tint", "waves", "steps", "size", "refine_poses")}
    told = {"question": "what does changing light cost, and what do gains per frame bring back?", **asked, **results}
    print(json.dumps(told | {"threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}))


def _light(options: Options) -> Spoil:
    """Light that changes from frame to frame."""

    def lit(frame: int, motion: BodySequence, picture: Picture, mask: Mask) -> tuple[Picture, Mask]:
        turn = 2 * math.pi * frame / len(motion)
        gain = options.gain * math.sin(options.waves * turn)
        tint = options.tint * math.sin(1.6 * options.waves * turn + 1)
        return (picture * np.exp([gain + tint, gain, gain - tint])).round().clip(0, 255).astype(np.uint8), mask

    return lit


def _figures(film: Path, folder: Path, name: str, light: bool, options: Options) -> dict[str, float]:
    flags = ["--steps-per-eval-image", "0", "--pipeline.model.refine-poses", str(options.refine_poses)]
    flags += ["--pipeline.model.frame-light", str(light), "people-snapshot", "--downscale-factor", "1"]
    done = train(METHOD, film, folder / "runs", name, options.steps, flags, folder / f"{name}.log", name)
    run = load_run(done.config, need_data=True)
    learnt = run.model.light(run.model.light.trained).detach().log()
    train_frames = json.loads((film / "splits.json").read_text("utf8"))["train"]
    follow(GIVEN, run.model)
    (means,) = measure(run).groups.values()
    return {
        "psnr": round(means["given_psnr_white"], 3),
        "psnr_box": round(means["given_psnr_box_white"], 3),
        "held_out": means["images"],
        "trained": len(train_frames),
        "gains_std": round(float(learnt.std(0).mean()), 4),
        "train_seconds": round(done.train_seconds, 1),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
