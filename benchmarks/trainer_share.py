"""How much of a training step is nerfstudio's own? One JSON object.

    python benchmarks/trainer_share.py

`ns-train instant-avatar-cpu` (or `--method instant-avatar` on a GPU) on a drawn person, all its defaults, with the log
and tensorboard written; the viewer is off unless `--vis viewer+tensorboard`. Every part is timed exclusively: what one
part calls of another counts for the other.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import torch
import tyro
from nerfstudio.engine import trainer as nerfstudio_trainer

from nerfstudio_avatars import methods
from nerfstudio_avatars.demo import draw_demo_sequence

OURS = ("data", "forward", "backward", "optimizer", "callbacks")
OWN = ("writers", "viewer", "loop")


@dataclass
class Options:
    """The training."""

    method: str = "instant-avatar-cpu"
    """Or `instant-avatar`."""
    steps: int = 300
    """The first half is not counted."""
    size: int = 270
    """Side of the drawn pictures."""
    refine_poses: bool = False
    """Whether poses are corrected too."""
    cuda_graph: bool = False
    """Whether steps are recorded and replayed (a GPU's)."""
    vis: str = "tensorboard"
    """Of ns-train."""


class Stopwatch:
    """Adds up what parts of a step take, each without the parts it calls."""

    def __init__(self, device: str) -> None:
        self.steps: list[dict[str, float]] = []
        self._cuda = device == "cuda"
        self._parts: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._last = time.perf_counter()

    def _account(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._parts[self._open[-1] if self._open else "loop"] += now - self._last
        self._last = now

    @contextlib.contextmanager
    def part(self, name: str):
        """What is inside counts for `name`."""
        self._account()
        self._open.append(name)
        try:
            yield
        finally:
            self._account()
            self._open.pop()

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Every call of a method counts for `name`."""
        inner: Callable = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return inner(*args, **kwargs)

        setattr(owner, method, timed)

    def next_step(self) -> None:
        """Ends a step."""
        self._account()
        self.steps.append(dict(self._parts))
        self._parts.clear()


def main(options: Options) -> None:
    """Trains with everything wrapped, and prints medians."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        note("drawing")
        drawn = draw_demo_sequence(Path(folder) / "drawn", size=options.size)
        known = (methods.instant_avatar, methods.instant_avatar_cpu)
        config = deepcopy({one.config.method_name: one.config for one in known}[options.method])
        config.max_num_iterations, config.steps_per_save, config.steps_per_eval_image = options.steps, 10**9, 0
        config.output_dir, config.timestamp, config.vis = Path(folder) / "runs", "run", options.vis
        config.data = config.pipeline.datamanager.data = drawn
        config.pipeline.model.refine_poses = options.refine_poses
        config.pipeline.model.cuda_graph = options.cuda_graph
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        watch = Stopwatch(config.machine.device_type)
        watch.wrap(trainer, "train_iteration", "backward")
        watch.wrap(trainer.pipeline, "get_train_loss_dict", "forward")
        watch.wrap(trainer.pipeline.datamanager, "next_train", "data")
        for method in ("zero_grad_some", "optimizer_scaler_step_some", "scheduler_step_all"):
            watch.wrap(trainer.optimizers, method, "optimizer")
        for callback in trainer.callbacks:
            watch.wrap(callback, "run_callback_at_location", "callbacks")
        for function in ("put_time", "put_scalar", "put_dict", "write_out_storage"):
            watch.wrap(nerfstudio_trainer.writer, function, "writers")
        watch.wrap(trainer, "_update_viewer_state", "viewer")
        last = nerfstudio_trainer.writer.write_out_storage
        nerfstudio_trainer.writer.write_out_storage = lambda: (last(), watch.next_step())
        note("training")
        trainer.train()
        for writer in nerfstudio_trainer.writer.EVENT_WRITERS:  # Its thread would go on writing while we clean up.
            if isinstance(writer, nerfstudio_trainer.writer.TensorboardWriter):
                writer.tb_writer.close()
    counted = watch.steps[options.steps // 2 : options.steps]
    mean = {name: 1000 * statistics.fmean(step.get(name, 0.0) for step in counted) for name in (*OURS, *OWN)}
    own = sum(mean[name] for name in OWN)
    print(
        json.dumps(
            {
                "question": "how much of a training step is nerfstudio's own?",
                **vars(options),
                "step_ms": round(sum(mean.values()), 2),
                **{f"{name}_ms": round(value, 3) for name, value in mean.items()},
                "nerfstudio_ms": round(own, 3),
                "nerfstudio_share": round(own / sum(mean.values()), 4),
                "threads": torch.get_num_threads(),
                "peak_memory_mb": peak_memory_mb(),
            }
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
