"""How costs grow: a training step with its rays and its frames, a picture with its side, the encoding with its table.

Prints one JSON object: under `step_ms` by `rays` (two frames) and by `frames` (of 256 rays each), `picture_ms` by side
in pixels, `encode_ms` (forward and backward of 2^15 points) by log2 of a level's entries.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from encoding import points_on_rays  # first: it settles how torch's threads wait
from painted_person import PaintedPerson
from stand_in import note, peak_memory_mb, seconds_in_turn

# isort: split
import statistics

import torch
import tyro

from nerfstudio_avatars.instant_avatar.field.hash_grid import hash_encode
from nerfstudio_avatars.instant_avatar.field.hash_grid_layout import HashGridLayout

RAYS = (128, 256, 512, 1024)
FRAMES = (1, 2, 4)
SIDES = (135, 270, 540)
TABLES = (12, 14, 16, 18)


@dataclass
class Options:
    """Lengths of the runs."""

    training_steps: int = 200
    """Steps before anything is timed."""
    repetitions: int = 5
    """Timed pictures and encodings, and timed blocks of 8 steps, of which the median counts."""
    refine_poses: bool = False
    """Whether the steps refine the poses: each frame is then posed anew in each step."""


def step_ms(person: PaintedPerson, frames: int, rays_per_frame: int, repetitions: int) -> float:
    """Milliseconds of a training step."""
    person.frames_per_batch, person.rays_per_frame = frames, rays_per_frame
    times = []
    for repetition in range(repetitions + 1):
        batches = [person.batch() for _ in range(8)]
        start = time.perf_counter()
        for batch in batches:
            person.step(*batch)
        if repetition:
            times.append(1000 * (time.perf_counter() - start) / 8)
    return round(statistics.median(times), 2)


def main(options: Options) -> None:
    """Runs everything on the CPU and prints the figures."""
    torch.manual_seed(0)
    person = PaintedPerson(options.refine_poses)
    person.train(options.training_steps)
    by_rays = {2 * rays: step_ms(person, 2, rays, options.repetitions) for rays in RAYS}
    note(f"rays: {by_rays}")
    by_frames = {frames: step_ms(person, frames, 256, options.repetitions) for frames in FRAMES}
    note(f"frames: {by_frames}")

    person.model.eval()
    person.model.avatar.finish(person.config.avatar.field.levels)
    cameras = {side: person.camera(1, side) for side in SIDES}
    draw = person.model.get_outputs_for_camera
    pictures = seconds_in_turn(
        {str(side): lambda camera=camera: draw(camera) for side, camera in cameras.items()}, options.repetitions
    )
    x = points_on_rays(1 << 15)
    encodings = {}
    for size in TABLES:
        layout = HashGridLayout.build(10, 16, 1.45, size)
        table = torch.rand(layout.entries, 2, requires_grad=True)
        encodings[str(size)] = lambda table=table, layout=layout: hash_encode(x, table, layout).sum().backward()
    encoded = seconds_in_turn(encodings, options.repetitions)
    print(
        json.dumps(
            {
                "step_ms": {"rays": by_rays, "frames": by_frames},
                "picture_ms": {side: round(1000 * value, 1) for side, value in pictures.items()},
                "encode_ms": {size: round(1000 * value, 2) for size, value in encoded.items()},
                "refine_poses": options.refine_poses,
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
