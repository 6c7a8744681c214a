#!/usr/bin/env python
"""What does a face that talks and blinks while turning cost, and what a board in front of the shins? One JSON object.

    python benchmarks/spoilt_regions.py

Draws the demo's person and spoils one of three *training* frames: in the film `talking`, eyes are closed and the mouth
is wide open; in the film `board`, something hides the shins, and masks leave it out, as those of a network do. Held-out
pictures are the unspoilt ones. PSNR on white of the whole picture, and of windows about the face or the shins.
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
from typing import Literal

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import numpy as np
import torch
import tyro
from demo_film import Mask, Picture, Spoil, films_of
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.avatars.nerfstudio_commands import train
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.demo.person import Camera, DemoPerson
from nerfstudio_avatars.demo.sequence import demo_intrinsic
from nerfstudio_avatars.instant_avatar.data.detail_windows import middle_of_head, window_about
from nerfstudio_avatars.metrics.image import composite
from nerfstudio_avatars.metrics.psnr import psnr

METHOD = "instant-avatar-cpu"
EVERY = 3
"""One training frame of so many is spoilt."""
KNEES = [JOINT_NAMES.index(f"{side}_knee") for side in ("left", "right")]
ANKLES = [JOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]
FACE_SIDE, SHINS_SIDE = 0.3, 0.5
"""Sides in metres of the windows that are compared."""
MOUTH, EYES, EYE_APART = 0.366, 0.437, 0.031
"""Where the drawn person has mouth and eyes on the average body in T-pose, metres."""


@dataclass
class Options:
    """How large the pictures and how long the trainings are."""

    steps: int = 1000
    """Of each training."""
    size: int = 360
    """Side of the drawn pictures, pixels; all are learnt from in full."""
    films: tuple[Literal["steady", "talking", "board"], ...] = ("steady", "talking", "board")
    """Which films to learn from."""
    keep: Path | None = None
    """Folder for films and runs. Default: a temporary one."""


def main(options: Options) -> None:
    """Draws, trains, measures and prints."""
    folder = options.keep or Path(tempfile.mkdtemp())
    with contextlib.redirect_stdout(sys.stderr):
        spoils = {"steady": None, "talking": _talking(options.size), "board": _board(options.size)}
        wanted = {name: spoils[name] for name in options.films}
        results = {}
        for name, film in films_of(folder, options.size, wanted).items():
            note(f"training on {name}")
            results[name] = _figures(film, folder, name, options)
    if options.keep is None:
        shutil.rmtree(folder)
    asked = {"steps": options.steps, "size": options.size}
    told = {"question": "what do regions cost that change in some frames?", **asked, **results}
    print(json.dumps(told | {"threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}))


def _talking(size: int) -> Spoil:
    """Closes the eyes, in the colour of the cheek, and opens the mouth."""

    def spoilt(frame: int, motion: BodySequence, picture: Picture, mask: Mask) -> tuple[Picture, Mask]:
        if frame // 2 % EVERY:
            return picture, mask
        person = DemoPerson(motion.betas)
        hits, _ = person.hits(motion.state(frame), Camera(demo_intrinsic(size), np.eye(4), size, size))
        rest, _ = person.body.rest(torch.zeros(10))
        corners = rest.double().numpy()[person.faces[hits.face]]
        x, y, z = (hits.barycentric[..., None] * corners).sum(-2).transpose(2, 0, 1)
        head = (hits.face >= 0) & (y > 0.3) & (z > 0.08)
        eye = head & (((np.abs(x) - EYE_APART) / 0.0165) ** 2 + ((y - EYES) / 0.0098) ** 2 < 1)
        mouth = head & ((x / 0.03) ** 2 + ((y - MOUTH + 0.008) / 0.02) ** 2 < 1)
        picture = picture.copy()
        cheek = head & (np.abs(np.abs(x) - EYE_APART) < 0.02) & (np.abs(y - 0.41) < 0.008)
        if cheek.any():
            picture[eye] = picture[cheek].mean(0)
        picture[mouth] = (60, 15, 20)
        return picture, mask

    return spoilt


def _board(size: int) -> Spoil:
    """Hides the picture from the knees to the ankles, as wide as the person is."""

    def spoilt(frame: int, motion: BodySequence, picture: Picture, mask: Mask) -> tuple[Picture, Mask]:
        if frame // 2 % EVERY:
            return picture, mask
        joints = DemoPerson(motion.betas).body.pose(motion.state(frame)).joints
        at = joints.double().numpy() @ demo_intrinsic(size).T
        rows = at[:, 1] / at[:, 2]
        top, bottom = (
            rows[KNEES].mean(),
            rows[[JOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]].mean(),
        )
        picture, mask = picture.copy(), mask.copy()
        picture[round(top) : round(bottom)] = (110, 80, 50)
        mask[round(top) : round(bottom)] = 0
        return picture, mask

    return spoilt


def _figures(film: Path, folder: Path, name: str, options: Options) -> dict[str, float]:
    flags = ["--steps-per-eval-image", "0", "--pipeline.model.refine-poses", "False"]
    flags += ["people-snapshot", "--downscale-factor", "1"]
    done = train(METHOD, film, folder / "runs", name, options.steps, flags, folder / f"{name}.log", name)
    run = load_run(done.config, need_data=True)
    model, rows = run.model, defaultdict[str, list[float]](list)
    for camera, batch in run.datamanager.fixed_indices_eval_dataloader:
        truth = composite(batch["image"], "white")
        seen = model.get_outputs_for_camera(camera=camera)["rgb"].clamp(0, 1)
        rows["psnr"].append(psnr(seen, truth))
        for place, window in _windows(model, camera, truth.shape[:2]).items():
            rows[f"{place}_psnr"].append(psnr(seen[window], truth[window]))
    figures = {measure: round(float(np.mean(values)), 3) for measure, values in rows.items()}
    return {**figures, "held_out": len(rows["psnr"]), "train_seconds": round(done.train_seconds, 1)}


def _windows(model, camera: Cameras, size: tuple[int, int]) -> dict[str, tuple[slice, slice]]:
    posed = model.person.body.pose(model.poses.state(int(camera.metadata["frame"].flatten()[0])))
    places = {"face": (middle_of_head(posed), FACE_SIDE), "shins": (posed.joints[KNEES].mean(0), SHINS_SIDE)}
    return {name: window_about(point, side, camera, size) for name, (point, side) in places.items()}


if __name__ == "__main__":
    main(tyro.cli(Options))
