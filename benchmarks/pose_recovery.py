#!/usr/bin/env python
"""What do wrong poses cost, how much of it does refinement bring back, are flipped frames found? One JSON object.

    python benchmarks/pose_recovery.py --degrees 3 --centimetres 2 --flips 3

Draws the demo's person, makes the poses of the *training* frames wrong (`wrong_poses.py`), and trains the CPU
method three times: true poses; wrong poses; wrong poses that are refined. Poses of held-out pictures are the true ones.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from torch import Tensor
from wrong_poses import copy_with_poses, flipped, jittered, pose_error

from nerfstudio_avatars.avatars.measure import follow, measure
from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.protocols import Protocol, Refinement
from nerfstudio_avatars.avatars.run import LoadedRun, load_run
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.data.people_snapshot_raw import read_poses

METHOD = "instant-avatar-cpu"
TRUE, WRONG, REFINED = "true_poses", "wrong_poses", "refined_poses"
HELD_OUT = Protocol(
    "ours",
    "held-out pictures in their true pose, and in the pose near it that fits the picture best",
    ("white",),
    ("given", "refined"),
    refinement=Refinement(steps=40, rays=1000, lr=6e-3),
    stored_poses=True,
)
FIGURES = {
    "true_pose_psnr": "given_psnr_white",
    "fitted_pose_psnr": "refined_psnr_white",
    "true_pose_box_psnr": "given_psnr_box_white",
    "fitted_pose_box_psnr": "refined_psnr_box_white",
}


@dataclass
class Options:
    """How wrong the poses are, and how long the trainings."""

    degrees: float = 3.0
    """Standard deviation of each component of every joint's and the root's additional rotation."""
    centimetres: float = 2.0
    """Standard deviation of each coordinate of the translation."""
    flips: int = 0
    """Training frames, evenly spread, that take the back for the front."""
    steps: int = 1500
    """Of each training."""
    size: int = 270
    """Side of the drawn pictures, pixels; all are learned from in full."""
    seed: int = 0
    """Of the wrong poses."""
    keep: Path | None = None
    """Folder for data and runs; trainings that are finished there are taken as they are. Default: a temporary one."""


def main(options: Options) -> None:
    """Trains, measures and prints."""
    folder = options.keep or Path(tempfile.mkdtemp())
    drawn = folder / f"drawn-{options.size}"
    true_data = drawn / "demo-casual"
    if not true_data.is_dir():
        draw_demo_sequence(drawn, size=options.size)
    frames = json.loads((true_data / "splits.json").read_text("utf8"))["train"]
    turned = [frames[(2 * n + 1) * len(frames) // (2 * options.flips)] for n in range(options.flips)]
    wrong_data = folder / _name("wrong", options) / "demo-casual"
    if not wrong_data.is_dir():
        motion = jittered(read_poses(true_data), frames, options.degrees, options.centimetres / 100, options.seed)
        wrong_data.parent.mkdir(parents=True)
        copy_with_poses(true_data, wrong_data, flipped(motion, turned) if turned else motion)

    runs = {
        TRUE: _train(folder, true_data, f"true-{options.size}-{options.steps}", options.steps, refine=False),
        WRONG: _train(folder, wrong_data, _name("fixed", options), options.steps, refine=False),
        REFINED: _train(folder, wrong_data, _name("refined", options), options.steps, refine=True),
    }
    with contextlib.redirect_stdout(sys.stderr):
        truth = _poses_seen_by_camera(load_run(runs[TRUE], need_data=True), frames)
        results = {
            name: _measure(load_run(config, need_data=True), truth, frames, name) for name, config in runs.items()
        }
    if options.keep is None:
        shutil.rmtree(folder)
    print(
        json.dumps(
            {
                "question": "how much of the PSNR that wrong poses cost does refinement bring back?",
                **{name: getattr(options, name) for name in ("degrees", "centimetres", "flips", "steps", "size")},
                "flipped_frames": turned,
                "recovered_share": {
                    group: {figure: _recovered(results, group, figure) for figure in FIGURES}
                    for group in results[TRUE]["held_out"]
                },
                **results,
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


def _name(kind: str, options: Options) -> str:
    wrong = f"{options.degrees:g}deg-{options.centimetres:g}cm-{options.flips}flips-{options.seed}"
    return f"{kind}-{options.size}-{wrong}" + ("" if kind == "wrong" else f"-{options.steps}")


def _train(folder: Path, data: Path, name: str, steps: int, refine: bool) -> Path:
    """A run's config.yml, trained unless it is there."""
    done = list(folder.glob(f"runs/{name}/{METHOD}/run/nerfstudio_models/step-{steps - 1:09d}.ckpt"))
    if done:
        return done[0].parents[1] / "config.yml"
    note(f"training {name}")
    options = ["--steps-per-eval-image", "0", "--pipeline.model.refine-poses", str(refine)]
    options += ["people-snapshot", "--downscale-factor", "1"]
    return train(METHOD, data, folder / "runs", name, steps, options, folder / "logs" / f"{name}.log", name).config


def _measure(run: LoadedRun, truth: Tensor, frames: list[int], name: str) -> dict[str, Any]:
    note(f"measuring {name}")
    model = run.model
    body, motion = model.person.body, model.person.motion
    error = pose_error(_poses_seen_by_camera(run, frames), truth, body, motion.betas)
    result: dict[str, Any] = {"training_poses": error.rounded(), "outlier_frames": model.outlier_frames()}
    follow(HELD_OUT, model)
    groups = measure(run).groups
    result["held_out"] = {
        group: {figure: round(means[key], 3) for figure, key in FIGURES.items()} for group, means in groups.items()
    }
    return result


@torch.no_grad()
def _poses_seen_by_camera(run: LoadedRun, frames: list[int]) -> Tensor:
    """Poses of training frames as the run has them at its end, (frames, 75); translations from the camera's place.

    The world's origin is the median of the poses, so it is not the same for true and for wrong ones; the camera is.
    """
    poses, index = run.model.poses, torch.tensor(frames)
    found = poses.stored(index) + poses.frame_correction[index]
    found[:, 3:72] += poses.shared_correction
    found[:, 72:] -= run.datamanager.train_dataset.cameras.camera_to_worlds[0, :, 3]
    return found


def _recovered(results: dict[str, Any], group: str, figure: str) -> float:
    true, wrong, refined = (results[name]["held_out"][group][figure] for name in (TRUE, WRONG, REFINED))
    return round((refined - wrong) / (true - wrong), 3)


if __name__ == "__main__":
    main(tyro.cli(Options))
