"""How many canonical roots are found, and how fast: posed cells against the paper's Broyden search.

Prints one JSON object: `recall_mild`, `recall_hard` (shares of the roots near the body, against a dense search, in
random poses of 0.35 and 0.7 rad standard deviation), `mpts_per_s` (million points a second, fastest way on this
machine), `ratio` (that over the Broyden search in torch), and what they were made from.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from stand_in import StandIn, median_seconds, note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from dense_search import DenseSearch

from nerfstudio_avatars.instant_avatar.articulation.binning import bin_all
from nerfstudio_avatars.instant_avatar.articulation.broyden import TransformGrid, unpose_in_grid
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.articulation.snarf import unpose
from nerfstudio_avatars.instant_avatar.articulation.snarf_weights import WeightVolume, paper_weight_volume

MILD, HARD = 0.35, 0.7
RELEVANT = 0.08


@dataclass
class Options:
    """Sizes of the benchmark."""

    poses: int = 8
    """Random poses of each kind."""
    checked_points: int = 1000
    """Points of a pose whose roots are compared with the dense search."""
    timed_points: int = 1 << 16
    """Points of the timed calls of the cells."""
    timed_points_torch: int = 1 << 14
    """Points of the timed calls of the Broyden search and of the plain torch cells."""
    repetitions: int = 7
    """Timed calls, of which the median counts."""


def recall(person: StandIn, volume: SkinningVolume, std: float, options: Options) -> float:
    """Share of the dense search's roots near the body that the cells find."""
    found = total = 0
    for seed in range(options.poses):
        pose = person.random_pose(std, seed)
        transforms = person.transforms(pose)
        x_posed = person.points_near(pose, options.checked_points, seed)
        truth, point = DenseSearch(volume, transforms).roots(x_posed)
        relevant = volume.distance_at(truth.float()) < RELEVANT
        truth, point = truth[relevant], point[relevant]
        roots = cells_roots(x_posed, transforms, volume)
        distance = torch.cdist(truth, roots.x_canonical.double())
        distance[point[:, None] != roots.point] = torch.inf
        found += int((distance.amin(1) < 1e-3).sum())
        total += len(truth)
        note(f"std {std}, pose {seed}: {total - found} of {total} roots missed so far")
    return found / total


def broyden_recall(person: StandIn, volume: WeightVolume, std: float, options: Options) -> float:
    """Share of points near the body, moved by the paper's own map, whose canonical place its search finds again."""
    found = total = 0
    for seed in range(options.poses):
        transforms = person.transforms(person.random_pose(std, seed))
        start = person.points_near(person.canonical_pose, options.checked_points, seed)
        grid = TransformGrid.of_pose(volume, transforms)
        start = start[grid.contains(start)]
        x_posed = grid.warp(start)
        roots, point, _ = unpose_in_grid(x_posed, grid)
        found += point[(roots - start[point]).norm(dim=-1) < 1e-3].unique().numel()
        total += len(start)
    return found / total


def cells_roots(x_posed: torch.Tensor, transforms: torch.Tensor, volume: SkinningVolume) -> Roots:
    """All canonical roots, from the pose on."""
    return unpose(x_posed, binned(volume, transforms), volume)


def binned(volume: SkinningVolume, transforms: torch.Tensor) -> PosedCells:
    """All cells in a pose."""
    everywhere = torch.ones(len(volume.cells), dtype=torch.bool)
    return bin_all(volume.pose_nodes(transforms)[None], volume.cells, everywhere, 0.025)[0]


def main(options: Options) -> None:
    """Runs everything on the CPU and prints the figures."""
    person = StandIn()
    note("building the volumes")
    volume = SkinningVolume(person.mesh, spacing=0.03, band=RELEVANT)
    papers = paper_weight_volume(person.mesh.vertices, person.mesh.weights)
    recalls = {kind: recall(person, volume, std, options) for kind, std in (("mild", MILD), ("hard", HARD))}
    broyden = {kind: broyden_recall(person, papers, std, options) for kind, std in (("mild", MILD), ("hard", HARD))}

    pose = person.random_pose(MILD, 0)
    transforms = person.transforms(pose)
    many, few = (person.points_near(pose, n, 0) for n in (options.timed_points, options.timed_points_torch))
    posed = binned(volume, transforms)
    prepare = median_seconds(lambda: binned(volume, transforms), options.repetitions)
    fast = len(many) / median_seconds(lambda: unpose(many, posed, volume), options.repetitions)
    os.environ["NERFSTUDIO_AVATARS_BACKEND"] = "torch"
    plain = len(few) / median_seconds(lambda: unpose(few, posed, volume), options.repetitions)
    slow = len(few) / median_seconds(
        lambda: unpose_in_grid(few, TransformGrid.of_pose(papers, transforms)), max(options.repetitions // 2, 3)
    )
    print(
        json.dumps(
            {
                "recall_mild": round(recalls["mild"], 5),
                "recall_hard": round(recalls["hard"], 5),
                "mpts_per_s": round(fast / 1e6, 3),
                "ratio": round(fast / slow, 1),
                "torch_mpts_per_s": round(plain / 1e6, 3),
                "torch_ratio": round(plain / slow, 1),
                "prepare_ms": round(1000 * prepare, 2),
                "broyden_mpts_per_s": round(slow / 1e6, 4),
                "broyden_recall_mild": round(broyden["mild"], 5),
                "broyden_recall_hard": round(broyden["hard"], 5),
                "cells": len(volume.cells),
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
