"""Rendering and measuring the held-out pictures of a run."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_avatars.avatars.protocols import Protocol
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.whole_files import whole_file

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.run import LoadedRun

_UNGROUPED = "test"
"""Name of the only group, if the data have no groups."""


@dataclass(frozen=True)
class Measured:
    """The figures of one run."""

    groups: dict[str, dict[str, float]]
    """For each group, the number of its pictures as `images`, and the mean of every figure that all of them have."""
    frames: dict[str, list[int]]
    """The frames that belong to each group."""
    render_fps: float
    """Pictures rendered per second, without the first, which compiles kernels."""


def measure(
    run: LoadedRun, groups: tuple[str, ...] = (), pictures: Path | None = None, most: int | None = None
) -> Measured:
    """Renders held-out pictures and compares each of them with the ground truth.

    Args:
        run: a run opened with its test pictures.
        groups: the groups to measure; by default all.
        pictures: the folder for truth, rendering and error (x 4) side by side, as `<group>-<frame>.png`.
        most: the maximum number of pictures per group, evenly spread; by default all.

    Raises:
        UserError: if none of the groups has a picture.
    """
    import torch

    model, datamanager = run.model, run.datamanager
    split = datamanager.eval_dataset.metadata.get("pictures")
    figures: dict[str, list[dict[str, float]]] = defaultdict(list)
    frames: dict[str, list[int]] = defaultdict(list)
    group_of = split.groups if split else [_UNGROUPED] * len(datamanager.fixed_indices_eval_dataloader)
    places: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(group_of):
        places[group].append(place)
    wanted = {group: evenly(its, most) for group, its in places.items() if not groups or group in groups}
    seconds = []
    with torch.no_grad():
        for camera, batch in datamanager.fixed_indices_eval_dataloader:
            index = int(batch["image_idx"])
            group = group_of[index]
            if index not in wanted.get(group, ()):
                continue
            start = time.perf_counter()
            outputs = model.get_outputs_for_camera(camera=camera)
            outputs["rgb"].sum().item()  # waits for the device
            seconds.append(time.perf_counter() - start)
            row, images = model.get_image_metrics_and_images(outputs, batch)
            figures[group].append(row)
            frames[group].append(split.frames[index] if split else index)
            if pictures is not None and "img" in images:
                picture = (images["img"].clamp(0, 1) * 255).round().byte().cpu().numpy()
                with whole_file(pictures / f"{group}-{frames[group][-1]:06d}.png") as partial:
                    write_png(partial, picture)
    if not figures:
        found = ", ".join(sorted(set(group_of)))
        raise UserError(
            f"{run.checkpoint.parent.parent}: its held-out pictures belong to {found}. Expected some of "
            f"{', '.join(groups)}. "
            "Take another --protocol, or data with such pictures."
        )
    timed = seconds[1:] or seconds
    means = {group: {"images": len(rows)} | _mean(rows) for group, rows in figures.items()}
    return Measured(means, dict(frames), len(timed) / sum(timed))


def evenly(places: Sequence[int], most: int | None) -> set[int]:
    """At most `most` of the items, evenly spread; all for None."""
    if most is None or most >= len(places):
        return set(places)
    return {places[round(n * (len(places) - 1) / max(most - 1, 1))] for n in range(most)}


def follow(protocol: Protocol, model: Any) -> None:
    """Makes an avatar show what a protocol counts, and fit poses as it does. Other models are left as they are.

    The model is changed in memory, and should not be used for anything else afterwards.
    """
    import torch

    config = model.config
    if not hasattr(config, "test_pose_refinement"):
        return
    refinement, wanted = config.test_pose_refinement, config.refine_poses
    if protocol.stored_poses:
        wanted = False
        with torch.no_grad():
            model.poses.frame_correction.zero_()
            model.poses.start.zero_()
    if "refined" not in protocol.poses:
        refinement = dataclasses.replace(refinement, steps=0)
    elif protocol.refinement is not None:
        # Poses are fitted to test pictures whether or not they were corrected in training.
        refinement = dataclasses.replace(refinement, **dataclasses.asdict(protocol.refinement))
        wanted = True
    background = protocol.backgrounds[0] if len(protocol.backgrounds) == 1 else config.background
    model.config = dataclasses.replace(
        config, test_pose_refinement=refinement, refine_poses=wanted, background=background
    )


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    keys = [key for key in rows[0] if all(key in row for row in rows)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys}
