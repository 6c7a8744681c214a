#!/usr/bin/env python
"""How much faster does the fused twin make a training step of `unsup-volanim`, and where does the time go?

    python benchmarks/volanim_step.py --parts 6

One JSON object. Steps are those of `unsup-volanim-tiny` once it is articulated: 9 pictures, a patch of 32x32 each, 16
samples a ray. `fused` and `torch` do the same; `blend` is the paper's skinning in torch. `parts` is that of `make
demo-volanim`: fused, with a smaller generator, while the detectors rest. They run in turn, so that all meet the same
load of the machine. Memory is the most that the process held: with `fused` alone, then with all.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import tyro
from stand_in import peak_memory_mb

from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch, PoseSearchConfig
from nerfstudio_avatars.unsup_volanim.training import AnimationAids, AnimationBatch, AnimationLossConfig, animation_step
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import standard_rays

IDENTITIES, EACH = 3, 3
Way = Literal["fused", "torch", "blend"]


@dataclass
class Options:
    """The size of the step."""

    parts: int = 6
    """Rigid parts."""
    size: int = 64
    """Side of the pictures, pixels."""
    patch: int = 32
    """Side of the square that is drawn of each."""
    repetitions: int = 9
    """Timed steps of each kind."""


class Step:
    """A network and pictures of noise, of which one step is as long as of any other."""

    def __init__(self, options: Options, parts: int, small: bool = False) -> None:
        torch.manual_seed(0)
        config = replace(unsup_volanim_tiny.config.pipeline.model.network, parts=parts)
        if small:
            config.generator = replace(config.generator, widths=(32, 16, 8), doublings=1)
        config.render = replace(config.render, skinning="compose")
        config.part_detector, config.shared_parts = "upright", 100.0
        self.network = VolumetricAnimation(config, IDENTITIES)
        if parts > 1:
            self.network.articulate(0.1)
        frames = IDENTITIES * EACH
        images, rows = torch.rand(frames, 3, options.size, options.size), torch.arange(frames)
        self.batch = AnimationBatch(images, torch.ones_like(images[:, :1]), torch.arange(IDENTITIES), rows)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-5, fused=True)
        self.patch = options.patch
        self.losses = AnimationLossConfig(perceptual=0.0, equivariance=1.0, projection=1.0, pull=0.0, mask=1.0)

    def whole(self, **aids: object) -> Callable[[], None]:
        """A training step."""

        def step() -> None:
            done = animation_step(self.network, self.batch, self.losses, AnimationAids(patch=self.patch, **aids))  # type: ignore[arg-type]
            torch.stack(list(done.losses.values())).sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

        return step

    def rendering(self) -> Callable[[], None]:
        """Pictures and their gradients alone."""
        cubes = self.network.cubes(self.batch.identities).detach().requires_grad_()
        found = self.network.estimate(self.batch.images)
        poses = PartPoses(found.rotation.detach().requires_grad_(), found.translation.detach().requires_grad_())
        rays = standard_rays(self.batch.images.shape[-1])[: self.patch**2]

        def step() -> None:
            seen = self.network.render(cubes, poses, rays, jitter=True)
            (seen.rgb.sum() + seen.accumulation.sum()).backward()

        return step

    def generating(self) -> Callable[[], None]:
        """Cubes from codes, and their gradients."""
        return lambda: self.network.cubes(self.batch.identities).sum().backward()

    def detecting(self) -> Callable[[], None]:
        """Poses from pictures, and their gradients."""
        return lambda: self.network.estimate(self.batch.images).translation.sum().backward()

    def looking(self, way: Way) -> None:
        """Says how pictures are drawn from now on."""
        os.environ["NERFSTUDIO_AVATARS_BACKEND"] = "auto" if way == "fused" else "torch"
        self.network.config.render.skinning = "blend" if way == "blend" else "compose"


def timed(work: Callable[[], None]) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def compare(
    step: Step,
    work: Callable[[], None],
    ways: list[Way],
    repetitions: int,
    others: dict[str, Callable[[], None]] | None = None,
) -> dict[str, float]:
    """Median milliseconds of each way, in turn, and of other works, which draw fused."""
    others = others or {}
    found: dict[str, list[float]] = {name: [] for name in (*ways, *others)}
    for repetition in range(repetitions + 1):
        for way in ways:
            step.looking(way)
            took = timed(work)
            if repetition:
                found[way].append(took)
        step.looking("fused")
        for name, other in others.items():
            took = timed(other)
            if repetition:
                found[name].append(took)
    return {name: round(statistics.median(times), 1) for name, times in found.items()}


def main(options: Options) -> None:
    """Measures and prints."""
    several, one, small = Step(options, options.parts), Step(options, 1), Step(options, options.parts, small=True)
    search = PoseSearch(IDENTITIES * EACH, PoseSearchConfig())
    table = PartPoseTable(IDENTITIES * EACH, options.parts, PartPoseTableConfig())
    table.articulate()
    fused: list[Way] = ["fused"]
    compare(several, several.rendering(), fused, 2)
    compare(one, one.whole(search=search), fused, 2)
    alone = peak_memory_mb()
    all_ways: list[Way] = ["fused", "torch", "blend"]
    rendering = compare(several, several.rendering(), all_ways, options.repetitions)
    parts = {"parts": small.whole(table=table, detect=False)}
    articulated = compare(several, several.whole(table=table), all_ways, options.repetitions, parts)
    searching = compare(one, one.whole(search=search), ["fused", "torch"], options.repetitions)
    shares = {
        "generator": several.generating(), "small generator": small.generating(),
        "detector": several.detecting(), "pictures": several.rendering(),
    }  # fmt: skip
    print(
        json.dumps(
            {
                "question": "how much faster does the fused twin make a step, and where does the time go?",
                **vars(options),
                "pictures_ms": rendering,
                "articulated_step_ms": articulated,
                "searching_step_ms": searching,
                "ratio_of_pictures": round(rendering["torch"] / rendering["fused"], 1),
                "ratio_of_articulated_steps": round(articulated["torch"] / articulated["fused"], 1),
                "ratio_of_steps_with_parts": round(articulated["torch"] / articulated["parts"], 1),
                "ratio_of_searching_steps": round(searching["torch"] / searching["fused"], 1),
                "where_the_time_goes_ms": {
                    name: compare(several, work, fused, options.repetitions)["fused"] for name, work in shares.items()
                },
                "peak_memory_mb": alone,
                "peak_memory_with_torch_mb": peak_memory_mb(),
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
