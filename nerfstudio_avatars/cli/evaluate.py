"""`ns-avatar evaluate`: held-out figures of a trained run, each group of pictures by itself.

`ns-eval` averages all held-out pictures together. Views between the training frames and poses never seen are different
questions, so here they are answered separately.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio_avatars.cli.run_config import LoadedRun

UNGROUPED = "test"
"""Name of the only group where the data names none."""


@dataclass
class Evaluate:
    """Measures a trained run on its held-out pictures: each group by itself, on white and on black."""

    load_config: Path
    """The run's config.yml, or its folder."""
    output: Path | None = None
    """JSON file for the figures. Default: evaluation.json in the run's folder."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Measures, writes the figures, prints them."""
        from nerfstudio_avatars.cli.run_config import find_config

        config = find_config(self.load_config)
        figures = evaluate_run(config, self.trust)
        output = self.output or config.parent / "evaluation.json"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(figures, indent=2) + "\n", "utf8")
        for group, means in figures["groups"].items():
            shown = ", ".join(f"{key} {value:.4g}" for key, value in means.items())
            print(f"{group}: {shown}")
        print(f"Evaluated step {figures['step']} of {config.parent}: {output}")


def evaluate_loaded(run: LoadedRun) -> dict:
    """Mean figures of every group of the run's held-out pictures.

    Returns:
        `groups`: for each group `images`, their number, and the mean of every figure of
        `nerfstudio_avatars.metrics.image.image_metrics`; `render_fps`: pictures a second, the first left out, since it
        compiles; `step`: of the checkpoint.
    """
    import torch

    model, datamanager = run.pipeline.model, run.pipeline.datamanager
    names = datamanager.eval_dataset.metadata.get("group")
    figures: dict[str, list[dict[str, float]]] = defaultdict(list)
    seconds = []
    with torch.no_grad():
        for camera, batch in datamanager.fixed_indices_eval_dataloader:
            start = time.perf_counter()
            outputs = model.get_outputs_for_camera(camera=camera)
            outputs["rgb"].sum().item()  # waits for the device
            seconds.append(time.perf_counter() - start)
            group = names[int(batch["image_idx"])] if names else UNGROUPED
            figures[group].append(model.get_image_metrics_and_images(outputs, batch)[0])
    return {
        "groups": {group: {"images": len(rows)} | _mean(rows) for group, rows in figures.items()},
        "render_fps": 1 / (sum(seconds[1:] or seconds) / len(seconds[1:] or seconds)),
        "step": run.step,
    }


def evaluate_run(config: Path, trust: bool = False) -> dict:
    """Opens a run and measures it; see `evaluate_loaded`."""
    from nerfstudio_avatars.cli.run_config import load_run

    return evaluate_loaded(load_run(config, trust))


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    keys = [key for key in rows[0] if all(key in row for row in rows)]
    return {key: sum(row[key] for row in rows) / len(rows) for key in keys}
