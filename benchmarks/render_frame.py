"""How long a picture of a trained person takes on the CPU, and where the time goes.

Prints one JSON object: `ms_270`, `ms_540` (square pictures of one person, through nerfstudio's own camera call) and
under `parts_270`, `parts_540` the milliseconds of posing the cells, generating rays, marching with the canonical roots,
hash grid, networks, and the rest (compositing, outputs).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from painted_person import PaintedPerson  # first: it settles how torch's threads wait
from stand_in import median_seconds, note

# isort: split
import torch
import tyro

from nerfstudio_avatars.ops.hash_grid import hash_encode
from nerfstudio_avatars.rendering.ray_march import Samples, march


@dataclass
class Options:
    """Lengths of the runs."""

    training_steps: int = 300
    """Steps before anything is drawn: the empty space must have been found."""
    repetitions: int = 5
    """Pictures of each size, of which the median counts."""
    frame: int = 1
    """The frame whose pose is drawn."""


@torch.no_grad()
def parts(person: PaintedPerson, size: int, options: Options) -> dict[str, float]:
    """Milliseconds of a picture and of what it is made of."""
    model, avatar = person.model, person.model.avatar
    camera = person.camera(options.frame, size)

    model.get_outputs_for_camera(camera)  # warm-up
    transforms = model.poses.transforms(model.resolver.pose_for(camera))[0]
    posed = avatar.pose(transforms)
    bare = person.camera(options.frame, size)
    bare.metadata = None  # which nerfstudio would copy to every pixel
    rays = bare.generate_rays(camera_indices=0)
    chunk = model.config.eval_rays_per_chunk
    chunks = list(
        zip(rays.origins.reshape(-1, 3).split(chunk), rays.directions.reshape(-1, 3).split(chunk), strict=True)
    )
    cached = avatar.occupancy.cached()

    def marched() -> list[Samples]:
        return [
            march(o, d, torch.full((len(o),), 0.5), posed.cells, avatar.volume, cached, avatar.march_settings)
            for o, d in chunks
        ]

    samples = marched()
    x = [part.roots.x_canonical for part in samples]
    unit = [(points - avatar.field.centre) / (2 * avatar.field.half_size) + 0.5 for points in x]
    geometry = [avatar.field.density(points)[1] for points in x]
    work: dict[str, Callable[[], object]] = {
        "whole": lambda: model.get_outputs_for_camera(camera),
        "pose": lambda: avatar.pose(transforms),
        "rays": lambda: bare.generate_rays(camera_indices=0),
        "march_and_roots": marched,
        "hash_grid": lambda: [hash_encode(u, avatar.field.table, avatar.field.layout) for u in unit],
        "density": lambda: [avatar.density(points) for points in x],
        "colour": lambda: [avatar.field.colour(features) for features in geometry],
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.repetitions):  # in turn, so that all parts meet the same load of the machine
        for name, run in work.items():
            times[name].append(1000 * median_seconds(run, repetitions=1, warm_up=0))
    ms = {name: statistics.median(values) for name, values in times.items()}
    found = {name: ms[name] for name in ("pose", "rays", "march_and_roots", "hash_grid")}
    found["networks_and_prior"] = ms["density"] - ms["hash_grid"] + ms["colour"]
    found["rest"] = ms["whole"] - sum(found.values())
    found = {name: round(value, 1) for name, value in found.items()}
    whole = round(ms["whole"], 1)
    count = sum(len(part.t) for part in samples)
    note(f"{size}: {whole} ms, {count} samples")
    return {"whole": whole, "samples": count, "parts": found}


def main(options: Options) -> None:
    """Trains for a moment, draws, and prints the figures."""
    torch.manual_seed(0)
    person = PaintedPerson(refine_poses=False)
    person.train(options.training_steps)
    person.model.eval()
    person.model.avatar.finish(person.config.avatar.field.levels)
    small, large = (parts(person, size, options) for size in (270, 540))
    print(
        json.dumps(
            {
                "ms_270": small["whole"],
                "ms_540": large["whole"],
                "parts_270": small["parts"],
                "parts_540": large["parts"],
                "samples_270": small["samples"],
                "samples_540": large["samples"],
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
