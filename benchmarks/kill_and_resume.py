"""Does a training that is killed at any moment go on as if nothing had happened? One JSON object.

    python benchmarks/kill_and_resume.py

Both methods, small, through `ns-train` on drawn data. Each is trained once undisturbed. Then it is started again and
again, and killed (SIGKILL) at a random moment after its first checkpoint, some of the times while a checkpoint is being
written. Each killed training is resumed with nerfstudio's own `--load-dir` until its end, and what it logged and learnt
is compared with the undisturbed one.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import note  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro

from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.demo.head_clips import draw_head_clips
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, read_checkpoint, step_of

SAVES = 10
"""Checkpoints of a run."""
PERSON = ["--pipeline.datamanager.rays-per-frame", "128", "--pipeline.model.avatar.cell-size", "0.05"]
HEADS = (
    "--pipeline.datamanager.identities-per-batch 2 --pipeline.datamanager.frames-per-identity 2 "
    "--pipeline.model.network.parts 2 --pipeline.model.network.points-per-edge 2 "
    "--pipeline.model.network.generator.code-size 64 --pipeline.model.network.generator.widths 256 8 4 "
    "--pipeline.model.network.detector.input-size 32 --pipeline.model.network.detector.widths 8 12 "
    "--pipeline.model.network.detector.head 3 --pipeline.model.network.render.samples 8 "
    "--pipeline.model.losses.perceptual 0 --pipeline.model.schedule.patch 16 "
    "--pipeline.model.schedule.bootstrap-size 16 --pipeline.model.schedule.bootstrap-levels 1 "
    "--pipeline.model.search.candidates 4 --pipeline.model.search.size 8 --pipeline.model.search.samples 6 "
    "--pipeline.model.eval-samples 8"
).split()
CLIPS = ["voxceleb", "--image-size", "32"]
"""A dataparser's options come after its name."""


@dataclass
class Options:
    """The kills."""

    methods: tuple[str, ...] = ("instant-avatar-cpu", "unsup-volanim")
    """Methods to train."""
    kills: int = 20
    """Trainings of each that are killed."""
    inside: int = 6
    """Those of them that are killed while they write a checkpoint."""
    steps: int = 150
    """Steps of a training."""
    seed: int = 0
    """Of the moments."""


class Runs:
    """Trainings of one method on the same data.

    Args:
        method: a registered method.
        folder: for data and runs.
        steps: of each training.
    """

    def __init__(self, method: str, folder: Path, steps: int) -> None:
        self.method, self.steps, self._folder = method, steps, folder
        data, more, self._dataparser = folder / "data", HEADS, CLIPS
        if method.startswith("instant-avatar"):
            draw_demo_sequence(data, size=96, frames=16)
            more, self._dataparser = PERSON, []
        else:
            draw_head_clips(data, identities=4, frames=16, size=32, test_identities=0)
        every = str(steps // SAVES)
        self._options = ["--data", str(data), "--output-dir", str(folder / "runs"), "--timestamp", "run"]
        self._options += ["--max-num-iterations", str(steps), "--steps-per-save", every, "--vis", "tensorboard"]
        self._options += ["--logging.steps-per-log", "1", "--steps-per-eval-image", every, *more]

    def path(self, name: str) -> Path:
        """A run's folder."""
        return self._folder / "runs" / name / self.method / "run"

    def checkpoints(self, name: str) -> list[Path]:
        """A run's checkpoints, in order."""
        return checkpoints_in(self.path(name) / "nerfstudio_models")

    def start(self, name: str, *more: str) -> subprocess.Popen:
        """Starts `ns-train`."""
        command = [sys.executable, "-m", "nerfstudio.scripts.train", self.method, "--experiment-name", name]
        command += [*self._options, *more, *self._dataparser]
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def finish(self, name: str, *more: str) -> int:
        """Trains a run to its end; the exit code."""
        return self.start(name, *more).wait()

    def losses(self, name: str) -> dict[int, dict[str, float]]:
        """What the last training of a run logged of each step."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        last = max(self.path(name).glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)
        read = EventAccumulator(str(last), size_guidance={"scalars": 0}).Reload()
        found: dict[int, dict[str, float]] = {}
        for tag in read.Tags()["scalars"]:
            if tag.startswith("Train Loss"):
                for event in read.Scalars(tag):
                    found.setdefault(event.step, {})[tag] = event.value
        return found

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """What a run has learnt."""
        state = read_checkpoint(self.checkpoints(name)[-1]).state["pipeline"]
        return {key: one.double() for key, one in state.items() if isinstance(one, torch.Tensor) and one.numel()}

    def unfinished(self, name: str) -> list[Path]:
        """Checkpoints of a run that are being written, or that a killed one has left."""
        if not self.path(name).is_dir():
            return []
        return [path for path in self.path(name).iterdir() if path.name.startswith(".step-")]


def wait_for(process: subprocess.Popen, happened: Callable[[], Any], every: float = 0.01) -> None:
    """Waits until something has happened, or the process has ended."""
    while process.poll() is None and not happened():
        time.sleep(every)


def kill_between(runs: Runs, name: str, share: float, seconds: float) -> bool:
    """Kills a training some time after its first checkpoint.

    Args:
        share: of the time that the undisturbed training took from there.
        seconds: that time.

    Returns:
        Whether it had not ended before.
    """
    process = runs.start(name)
    wait_for(process, lambda: runs.checkpoints(name))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(share * seconds)
    process.kill()
    return process.wait() < 0


def kill_inside(runs: Runs, name: str, number: int, share: float) -> bool:
    """Kills a training while it writes a checkpoint.

    Args:
        number: of that checkpoint, from 1 for the second.
        share: of the file that is written before.

    Returns:
        Whether it met that moment.
    """
    process = runs.start(name)
    before = number * (runs.steps // SAVES)
    wait_for(process, lambda: any(step_of(path) >= before for path in runs.checkpoints(name)))
    size = share * runs.checkpoints(name)[-1].stat().st_size if process.poll() is None else 0.0

    def begun() -> bool:
        with contextlib.suppress(FileNotFoundError):  # It has been finished meanwhile.
            return any(path.stat().st_size >= size for path in runs.unfinished(name))
        return False

    wait_for(process, begun, 0.0005)
    process.kill()
    process.wait()
    return bool(runs.unfinished(name))


def undisturbed(runs: Runs) -> float:
    """Trains undisturbed, twice, since the first time compiles.

    Returns:
        Seconds between the first checkpoint and the end.
    """
    if runs.finish("warm"):
        raise SystemExit(f"{runs.method} cannot be trained: {(runs.path('warm')).parents[2].parent / 'warm.log'}")
    process = runs.start("whole")
    wait_for(process, lambda: runs.checkpoints("whole"))
    begin = time.perf_counter()
    process.wait()
    return time.perf_counter() - begin


def examine(method: str, folder: Path, options: Options) -> dict[str, Any]:
    """Kills and resumes trainings of a method; what became of them."""
    draw = random.Random(f"{options.seed} {method}")
    runs = Runs(method, folder, options.steps)
    seconds = undisturbed(runs)
    losses, weights = runs.losses("whole"), runs.weights("whole")
    note(f"{method}: {seconds:.1f} s undisturbed")
    found: list[dict[str, Any]] = []
    missed = 0
    while len(found) < options.kills:
        name, inside = f"killed-{len(found)}-{missed}", len(found) < options.inside
        if inside:
            met = kill_inside(runs, name, draw.randrange(1, SAVES), draw.random())
        else:
            met = kill_between(runs, name, draw.random(), seconds)
        if not met:
            missed += 1
            continue
        left = [path.name for path in runs.unfinished(name)]
        code = runs.finish(name, "--load-dir", str(runs.path(name) / "nerfstudio_models"))
        found.append({"inside": inside, "left_behind": len(left), "code": code})
        if code == 0:
            found[-1] |= compared(runs, name, losses, weights)
        note(f"{method}: {found[-1]}")
    resumed = [one for one in found if one["code"] == 0]
    return {
        "kills": len(found),
        "inside_writing": sum(one["inside"] and one["left_behind"] > 0 for one in found),
        "resumed_to_the_end": len(resumed),
        "same_steps_to_the_end": sum(one["whole"] for one in resumed),
        "first_steps_after_resuming": sorted(one["first"] for one in resumed),
        "largest_difference_of_losses": max(one["losses"] for one in resumed),
        "largest_difference_of_weights": max(one["weights"] for one in resumed),
        "left_behind_in_the_end": sum(one["left"] for one in resumed),
        "missed_moments": missed,
        "checkpoint_mb": round(runs.checkpoints("whole")[-1].stat().st_size / 1e6, 2),
    }


def compared(
    runs: Runs, name: str, losses: dict[int, dict[str, float]], weights: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """How a resumed run differs from the undisturbed one."""
    again, learnt = runs.losses(name), runs.weights(name)
    # A training that was killed after its last checkpoint has no step left to do.
    first = min(again, default=runs.steps)
    whole = again.keys() == set(range(first, runs.steps)) and learnt.keys() == weights.keys()
    terms = ((again[step], losses[step]) for step in again)
    return {
        "first": first,
        "whole": whole and all(ours.keys() == theirs.keys() for ours, theirs in terms),
        "losses": max(
            (abs(value - losses[step][key]) for step in again for key, value in again[step].items()), default=0.0
        ),
        "weights": max(float((learnt[key] - weights[key]).abs().max()) for key in weights),
        "left": len(runs.unfinished(name)),
    }


def main() -> None:
    """Prints one JSON object."""
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        found = {method: examine(method, Path(folder) / method, options) for method in options.methods}
    print(json.dumps({"threads": torch.get_num_threads(), "steps": options.steps} | found, indent=2))


if __name__ == "__main__":
    main()
