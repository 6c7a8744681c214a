"""How long a picture of a trained person takes on the CPU, where the time goes, and what the fused pass gains.

Prints one JSON object: `ms_270`, `ms_540` (square pictures of one person, through nerfstudio's own camera call), their
`fps_*`, under `parts_*` the milliseconds of posing the cells, rays, the pass from rays to colours, normals and the
rest, and under `unfused_*` those of the same pass made of separate operations, its largest difference included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from painted_person import PaintedPerson  # first: it settles how torch's threads wait
from stand_in import note, peak_memory_mb, seconds_in_turn

# isort: split
import torch
import tyro

from nerfstudio_avatars.instant_avatar.camera_rays import camera_rays
from nerfstudio_avatars.instant_avatar.rendering import picture
from nerfstudio_avatars.instant_avatar.rendering.normals import normals_from_depth
from nerfstudio_avatars.instant_avatar.rendering.ray_march import march


@dataclass
class Options:
    """Lengths of the runs."""

    training_steps: int = 300
    """Steps before anything is drawn: the empty space must have been found."""
    repetitions: int = 7
    """Pictures of each size, of which the median counts."""
    frame: int = 1
    """The frame whose pose is drawn."""


@torch.no_grad()
def measure(person: PaintedPerson, size: int, options: Options) -> dict:
    """Milliseconds of a picture and of what it is made of."""
    model, avatar = person.model, person.model.avatar
    camera = person.camera(options.frame, size)
    transforms = model.poses.transforms_of(model.resolver.pose_for(camera))
    posed = avatar.pose(transforms)
    origins, directions = camera_rays(camera)
    rays = origins.reshape(-1, 3), directions.reshape(-1, 3)
    space = avatar.space_around(posed)
    field = avatar.field, avatar.density_rule
    chunks = list(zip(*(x.split(model.config.eval_num_rays_per_chunk) for x in rays), strict=True))
    seen = model.get_outputs_for_camera(camera)

    def march_all() -> int:
        return sum(len(march(o, d, torch.full((len(o),), 0.5), space).t) for o, d in chunks)

    def unfused() -> torch.Tensor:
        return torch.cat([picture._render_torch(o, d, space, *field) for o, d in chunks])

    work: dict[str, Callable[[], object]] = {
        "whole": lambda: model.get_outputs_for_camera(camera),
        "pose": lambda: avatar.pose(transforms),
        "rays": lambda: camera_rays(camera),
        "rays_to_colours": lambda: picture.render(*rays, space, *field),
        "normals": lambda: normals_from_depth(origins, directions, seen["depth"], seen["accumulation"]),
        "unfused": unfused,
        "march_alone": march_all,
    }
    ms = {name: 1000 * value for name, value in seconds_in_turn(work, options.repetitions).items()}
    parts = {name: round(ms[name], 1) for name in ("pose", "rays", "rays_to_colours", "normals")}
    parts["rest"] = round(ms["whole"] - sum(parts.values()), 1)
    mixed, avatar.field.config.mixed_precision = avatar.field.config.mixed_precision, False
    difference = (picture.render(*rays, space, *field) - unfused())[:, :4].abs().max()
    avatar.field.config.mixed_precision = mixed
    note(f"{size}: {ms}")
    return {
        f"ms_{size}": round(ms["whole"], 1),
        f"fps_{size}": round(1000 / ms["whole"], 2),
        f"parts_{size}": parts,
        f"unfused_{size}": {
            "ms": round(ms["unfused"], 1),
            "march_ms": round(ms["march_alone"], 1),
            "ratio": round(ms["unfused"] / ms["rays_to_colours"], 2),
            "largest_difference": round(float(difference), 6),
            "samples": march_all(),
        },
    }


def main(options: Options) -> None:
    """Trains for a moment, draws, and prints the figures."""
    torch.manual_seed(0)
    person = PaintedPerson(refine_poses=False)
    person.train(options.training_steps)
    person.model.eval()
    person.model.avatar.finish(person.config.avatar.field.levels)
    found = {key: value for size in (270, 540) for key, value in measure(person, size, options).items()}
    print(json.dumps({**found, "threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main(tyro.cli(Options))
