#!/usr/bin/env python
"""How well does `ns-avatar process` find masks and poses, and how long does it take? One JSON object.

    python benchmarks/own_video.py

Draws the demo's person, whose poses and masks are known, and gives the video alone to what `process` calls.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import h5py
import numpy as np
import torch
import tyro

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.data.people_snapshot_raw import read_poses
from nerfstudio_avatars.process import subject


@dataclass
class Options:
    """The video."""

    frames: int = 40
    """Taken out of it."""
    size: int = 540
    """Side of the drawn pictures, pixels."""
    field_of_view: float | None = None
    """As `process` is told it, degrees; by default it has to find it. The drawn camera's own is 22.9."""
    end: float = 3.9
    """Seconds; afterwards the drawn person dances."""
    seed: int = 0
    """Of the drawn person."""


@torch.no_grad()
def about_the_pelvis(body, motion, frames: list[int]) -> torch.Tensor:
    """Joints (frames, 24, 3) in the camera's axes, metres."""
    joints = torch.stack([body.pose(motion.state(frame)).joints for frame in frames])
    return joints - joints[:, :1]


def main(options: Options) -> None:
    """Draws, processes, compares."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        note("drawing")
        drawn = draw_demo_sequence(Path(folder), seed=options.seed, size=options.size)
        body = load_standin()
        note("looking at frames")
        start = time.perf_counter()
        (video,) = drawn.glob("*.mp4")
        footage = subject.look_at(video, options.frames, (0.0, options.end), options.size)
        looked = time.perf_counter()
        note("fitting the body")
        fitted, field_of_view = subject.fit(footage, body, options.field_of_view)
        done = time.perf_counter()
        with h5py.File(drawn / "masks.hdf5") as file:
            masks = [footage.framing.cut(file["masks"][number]) > 0 for number in footage.numbers]
        pairs = zip((one.person for one in footage.seen), masks, strict=True)
        overlaps = [(ours & mask).sum() / (ours | mask).sum() for ours, mask in pairs]
        true = about_the_pelvis(body, read_poses(drawn), footage.numbers)
        found = about_the_pelvis(body, fitted.motion, list(range(len(footage.numbers))))
        error = (found - true).norm(dim=-1)
    print(
        json.dumps(
            {
                "question": "how well does `ns-avatar process` find masks and poses?",
                **vars(options),
                "mask_iou": round(float(np.mean(overlaps)), 4),
                "joint_error_cm": round(float(100 * error.mean()), 2),
                "joint_error_cm_worst_frame": round(float(100 * error.mean(1).max()), 2),
                "field_of_view_found": round(field_of_view, 1),
                "landmark_error_px": round(fitted.landmark_error or 0.0, 2),
                "body_mask_iou": round(float(fitted.overlaps.mean()), 3),
                "looking_s": round(looked - start, 1),
                "fitting_s": round(done - looked, 1),
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
