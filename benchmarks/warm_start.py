#!/usr/bin/env python
"""Does a field that begins as the mean of other people's fields learn a new person faster? One JSON object.

    python benchmarks/warm_start.py

Drawn people (`ns-avatar demo-data --people`) share body, canonical space and seed. Some of them are learnt; the weights
of their fields are averaged. People whom that start never saw are then learnt from it, from the field of a single other
person, and from nothing; compared are the seconds of training until their held-out pictures reach 30 dB.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from torch import Tensor

from nerfstudio_avatars.demo.people import draw_people
from nerfstudio_avatars.methods import instant_avatar_cpu
from nerfstudio_avatars.metrics.image import composite
from nerfstudio_avatars.metrics.psnr import psnr


@dataclass
class Options:
    """How many people, and how long."""

    known: int = 3
    """People whose fields are averaged."""
    unknown: int = 2
    """People who are learnt from that start."""
    known_steps: int = 300
    """Training steps of the known."""
    steps: int = 300
    """Most training steps of the unknown."""
    every: int = 20
    """Steps between measurements."""
    pictures: int = 4
    """Held-out pictures to measure."""
    size: int = 200
    """Side of the drawn pictures, which training halves."""
    target: float = 30.0
    """PSNR to reach, dB."""


class Person:
    """One person's training in this process, whose clock stands still while it is measured.

    Args:
        data: the folder of the subject.
        output: the folder for runs.
        steps: of the training.
        start: weights of the field to begin with.
    """

    def __init__(self, data: Path, output: Path, steps: int, start: dict[str, Tensor] | None = None) -> None:
        config = deepcopy(instant_avatar_cpu.config)
        config.output_dir, config.experiment_name, config.timestamp = output, data.name, f"{time.time():.3f}"
        config.max_num_iterations, config.vis, config.steps_per_save = steps, "tensorboard", 10 * steps
        config.steps_per_eval_image, config.logging.local_writer.enable = 0, False
        manager, model = config.pipeline.datamanager, config.pipeline.model
        manager.data, model.refine_poses, model.smooth_poses = data, False, False
        torch.manual_seed(42)
        self.trainer = config.setup()
        self.trainer.setup("test")
        self.model = self.trainer.pipeline.model
        if start is not None:
            self.model.avatar.field.load_state_dict(start)

    def learn(self, every: int, pictures: int, target: float | None = None) -> list[tuple[int, float, float]]:
        """Trains; (steps, seconds, dB) at each measurement, up to the target if there is one."""
        iterate, found, clock = self.trainer.train_iteration, [], [0.0, time.perf_counter()]

        def iterated(step: int) -> Any:
            if step and step % every == 0:
                clock[0] += time.perf_counter() - clock[1]
                found.append((step, clock[0], self.measured(pictures)))
                self.trainer.stop_training = target is not None and found[-1][2] >= target
                clock[1] = time.perf_counter()
            return iterate(step)

        self.trainer.train_iteration = iterated
        self.trainer.train()
        return found

    @torch.no_grad()
    def measured(self, pictures: int) -> float:
        """Mean PSNR of the first held-out pictures."""
        self.model.eval()
        values = []
        for index, (camera, batch) in enumerate(self.trainer.pipeline.datamanager.fixed_indices_eval_dataloader):
            if index == pictures:
                break
            seen = self.model.get_outputs_for_camera(camera=camera)["rgb"].clamp(0, 1)
            values.append(psnr(seen, composite(batch["image"], self.model.config.background)))
        self.model.train()
        return float(sum(values) / len(values))

    def field(self) -> dict[str, Tensor]:
        """The weights of the field."""
        return {name: value.detach().clone() for name, value in self.model.avatar.field.state_dict().items()}


def mean_of(fields: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each weight's mean; what is no floating-point number is taken from the first."""
    return {
        name: torch.stack([field[name] for field in fields]).mean(0) if value.is_floating_point() else value
        for name, value in fields[0].items()
    }


def main(options: Options) -> None:
    """Learns the known, then each unknown from three starts."""
    found: dict[str, Any] = {"question": "does the mean of other people's fields start a new person faster?"}
    # What trainings say is no JSON.
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(sys.stderr):
        folder = Path(temporary)
        people = draw_people(folder / "people", options.known + options.unknown, size=options.size, frames=60)
        fields = []
        for data in people[: options.known]:
            person = Person(data, folder / "runs", options.known_steps)
            curve = person.learn(options.known_steps - 1, options.pictures)
            note(f"{data.name}: {curve[-1]}")
            fields.append(person.field())
        starts = {"nothing": None, "mean": mean_of(fields), "one_other": fields[0]}
        found["people"] = {}
        for data in people[options.known :]:
            results = {}
            for name, start in starts.items():
                person = Person(data, folder / "runs", options.steps, start)
                curve = person.learn(options.every, options.pictures, options.target)
                steps, seconds, reached = curve[-1]
                results[name] = {
                    "steps": steps,
                    "seconds": seconds,
                    "psnr": reached,
                    "reached": reached >= options.target,
                    "curve": [(at, round(value, 2)) for at, _, value in curve],
                }
                note(f"{data.name}, from {name}: {steps} steps, {seconds:.1f} s, {reached:.2f} dB")
            found["people"][data.name] = results
    found |= {"target": options.target, "threads": torch.get_num_threads(), "peak_memory_mb": peak_memory_mb()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
